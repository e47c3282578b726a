//! What the programs of chapter 4 promise, tested from outside, without any engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod journal;
mod restore;
mod volume_permissions;

use std::process::{Command, Output};

/// Runs a program to its end with these settings and no others, and returns whether it succeeded
/// and what it printed, without the last newline.
fn run(command: &mut Command, settings: &[(&str, &str)]) -> (bool, String) {
    let Output { status, stdout, .. } = command
        .env_clear()
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8(stdout).unwrap();
    (status.success(), said.trim_end_matches('\n').to_owned())
}
