//! The sidecar: takes the app's log, line by line, and prints it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use native_sidecars::serve;
use sidecar_kit::{exit_code, optional_setting, probe, setting, told_to_end};
use tokio::sync::watch;
use tokio::time::sleep;

// ANCHOR: main
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:5140");
    // Nothing outside the pod reaches the port, and the kubelet is outside. So it runs this program
    // once more, beside the one that listens, and what is here asks that one.
    let done = match std::env::args().nth(1).as_deref() {
        Some("probe") => return probe(listen, "/ready"),
        Some("pre-stop") => return probe(listen, "/begin-pre-stop"),
        Some(other) => Err(anyhow!(
            "there is no `{other}`, only `probe` and `pre-stop`"
        )),
        None => collect(listen).await,
    };
    exit_code(done)
}
// ANCHOR_END: main

// ANCHOR: collect
/// Prepares, listens, and prints each line that it is sent, until it is told to end.
async fn collect(listen: SocketAddr) -> anyhow::Result<()> {
    // A collector that is told where to ship the lines begins by connecting there.
    let warm_up: Option<Duration> = optional_setting("WARM_UP");
    let mut end = Box::pin(told_to_end());
    tokio::select! {
        () = sleep(warm_up.unwrap_or_default()) => {}
        () = &mut end => return Ok(()),
    }

    let hook = watch::Sender::new(false);
    let routes = Router::new()
        // The line is answered when it is printed: what the app was told is kept, is kept.
        .route("/lines", post(async |line: String| println!("{line}")))
        .route("/ready", get(async || "ready"))
        .route("/begin-pre-stop", get(begin_pre_stop))
        .route("/pre-stop", get(pre_stop))
        .with_state(hook);
    serve(listen, routes, end).await
}
// ANCHOR_END: collect

/// Its own `preStop` hook runs.
async fn begin_pre_stop(State(hook): State<watch::Sender<bool>>) {
    println!("preStop of the sidecar");
    hook.send_replace(true);
}

/// Answers when its own `preStop` hook has run.
async fn pre_stop(State(hook): State<watch::Sender<bool>>) {
    // The sender lives in `hook` itself.
    let _ = hook.subscribe().wait_for(|has_run| *has_run).await;
}
