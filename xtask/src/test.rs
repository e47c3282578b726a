//! `cargo xtask test`: everything that can be wrong, on what this machine has.

use std::process::Command;

use anstream::println;
use anyhow::Context;
use harness::engine::EngineKind;
use harness::workspace::Workspace;

use crate::engine::Choice;
use crate::report::{BOLD, DIM};
use crate::{ChapterArgs, Verdict, chapter};

/// Runs `cargo test`, then every scenario of every chapter.
pub(crate) async fn run() -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    println!("{BOLD}cargo test --workspace{BOLD:#}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--workspace", "--quiet"])
        .current_dir(workspace.root())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        return Ok(Verdict::Bad);
    }
    println!("\n{BOLD}cargo xtask chapter all --scenario all{BOLD:#}");
    let all = ChapterArgs {
        chapter: "all".to_owned(),
        scenario: "all".to_owned(),
        engine: Choice::Named(EngineKind::Sandbox),
        bless: false,
        keep: false,
        follow: false,
        repeat: 1,
        json: false,
    };
    let verdict = chapter::run(&all).await?;
    println!("{DIM}left out: docker and kind, which this version does not run on yet{DIM:#}");
    Ok(verdict)
}
