//! The simplest way to find the app: ask DNS for its instances, once, and take turns.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use output_interceptor::{Answer, Client, Pseudonym, Refusal, Sidecar, Upstream};
use output_interceptor::{forward, serve};
use sidecar_kit::{asked_to_probe, probe, setting};
use tokio::net::lookup_host;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if asked_to_probe() {
        let asked = probe(setting("LISTEN", "127.0.0.1:7979"), "/orders");
        exit(i32::from(asked != std::process::ExitCode::SUCCESS));
    }
    let timeout: Duration = setting("TIMEOUT", "10s");
    let count: u64 = setting("INSTANCES", "3");
    let name = std::env::var("SERVICE").unwrap_or_else(|_| "orders:8080".to_owned());
    // ANCHOR: once
    let addresses = loop {
        let found = lookup_host(&name).await.map(Vec::from_iter);
        match found {
            Ok(found) if found.len() as u64 == count => break found,
            // They are still being started.
            _ => sleep(Duration::from_millis(100)).await,
        }
    };
    println!("the instances are known");
    // ANCHOR_END: once
    let upstreams = addresses.into_iter();
    let upstreams = upstreams.map(|address| Upstream::new(address.into(), timeout));
    let sidecar = Arc::new(TakesTurns {
        upstreams: upstreams.collect(),
        turn: AtomicUsize::new(0),
        pseudonym: Pseudonym::new("discovery"),
    });
    let ended = serve("127.0.0.1:7979", sidecar).await;
    if let Err(error) = &ended {
        println!("{error:#}");
    }
    exit(i32::from(ended.is_err()));
}

struct TakesTurns {
    upstreams: Vec<Upstream>,
    turn: AtomicUsize,
    pseudonym: Pseudonym,
}

// ANCHOR: turns
impl Sidecar for TakesTurns {
    async fn answer(&self, request: Request<Incoming>, client: &Client) -> Result<Answer, Refusal> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let upstream = &self.upstreams[turn % self.upstreams.len()];
        forward(request, client, upstream, &self.pseudonym).await
    }
}
// ANCHOR_END: turns
