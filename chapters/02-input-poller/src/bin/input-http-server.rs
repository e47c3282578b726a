//! The app: answers `Hello` on `localhost`, and knows nothing of the sidecar that calls it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use sidecar_kit::{exit_code, optional_setting, setting, told_to_end};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code(serve().await)
}

// ANCHOR: serve
/// Prepares, listens, and answers until it is told to end; then it answers what it has begun.
async fn serve() -> anyhow::Result<()> {
    // 127.0.0.1 is the pod's own loopback: the other containers of the pod reach this port,
    // and nothing outside the pod does.
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:7878");
    // An app that loads a cache or migrates a database listens only when that is done.
    let warm_up: Option<Duration> = optional_setting("WARM_UP");

    let mut end = Box::pin(told_to_end());
    if let Some(warm_up) = warm_up {
        tokio::select! {
            () = sleep(warm_up) => {}
            () = &mut end => return Ok(()),
        }
    }

    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set LISTEN to a free address"))?;
    let app = Router::new().route("/", get(hello));
    axum::serve(listener, app)
        .with_graceful_shutdown(end)
        .await?;
    Ok(())
}

async fn hello() -> &'static str {
    println!("receive a request!");
    "Hello"
}
// ANCHOR_END: serve
