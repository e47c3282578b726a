//! The app: a shop that logs when it opens, each sale, and at the end how many there were. Its log
//! is kept by the sidecar, and without that it does not open.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use native_sidecars::{Log, client, serve};
use reqwest::Url;
use sidecar_kit::{cause, exit_code, optional_setting, setting, told_to_end};
use tokio::time::sleep;

/// What a sale needs.
#[derive(Clone)]
struct Shop {
    log: Log,
    sales: Arc<AtomicU32>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        None => run().await,
        Some("pre-stop") => pre_stop().await,
        Some(other) => Err(anyhow!("there is no `{other}`, only `pre-stop`")),
    };
    exit_code(done)
}

fn collector() -> Url {
    setting("UPSTREAM", "http://127.0.0.1:5140")
}

// ANCHOR: run
/// Opens, sells until it is told to end, and closes.
async fn run() -> anyhow::Result<()> {
    let listen: SocketAddr = setting("LISTEN", "0.0.0.0:8080");
    // A shop that closes has work to do yet: the money is counted.
    let closing: Option<Duration> = optional_setting("CLOSING");
    let log = Log::new(&collector())?;
    let sales = Arc::new(AtomicU32::new(0));
    let end = told_to_end();

    log.line("open".to_owned()).await?;
    let shop = Shop {
        log: log.clone(),
        sales: sales.clone(),
    };
    let routes = Router::new()
        .route("/", get(async || "open"))
        .route("/sales", post(sell))
        .with_state(shop);
    serve(listen, routes, end).await?;

    sleep(closing.unwrap_or_default()).await;
    let sales = sales.load(Ordering::Relaxed);
    log.line(format!("closed, {sales} sold")).await
}
// ANCHOR_END: run

async fn sell(State(shop): State<Shop>) -> Result<&'static str, StatusCode> {
    let number = shop.sales.fetch_add(1, Ordering::Relaxed) + 1;
    match shop.log.line(format!("sale {number}")).await {
        Ok(()) => Ok("sold"),
        Err(error) => {
            println!("{error:#}");
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

// ANCHOR: pre-stop
/// The shop's `preStop` hook: waits until the sidecar's hook has run, and says so. If hooks ran in
/// an order, with that of the sidecar last, it would wait in vain.
async fn pre_stop() -> anyhow::Result<()> {
    let collector = collector();
    let hook = collector.join("/pre-stop")?;
    let answer = client()?.get(hook).send().await;
    let answer = answer.map_err(|error| anyhow!("{}", cause(&error)))?;
    ensure!(answer.status().is_success(), "{}", answer.status());
    let log = Log::new(&collector)?;
    log.line("preStop of the shop: the sidecar's has run".to_owned())
        .await
}
// ANCHOR_END: pre-stop
