//! The app: leaves a file, a message and an answer where its neighbour may find them.
//!
//! It listens last: once it answers, all is prepared.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_attr_member_t, mq_close, mq_open, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use sidecar_kit::{exit_code, optional_setting, setting, told_to_end};
use tokio::net::TcpListener;
use what_containers_share::{MESSAGE, NAMESPACES, TOKEN, files, identity, namespace};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code(serve().await)
}

// ANCHOR: serve
/// Prepares all, and then answers until it is told to end.
async fn serve() -> anyhow::Result<()> {
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:8080");
    let queue: PathBuf = setting("QUEUE", "/app");
    // The folder where a volume is mounted, if one is.
    let shared: Option<PathBuf> = optional_setting("SHARED");
    let token: PathBuf = setting("TOKEN", TOKEN);

    let end = told_to_end();
    if let Some(shared) = shared {
        write_files(&shared, &token)
            .with_context(|| format!("cannot write to {}, which SHARED names", shared.display()))?;
    }
    send_message(&queue).with_context(|| format!("cannot make the queue {}", queue.display()))?;

    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set LISTEN to a free address"))?;
    println!("the app listens on {listen}");
    let app = Router::new().route("/", get(async || "this is the app\n"));
    axum::serve(listener, app)
        .with_graceful_shutdown(end)
        .await?;
    Ok(mq_unlink(&queue)?)
}
// ANCHOR_END: serve

/// What the app leaves on the volume.
fn write_files(shared: &Path, token: &Path) -> anyhow::Result<()> {
    fs::write(shared.join(files::NOTE), "the app was here\n")?;

    let mut namespaces = String::new();
    for kind in NAMESPACES {
        writeln!(namespaces, "{}", namespace(kind)?.display())?;
    }
    fs::write(shared.join(files::NAMESPACES), namespaces)?;

    // Which file the token is, and not what it holds.
    match identity(token) {
        Ok(identity) => Ok(fs::write(shared.join(files::TOKEN), identity)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| token.display().to_string()),
    }
}

// ANCHOR: message
/// Makes a message queue and puts one message into it. A queue has a name and no file: it belongs
/// to the IPC namespace, and is there until it is removed or the namespace ends.
fn send_message(queue: &Path) -> anyhow::Result<()> {
    // One that an earlier life of this container has left.
    match mq_unlink(queue) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let size = MqAttr::new(0, 1, MESSAGE as mq_attr_member_t, 0);
    let flags = MQ_OFlag::O_WRONLY | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL;
    let queue = mq_open(queue, flags, Mode::from_bits_truncate(0o644), Some(&size))?;
    mq_send(&queue, b"a message of the app", 0)?;
    Ok(mq_close(queue)?)
}
// ANCHOR_END: message
