//! The article's sidecar: calls the app every `INTERVAL`, and dies of the first call that fails.

#![expect(
    clippy::unwrap_used,
    reason = "these are the unwraps that the chapter is about"
)]

use std::env;
use std::time::Duration;

use sidecar_kit::setting;

// ANCHOR: main
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let app = env::var("UPSTREAM").unwrap_or("http://localhost:7878".to_owned());
    let interval: Duration = setting("INTERVAL", "15s");

    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let response = reqwest::get(&app).await.unwrap();
        println!("{}", response.text().await.unwrap());
    }
}
// ANCHOR_END: main
