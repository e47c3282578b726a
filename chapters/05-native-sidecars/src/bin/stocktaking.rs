//! The app of a Job: counts the shelves of the shop, logs each, and has done its work.

use std::process::ExitCode;

use anyhow::anyhow;
use native_sidecars::Log;
use reqwest::Url;
use sidecar_kit::{exit_code, setting, told_to_end};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = tokio::select! {
        done = count() => done,
        () = told_to_end() => Err(anyhow!("told to end before all was counted")),
    };
    exit_code(done)
}

// ANCHOR: count
async fn count() -> anyhow::Result<()> {
    let collector: Url = setting("UPSTREAM", "http://127.0.0.1:5140");
    let log = Log::new(&collector)?;
    for shelf in ["bread", "milk", "tea"] {
        log.line(format!("{shelf} counted")).await?;
    }
    log.line("all counted".to_owned()).await
}
// ANCHOR_END: count
