//! The third log shipper looks whether the path leads to another file by now, as `tail -F` does,
//! and goes on there.
//!
//! It survives a rotation. But what it knows is in its memory: when the container is restarted,
//! it prints the file from the first line on once more. (And of two rotations between two looks
//! it sees one, and of what the app writes to a renamed file late, nothing.)

use std::os::unix::fs::MetadataExt;
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
    let mut file: Option<File> = None;
    loop {
        // Where does the path lead now? Between two files of the log it leads nowhere.
        let current = File::open(&path).await.ok();
        if let Some(file) = &mut file {
            copy(file, &mut stdout()).await?;
        }
        // The file that was open has been read to its end; only now may another take its place.
        if let Some(mut current) = current
            && inode(Some(&current)).await? != inode(file.as_ref()).await?
        {
            copy(&mut current, &mut stdout()).await?;
            file = Some(current);
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

/// The number that a file keeps when it is renamed.
async fn inode(file: Option<&File>) -> anyhow::Result<Option<u64>> {
    match file {
        Some(file) => Ok(Some(file.metadata().await?.ino())),
        None => Ok(None),
    }
}
// ANCHOR_END: follow
