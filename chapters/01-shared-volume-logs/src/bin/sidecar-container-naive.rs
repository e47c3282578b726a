//! The log shipper that everyone writes first: print the file, wait, begin again.
//!
//! It prints every line as often as it comes round, and none that was written and rotated away
//! between two rounds.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use shared_volume_logs::exit_code;
use sidecar_kit::{setting, told_to_end};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let path: PathBuf = setting("LOG_PATH", "/var/log/webserver/access.log");
    let interval: Duration = setting("INTERVAL", "15s");
    exit_code(tokio::select! {
        () = told_to_end() => Ok(()),
        result = print_forever(path, interval) => result,
    })
}

// ANCHOR: cat
/// `while true; do cat "$LOG_PATH"; sleep "$INTERVAL"; done`
async fn print_forever(path: PathBuf, interval: Duration) -> anyhow::Result<()> {
    loop {
        match tokio::fs::read(&path).await {
            Ok(lines) => io::stdout().write_all(&lines)?,
            Err(error) => println!("not yet: {}: {error}", path.display()),
        }
        sleep(interval).await;
    }
}
// ANCHOR_END: cat
