// A sidecar that prints the lines of a log, and looks every INTERVAL whether
// the log's path leads to another file by now.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use sidecar_kit::{exit_code, setting, told_to_end};
use tokio::fs::File;
use tokio::io::{copy, stdout};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let path: PathBuf = setting("LOG_PATH", "/var/log/webserver/access.log");
    let interval: Duration = setting("INTERVAL", "15s");
    exit_code(follow(&path, interval).await)
}

async fn follow(path: &Path, interval: Duration) -> anyhow::Result<()> {
    let mut end = pin!(told_to_end());
    let mut ending = false;
    loop {
        // Where does the path lead now? Between two files it leads nowhere.
        if let Ok(mut file) = File::open(path).await {
            copy(&mut file, &mut stdout()).await?;
        }
        // Told to end, it has looked once more.
        if ending {
            return Ok(());
        }
        tokio::select! {
            () = &mut end => ending = true,
            () = sleep(interval) => {}
        }
    }
}
