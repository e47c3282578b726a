//! One HTTP/1.1 request on one connection: what probes, hooks and the steps of scenarios send.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::kubelet::runtime::Connection;

/// Sends a request and reads its answer, of the body at most `limit` bytes.
///
/// # Errors
///
/// If the connection breaks or what comes back is not HTTP.
pub(crate) async fn send(
    stream: Connection,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> anyhow::Result<Response<Bytes>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let (head, mut body) = sender.send_request(request).await?.into_parts();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                read.extend_from_slice(&data);
            }
            if read.len() >= limit {
                read.truncate(limit);
                break;
            }
        }
        anyhow::Ok(Response::from_parts(head, read.into()))
    };
    // The end of the connection is also told to whoever waits for the answer, in its turn.
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = talk => answer,
        () = drive => anyhow::bail!("the connection ended"),
    }
}
