//! Stands in for a service that is far from the pod: prints what it is asked, and answers with
//! a text that is longer than one would think.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use sidecar_kit::{exit_code, optional_setting, setting, told_to_end};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code(serve().await)
}

async fn serve() -> anyhow::Result<()> {
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:9000");
    let delay: Option<Duration> = optional_setting("DELAY");

    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set LISTEN to a free address"))?;
    let app = Router::new().fallback(answer).with_state(delay);
    axum::serve(listener, app)
        .with_graceful_shutdown(told_to_end())
        .await?;
    Ok(())
}

async fn answer(State(delay): State<Option<Duration>>, request: Request) -> String {
    println!("{} {}", request.method(), request.uri());
    let mut headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()))
        .collect();
    headers.sort();
    for header in headers {
        println!("{header}");
    }
    if let Some(delay) = delay {
        sleep(delay).await;
    }

    let mut text = String::new();
    for line in 1..=12 {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "Line {line:2} of 12 from a service that is far from this pod."
        );
    }
    text
}
