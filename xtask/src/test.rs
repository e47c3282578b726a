//! `cargo xtask test`: everything that can be wrong, on what this machine has.

use std::process::Command;

use anstream::println;
use anyhow::{Context, bail};
use clap::ValueEnum;
use harness::engine::{EngineKind, cluster_may_be_up};
use harness::workspace::Workspace;

use crate::Verdict;
use crate::report::{BOLD, DIM};

/// On which engines scenarios are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    /// The sandbox, and the workbook's cluster if it is up
    Here,
    /// All of them: one that is missing is a failure
    All,
}

/// Runs `cargo test`, then every scenario of every chapter on each engine.
pub(crate) async fn run(on: On) -> anyhow::Result<Verdict> {
    let mut steps = vec![
        (EngineKind::Sandbox, vec!["test", "--workspace", "--quiet"]),
        (EngineKind::Sandbox, SCENARIOS.to_vec()),
    ];
    let mut left_out = vec!["docker, which this version does not run on yet"];
    if on == On::All || cluster_may_be_up().await {
        let tests = [
            "test",
            "--quiet",
            "--package",
            "harness",
            "--features",
            "kind",
            "--test",
            "kind",
            "--test",
            "parity",
        ];
        steps.push((EngineKind::Kind, tests.to_vec()));
        steps.push((EngineKind::Kind, SCENARIOS.to_vec()));
    } else {
        left_out.push("kind, whose cluster is not up: `--engine all` brings it up");
    }
    let root = Workspace::find()?.root().to_owned();
    for (engine, arguments) in steps {
        println!(
            "{BOLD}cargo {}{BOLD:#} {DIM}on {engine}{DIM:#}",
            arguments.join(" ")
        );
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(arguments)
            .current_dir(&root)
            .env("WORKBOOK_ENGINE", engine.name())
            .status()
            .context("cannot run cargo")?;
        match status.code() {
            Some(0) => {}
            Some(2) => bail!("cargo or {engine} is at fault, as it says above"),
            _ => return Ok(Verdict::Bad),
        }
        println!();
    }
    for left in left_out {
        println!("{DIM}left out: {left}{DIM:#}");
    }
    Ok(Verdict::Good)
}

const SCENARIOS: &[&str] = &["xtask", "chapter", "all", "--scenario", "all"];
