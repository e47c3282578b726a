//! The app: calls a URL on `localhost` every `INTERVAL`, and prints the answer. That it is a
//! sidecar which answers is nothing to it.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::exit;
use std::time::Duration;

use reqwest::header::{CONNECTION, DATE};
use reqwest::{Client, Response, Url};
use sidecar_kit::{Setting, setting, told_to_end};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Upstream(url) = setting("UPSTREAM", "http://localhost:7979/hello");
    let interval: Duration = setting("INTERVAL", "15s");
    let client = client(setting("TIMEOUT", "10s"));

    // ANCHOR: loop
    let calls = async {
        loop {
            match client.get(url.clone()).send().await {
                Ok(answer) => print(answer).await,
                Err(error) => println!("trouble: {}", cause(&error)),
            }
            sleep(interval).await;
        }
    };
    tokio::select! {
        () = told_to_end() => {}
        () = calls => {}
    }
    // ANCHOR_END: loop
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(0);
}

/// Prints the status, the headers that are the same for each answer, and the body.
async fn print(answer: Response) {
    println!("{}", answer.status());
    let mut headers: Vec<_> = answer
        .headers()
        .iter()
        .filter(|(name, _)| ![CONNECTION, DATE].contains(name))
        .map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()))
        .collect();
    headers.sort();
    for header in headers {
        println!("{header}");
    }
    match answer.text().await {
        Ok(body) => println!("{}", body.trim_end()),
        Err(error) => println!("trouble: {}", cause(&error)),
    }
}

fn client(timeout: Duration) -> Client {
    Client::builder()
        .timeout(timeout)
        // Each call opens its own connection: the sidecar is next door, and it is the sidecar
        // that keeps the connections which lead far away.
        .pool_max_idle_per_host(0)
        .no_proxy()
        // A pod's `localhost` has one address or two. The last one tried is the one that a
        // failure speaks of: let it be the one that every pod has.
        .resolve_to_addrs(
            "localhost",
            &[
                (Ipv6Addr::LOCALHOST, 0).into(),
                (Ipv4Addr::LOCALHOST, 0).into(),
            ],
        )
        .build()
        .expect("a client without TLS needs nothing that could be missing")
}

/// What lies at the bottom of an error: `Connection refused`, not `error sending request`.
fn cause(mut error: &dyn Error) -> String {
    while let Some(deeper) = error.source() {
        error = deeper;
    }
    error.to_string()
}

/// The URL to call.
struct Upstream(Url);

impl Setting for Upstream {
    const EXAMPLE: &'static str = "http://localhost:7979/hello";

    fn parse(value: &str) -> Result<Self, String> {
        let url = Url::parse(value).map_err(|error| error.to_string())?;
        match url.scheme() {
            "http" => Ok(Self(url)),
            other => Err(format!("this program speaks http, not {other}")),
        }
    }
}
