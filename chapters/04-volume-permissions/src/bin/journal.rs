//! The app: keeps a journal in a file, and adds an entry every `INTERVAL`. It knows nothing of who
//! made the file, and can do nothing about it.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use sidecar_kit::{optional_setting, setting, told_to_end};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let journal: PathBuf = setting("JOURNAL", "/data/journal/entries.txt");
    // Entries that were written elsewhere, and are only read here.
    let before: Option<PathBuf> = optional_setting("JOURNAL_BEFORE");
    let interval: Duration = setting("INTERVAL", "15s");

    tokio::select! {
        () = told_to_end() => ExitCode::SUCCESS,
        Err(error) = keep(&journal, before.as_deref(), interval) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

// ANCHOR: keep
/// Reads what entries there are, and writes further ones until it cannot.
async fn keep(
    journal: &Path,
    before: Option<&Path>,
    interval: Duration,
) -> anyhow::Result<Infallible> {
    let mut entries = count(journal)? + before.map_or(Ok(0), count)?;
    println!("{entries} entries are there");
    let cannot_write = || format!("cannot write to {}", journal.display());
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(journal)
        .with_context(cannot_write)?;
    loop {
        entries += 1;
        file.write_all(format!("entry {entries}\n").as_bytes())
            .with_context(cannot_write)?;
        println!("entry {entries} is written");
        sleep(interval).await;
    }
}
// ANCHOR_END: keep

/// How many entries a file has. One that is not there has none.
fn count(file: &Path) -> anyhow::Result<usize> {
    match fs::read(file) {
        Ok(text) => Ok(text.iter().filter(|byte| **byte == b'\n').count()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}
