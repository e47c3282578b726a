//! What the log shipper of this chapter is made of.
//!
//! It has five rooms, each with one question:
//!
//! - [`watch`]: has anything changed? The kernel tells (inotify); nobody asks again and again.
//! - [`log`]: which files is the log made of, now that the app has renamed some of them?
//! - [`folder`]: which of the files in a folder belong to the log, and which is the oldest?
//! - [`log_file`]: which lines of one file are complete, and have not been printed yet?
//! - [`offsets`]: where did the container that ran here before stop?
//!
//! One rule holds in all of them: what the kernel tells is a reason to look, never a fact to count
//! on. Whatever is decided is decided by what the file system holds at that moment, so that an
//! event that comes late, twice or not at all costs a look and never a line.
//!
//! What it promises: the lines of the log are printed in order, each exactly once, however the app
//! renames its files and whenever the sidecar is told to end; at least once, if it is killed.
//!
//! What it cannot do: print what an app removes or truncates before anybody has read it (where
//! that can be known, one line says so), read what was compressed in the meantime, or notice
//! what another machine writes to a network file system, of which inotify does not tell.

pub mod folder;
pub mod log;
pub mod log_file;
pub mod offsets;
pub mod watch;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints a line of the sidecar's own, between the lines of the log.
///
/// Both go to stdout, because the Kubernetes API does not tell stdout and stderr apart. The
/// name in front of it does.
pub fn say(message: impl Display) {
    // When nobody reads stdout any more, the next line of the log finds out and ends the program.
    let _ = writeln!(io::stdout(), "sidecar-container: {message}");
}

/// How a program of this chapter ends: where it failed, one line says why.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The checksum (FNV-1a) of some bytes, or of more of them: enough to recognise them, and the same
/// in every release.
fn checksum(of_those_before: Option<u64>, bytes: &[u8]) -> u64 {
    bytes.iter().fold(
        of_those_before.unwrap_or(0xcbf2_9ce4_8422_2325),
        |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3),
    )
}
