// A sidecar that prints the lines of a log, and looks every INTERVAL whether
// the log's path leads to another file by now.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use sidecar_kit::{exit_code, setting, told_to_end};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, copy, stdout};
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
    let mut read = 0;
    loop {
        // Where does the path lead now? Between two files it leads nowhere.
        if let Ok(current) = File::open(path).await
            && number(Some(&current)).await? != number(file.as_ref()).await?
        {
            // The old file is called so by now; go on in it where we were.
            if file.is_some() {
                let mut old = File::open(path.with_extension("log.1")).await?;
                old.seek(SeekFrom::Start(read)).await?;
                copy(&mut old, &mut stdout()).await?;
            }
            (file, read) = (Some(current), 0);
        }
        if let Some(file) = &mut file {
            read += copy(file, &mut stdout()).await?;
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
