//! The harness's end of the conversation with a pod's pause container: HTTP/2, over the standard
//! streams of a program that runs in it. See [`pause::SERVE`].

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pause::{Answer, ERRNO};
use testcontainers::bollard;
use testcontainers::bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::io::StreamReader;

use crate::kubelet::runtime::Connection;

/// What is held of an answer that nobody has read yet, in bytes.
const BUFFER: usize = 64 << 10;

/// The conversation. The pod ends when it does.
pub(super) struct Link {
    sender: http2::SendRequest<Full<Bytes>>,
    conversation: JoinHandle<()>,
    /// Closed when the conversation is over.
    over: watch::Receiver<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.conversation.abort();
    }
}

impl Link {
    /// Has a pause container serve.
    pub(super) async fn new(docker: &bollard::Docker, container: &str) -> anyhow::Result<Self> {
        let program = CreateExecOptions {
            cmd: Some(vec![super::pod::PROGRAM, pause::SERVE]),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = docker.create_exec(container, program).await?.id;
        let options = StartExecOptions {
            output_capacity: Some(BUFFER),
            ..StartExecOptions::default()
        };
        let StartExecResults::Attached { output, input } =
            docker.start_exec(&exec, Some(options)).await?
        else {
            bail!("Docker does not attach to the pause container");
        };
        let output = output
            .map_ok(bollard::container::LogOutput::into_bytes)
            .map_err(io::Error::other);
        let streams = tokio::io::join(StreamReader::new(output), input);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(streams))
            .await
            .context("the pause container does not answer")?;
        let (talking, over) = watch::channel(());
        let conversation = tokio::spawn(async move {
            // Whoever asks something is told that nobody answers.
            let _ = connection.await;
            drop(talking);
        });
        Ok(Self {
            sender,
            conversation,
            over,
        })
    }

    /// Hangs up, upon which the pause container ends.
    pub(super) fn hang_up(&self) {
        self.conversation.abort();
    }

    /// Waits for the end of the conversation.
    pub(super) async fn over(&self) {
        // Nothing is ever sent: what comes is the end of the sender.
        let _ = self.over.clone().changed().await;
    }

    /// Asks something about a volume.
    pub(super) async fn ask(&self, question: &pause::Request) -> anyhow::Result<Answer> {
        let body = serde_json::to_vec(question)?;
        let request = Request::post("http://pause/").body(body.into())?;
        let answer = self.sender.clone().send_request(request).await;
        let answer = answer.context("the pause container is gone")?;
        let answer = answer.into_body().collect().await?.to_bytes();
        serde_json::from_slice::<Result<_, String>>(&answer)?.map_err(anyhow::Error::msg)
    }

    /// Connects to an address in the pod's network.
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(address.to_string())
            .body(Full::default())
            .map_err(io::Error::other)?;
        let answer = self.sender.clone().send_request(request).await;
        let answer = answer.map_err(io::Error::other)?;
        if answer.status() != StatusCode::OK {
            let number = answer.headers().get(ERRNO);
            let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
            return Err(linux_error(number.unwrap_or_default()));
        }
        let tunnel = hyper::upgrade::on(answer).await.map_err(io::Error::other)?;
        Ok(Box::new(TokioIo::new(tunnel)))
    }
}

/// What an error's number means on Linux, where the container runs: other systems have other
/// numbers for the same.
fn linux_error(number: i32) -> io::Error {
    let kind = match number {
        104 => io::ErrorKind::ConnectionReset,
        110 => io::ErrorKind::TimedOut,
        111 => io::ErrorKind::ConnectionRefused,
        113 => io::ErrorKind::HostUnreachable,
        _ if cfg!(target_os = "linux") => return io::Error::from_raw_os_error(number),
        _ => return io::Error::other(format!("error {number} of Linux")),
    };
    kind.into()
}
