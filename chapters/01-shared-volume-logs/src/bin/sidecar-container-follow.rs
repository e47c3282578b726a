//! The second log shipper keeps the file open and prints only what is new, as `tail -f` does.
//!
//! Each line is printed once. But when the app rotates its log, the open file is the renamed one:
//! nothing new ever comes in it, and this program waits there for ever.

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use shared_volume_logs::exit_code;
use sidecar_kit::{setting, told_to_end};
use tokio::fs::File;
use tokio::io::{copy, stdout};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let path: PathBuf = setting("LOG_PATH", "/var/log/webserver/access.log");
    let interval: Duration = setting("INTERVAL", "15s");
    exit_code(follow(path, interval).await)
}

// ANCHOR: follow
async fn follow(path: PathBuf, interval: Duration) -> anyhow::Result<()> {
    let mut end = pin!(told_to_end());
    let mut ending = false;
    let mut file = None;
    loop {
        if file.is_none() {
            // The app may not have made it yet.
            file = File::open(&path).await.ok();
        }
        if let Some(file) = &mut file {
            // An open file remembers how far it was read, so this prints what is new.
            copy(file, &mut stdout()).await?;
        }
        if ending {
            return Ok(());
        }
        tokio::select! {
            () = &mut end => ending = true,
            () = sleep(interval) => {}
        }
    }
}
// ANCHOR_END: follow
