//! The init container: gives a folder, and all that is in it, to the user that the app runs as,
//! and leaves.

mod give;
mod owner;

use std::path::PathBuf;
use std::process::exit;

use sidecar_kit::{setting, told_to_end};
use tokio::task::spawn_blocking;

use crate::give::give;
use crate::owner::Owner;

// ANCHOR: main
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder: PathBuf = setting("DATA_PATH", "/data/journal");
    let owner: Owner = setting("OWNER", "65532:65532");

    // A large volume takes its time, and waiting for a disk is no async work: it has a thread of
    // its own, and this one hears the signal meanwhile.
    let end = told_to_end();
    let work = spawn_blocking(move || give(&folder, owner));
    let (said, code) = tokio::select! {
        done = work => match done {
            Ok(Ok(given)) => (given.to_string(), 0),
            Ok(Err(error)) => (format!("{error:#}"), 1),
            Err(panic) => (panic.to_string(), 1),
        },
        // What is given stays given. The app must not start yet: this is no success.
        () = end => ("told to end before all was given".to_owned(), 1),
    };
    println!("{said}");
    // Returning would wait for the thread.
    exit(code);
}
// ANCHOR_END: main
