//! `cargo xtask test`: everything that can be wrong, on what this machine has.

use std::process::Command;

use anstream::println;
use anyhow::{Context, bail};
use clap::ValueEnum;
use harness::engine::{EngineKind, cluster_may_be_up};
use harness::workspace::Workspace;

use crate::Verdict;
use crate::engine;
use crate::report::{BOLD, DIM};

/// On which engines scenarios are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    /// Those that work here: a cluster only if the workbook's is up
    Here,
    /// All of them: one that is missing is a failure
    All,
}

/// Runs `cargo test`, then every scenario of every chapter on each engine, and proves the exercises.
pub(crate) async fn run(on: On) -> anyhow::Result<Verdict> {
    let all = on == On::All;
    let docker = all || engine::docker_version().is_some();
    let kind = all || cluster_may_be_up().await;
    let mut steps = vec![
        (EngineKind::Sandbox, vec!["test", "--workspace", "--quiet"]),
        (EngineKind::Sandbox, SCENARIOS.to_vec()),
        (EngineKind::Sandbox, vec!["xtask", "exercise", "test"]),
    ];
    let mut left_out = Vec::new();
    // One set of features for each machine, so that what the tests need is compiled once.
    let features = match (docker, kind) {
        (true, true) => "docker,kind",
        (true, false) => "docker",
        (false, _) => "kind",
    };
    let tests = |names: &[&'static str]| {
        let mut arguments = vec![
            "test",
            "--quiet",
            "--package",
            "harness",
            "--features",
            features,
        ];
        arguments.extend(names.iter().flat_map(|name| ["--test", name]));
        arguments
    };
    if docker {
        steps.push((EngineKind::Docker, tests(&["docker"])));
        steps.push((EngineKind::Docker, SCENARIOS.to_vec()));
    } else {
        left_out.push("docker, where no daemon answers");
    }
    if kind {
        steps.push((EngineKind::Kind, tests(&["kind"])));
        steps.push((EngineKind::Kind, SCENARIOS.to_vec()));
    } else {
        left_out.push("kind, whose cluster is not up: `cargo xtask cluster up` brings it up");
    }
    if docker && kind {
        steps.push((EngineKind::Kind, tests(&["parity"])));
    }
    let root = Workspace::find()?.root().to_owned();
    for (engine, arguments) in steps {
        println!(
            "{BOLD}cargo {}{BOLD:#} {DIM}on {engine}{DIM:#}",
            arguments.join(" ")
        );
        let status = Command::new(harness::image::cargo())
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
