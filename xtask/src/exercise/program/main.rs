// What the program does, in a sentence.

use std::process::ExitCode;

use axum::Router;
use axum::http::{Method, Uri};
use sidecar_kit::{exit_code, told_to_end};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code(serve().await)
}

async fn serve() -> anyhow::Result<()> {
    let app = Router::new().fallback(answer);
    axum::serve(TcpListener::bind("0.0.0.0:8080").await?, app)
        .with_graceful_shutdown(told_to_end())
        .await?;
    Ok(())
}

/// Prints each request.
async fn answer(method: Method, uri: Uri) {
    println!("{method} {}", uri.path());
}
