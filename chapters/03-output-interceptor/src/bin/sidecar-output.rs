//! The sidecar: answers `/hello` itself, and forwards everything else to `UPSTREAM`.
//!
//! How connections are served and requests passed on is in the chapter's library: `serve`,
//! `forward`, and `upstream` for the connections to the upstream.

use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use output_interceptor::{Answer, Client, Pseudonym, Refusal, Sidecar, Upstream};
use output_interceptor::{answer, forward, serve};
use sidecar_kit::{asked_to_probe, optional_setting, probe, setting};

/// Where it listens, unless `LISTEN` says otherwise.
const LISTEN: &str = "127.0.0.1:7979";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // ANCHOR: probe
    // The program is started once more in its container, and asks the first one.
    if asked_to_probe() {
        return probe(setting("LISTEN", LISTEN), "/hello");
    }
    // ANCHOR_END: probe
    // How long the upstream may take to accept a connection, and to begin its answer.
    let timeout: Duration = setting("TIMEOUT", "30s");
    let sidecar = Output {
        upstream: optional_setting("UPSTREAM").map(|address| Upstream::new(address, timeout)),
        pseudonym: Pseudonym::new("sidecar-output"),
    };
    let ended = serve(LISTEN, Arc::new(sidecar)).await;
    if let Err(error) = &ended {
        println!("{error:#}");
    }
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(i32::from(ended.is_err()));
}

/// Stands for the service that the app calls.
struct Output {
    /// Where requests are forwarded to, if anywhere.
    upstream: Option<Upstream>,
    pseudonym: Pseudonym,
}

// ANCHOR: answer
impl Sidecar for Output {
    async fn answer(&self, request: Request<Incoming>, client: &Client) -> Result<Answer, Refusal> {
        match (request.uri().path(), &self.upstream) {
            ("/hello", _) => hello(request),
            (_, Some(upstream)) => forward(request, client, upstream, &self.pseudonym).await,
            (_, None) => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "only /hello is answered here; the rest is forwarded where UPSTREAM is set",
            )
            .of(request.into_body())),
        }
    }
}
// ANCHOR_END: answer

// ANCHOR: hello
fn hello(request: Request<Incoming>) -> Result<Answer, Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            println!("receive a request");
            Ok(answer(
                StatusCode::OK,
                "text/html; charset=UTF-8",
                "<h1>Say hello to hyper</h1>",
            ))
        }
        _ => Err(
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "/hello takes GET and HEAD")
                .with(ALLOW, HeaderValue::from_static("GET, HEAD"))
                .of(request.into_body()),
        ),
    }
}
// ANCHOR_END: hello
