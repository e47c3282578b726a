// A sidecar that prints the lines of a log, and looks every INTERVAL whether
// the log's path leads to another file by now.

use std::os::unix::fs::MetadataExt;
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
    let mut file: Option<File> = None;
    loop {
        // Where does the path lead now? Between two files it leads nowhere.
        let current = File::open(path).await.ok();
        if let Some(file) = &mut file {
            // An open file remembers how far it was read: this prints the rest.
            copy(file, &mut stdout()).await?;
        }
        // Only when the old file was read to its end comes the new one.
        if let Some(mut current) = current
            && number(Some(&current)).await? != number(file.as_ref()).await?
        {
            copy(&mut current, &mut stdout()).await?;
            file = Some(current);
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

/// The number that a file keeps when it is renamed.
async fn number(file: Option<&File>) -> anyhow::Result<Option<u64>> {
    match file {
        Some(file) => Ok(Some(file.metadata().await?.ino())),
        None => Ok(None),
    }
}
