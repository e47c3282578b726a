//! The app of chapters 6 to 9: takes orders and lists them. It knows nothing of limits, of tokens,
//! of registries, and of how many of it there are.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use sidecar_kit::{asked_to_probe, exit_code, probe, setting, told_to_end};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// How many orders are listed. Older ones are forgotten: this service has no database.
const LISTED: usize = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:8080");
    if asked_to_probe() {
        return probe(listen, "/ready");
    }
    exit_code(serve(listen).await)
}

// ANCHOR: serve
/// Answers until it is told to end; then it answers what it has begun.
async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let told_to_end = told_to_end();
    let workers: u64 = setting("WORKERS", "4");
    let shop = Shop {
        work: setting("WORK", "5ms"),
        workers: Semaphore::new(usize::try_from(workers)?),
        orders: Mutex::default(),
    };
    let app = Router::new()
        .route("/orders", get(list).post(order))
        .route("/ready", get(|| async { "ready\n" }))
        .with_state(Arc::new(shop));
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set LISTEN to a free address"))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(told_to_end)
        .await?;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: work
/// What the service does its work with.
struct Shop {
    /// How long one request keeps a worker. Nobody can see from outside why it takes that long.
    work: Duration,
    /// So many requests are worked on at once; all others wait, and nothing limits how many.
    workers: Semaphore,
    /// The orders, the newest last.
    orders: Mutex<Orders>,
}

impl Shop {
    /// Works on a request, as soon as a worker is free.
    async fn work(&self) -> MutexGuard<'_, Orders> {
        let _worker = self.workers.acquire().await.expect("it is never closed");
        sleep(self.work).await;
        self.orders
            .lock()
            .expect("nothing panics while it holds a lock")
    }
}
// ANCHOR_END: work

/// The orders since the process began.
#[derive(Default)]
struct Orders {
    /// How many there were: the number of the newest one.
    count: u64,
    newest: VecDeque<String>,
}

// ANCHOR: order
/// `POST /orders`: the body says what is ordered.
async fn order(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    what: String,
) -> (StatusCode, String) {
    let mut orders = shop.work().await;
    orders.count += 1;
    let order = format!(
        "order {} for {}: {}",
        orders.count,
        who(&headers),
        what.trim()
    );
    println!("{order}");
    if orders.newest.len() == LISTED {
        orders.newest.pop_front();
    }
    orders.newest.push_back(order.clone());
    (StatusCode::CREATED, order + "\n")
}

/// `GET /orders`: the newest orders, a line each.
async fn list(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> String {
    let orders = shop.work().await;
    println!("a list for {}", who(&headers));
    orders
        .newest
        .iter()
        .map(|order| format!("{order}\n"))
        .collect()
}

/// Who asks, if whoever stands before this service has found out.
fn who(headers: &HeaderMap) -> &str {
    let user = headers.get("x-user").and_then(|user| user.to_str().ok());
    user.unwrap_or("somebody")
}
// ANCHOR_END: order
