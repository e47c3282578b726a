//! The app: calls a URL on `localhost` every `INTERVAL`, and prints the answer. That it is a
//! sidecar which answers is nothing to it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::exit;
use std::time::Duration;

use reqwest::header::{CONNECTION, DATE};
use reqwest::{Client, Url};
use sidecar_kit::{cause, setting, told_to_end};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url: Url = setting("UPSTREAM", "http://localhost:7979/hello");
    let interval: Duration = setting("INTERVAL", "15s");
    let client = client(setting("TIMEOUT", "10s"));

    // ANCHOR: loop
    let calls = async {
        loop {
            if let Err(why) = call(&client, &url).await {
                println!("trouble: {why}");
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

// ANCHOR: call
/// Calls the URL once, and prints the status, the headers that are the same each time, and the
/// body; or says in a few words why there is nothing to print.
async fn call(client: &Client, url: &Url) -> Result<(), String> {
    let in_words = |error: reqwest::Error| cause(&error).to_string();
    let answer = client.get(url.clone()).send().await.map_err(in_words)?;
    let status = answer.status();
    if !status.is_success() {
        let why = answer.text().await.map_err(in_words)?;
        return Err(format!("{status}: {}", why.trim_end()));
    }

    println!("{status}");
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
    println!("{}", answer.text().await.map_err(in_words)?.trim_end());
    Ok(())
}
// ANCHOR_END: call

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
