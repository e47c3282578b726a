// A sidecar through which an app reaches a service far away. When no answer
// comes in time, it sends the request again.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use reqwest::{Client, Url};
use sidecar_kit::{cause, exit_code, setting, told_to_end};
use tokio::net::TcpListener;

/// So often a request is sent, at most.
const ATTEMPTS: u32 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code(serve().await)
}

async fn serve() -> anyhow::Result<()> {
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:7979");
    let upstream: Url = setting("UPSTREAM", "http://127.0.0.1:9000");
    let timeout: Duration = setting("TIMEOUT", "30s");
    let client = Client::builder().timeout(timeout).no_proxy().build()?;

    let app = Router::new()
        .fallback(pass_on)
        .with_state((client, upstream));
    axum::serve(TcpListener::bind(listen).await?, app)
        .with_graceful_shutdown(told_to_end())
        .await?;
    Ok(())
}

/// Passes a request on, and its answer back.
async fn pass_on(
    State((client, mut url)): State<(Client, Url)>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, String) {
    url.set_path(uri.path());
    for attempt in 1..=ATTEMPTS {
        let request = client.request(method.clone(), url.clone());
        match send(request.body(body.clone())).await {
            Ok(answer) => return answer,
            Err(why) => println!("{method} {url}, attempt {attempt}: {why}"),
        }
        if !may_be_repeated(&method) {
            break;
        }
    }
    (StatusCode::GATEWAY_TIMEOUT, "no answer\n".to_owned())
}

/// Whether a request of this method has the same effect, done once or more.
fn may_be_repeated(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "PUT")
}

/// The status and the text of an answer, or why there is none.
async fn send(request: reqwest::RequestBuilder) -> Result<(StatusCode, String), String> {
    let in_words = |error: reqwest::Error| cause(&error).to_string();
    let answer = request.send().await.map_err(in_words)?;
    Ok((answer.status(), answer.text().await.map_err(in_words)?))
}
