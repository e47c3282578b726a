//! `cargo xtask doctor`: what this machine can run, and what would mend each lack.

use std::path::Path;

use anstream::println;
use harness::engine::cluster_may_be_up;
use harness::workspace::Workspace;

use crate::Verdict;
use crate::bench::find;
use crate::engine::{self, Choice};
use crate::report::{BAD, BOLD, DIM, GOOD, paragraph};

/// Programs that `cargo xtask bench` compares with, and how to get them on Debian and Ubuntu.
const PEERS: &[(&str, &str)] = &[
    ("podman", "podman"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
];

/// Looks at everything that a run needs; bad only if no chapter can run here.
pub(crate) async fn run() -> anyhow::Result<Verdict> {
    let mut able = true;
    match Workspace::find().and_then(|workspace| Ok((workspace.chapters()?.len(), workspace))) {
        Ok((count, workspace)) => good(
            "workbook",
            &format!("{count} chapters in {}", workspace.root().display()),
        ),
        Err(error) => {
            able = false;
            bad(
                "workbook",
                &format!("{error:#}"),
                "change into the folder that was cloned",
            );
        }
    }
    match harness::image::toolchain(Path::new(".")) {
        Ok(toolchain) => good("programs", &format!("static, for {}", toolchain.target)),
        Err(lack) => {
            able = false;
            bad("programs", &lack.to_string(), &lack.mend());
        }
    }
    able &= sandbox().await;
    docker_and_kind().await;
    for (program, package) in PEERS {
        match find(program) {
            Some(path) => good(
                program,
                &format!("{}, for cargo xtask bench", path.display()),
            ),
            None => {
                println!(
                    "  {DIM}--{DIM:#} {BOLD}{program}{BOLD:#}: not here; cargo xtask bench goes without it"
                );
                paragraph(
                    "     ",
                    5,
                    &format!("to have it: sudo apt install {package}"),
                );
            }
        }
    }
    Ok(if able { Verdict::Good } else { Verdict::Bad })
}

async fn sandbox() -> bool {
    match engine::open(Choice::Named(harness::engine::EngineKind::Sandbox)).await {
        Ok(chosen) => {
            good("sandbox", "works");
            for note in chosen.engine.notes() {
                paragraph("     ", 5, &note);
            }
            true
        }
        Err(error) => {
            println!("  {BAD}no{BAD:#} {BOLD}sandbox{BOLD:#}");
            for line in format!("{error:#}").lines() {
                paragraph("     ", 5, line);
            }
            false
        }
    }
}

/// What the engines with a Docker daemon need. They are compiled when they are asked for, so it is
/// only looked for here.
async fn docker_and_kind() {
    const NO_DOCKER: &str =
        "no Docker daemon answers; https://docs.docker.com/engine/install/ says how to have one";
    const NO_KIND: &str = "kind is not here; to have it: go install sigs.k8s.io/kind@v0.33.0";
    let docker = engine::docker_version();
    let kind = engine::ask("kind", &["version"]);
    match &docker {
        Some(version) => good("docker", &format!("Docker {version}; `--engine docker`")),
        None => optional("docker", "which the chapters can do without", &[NO_DOCKER]),
    }
    if let (Some(_), Some(kind)) = (&docker, &kind) {
        let version = kind.split_whitespace().nth(1).unwrap_or_default();
        let cluster = if cluster_may_be_up().await {
            "its cluster is up"
        } else {
            "`--engine kind` brings its cluster up"
        };
        good("kind", &format!("{version}; {cluster}"));
    } else {
        let lacks = [(docker.is_none(), NO_DOCKER), (kind.is_none(), NO_KIND)];
        let lacks = lacks.into_iter().filter(|(lacks, _)| *lacks);
        let lacks: Vec<_> = lacks.map(|(_, lack)| lack).collect();
        optional(
            "kind",
            "a real cluster, which the chapters can do without",
            &lacks,
        );
    }
}

fn optional(name: &str, what: &str, lacks: &[&str]) {
    println!("  {DIM}--{DIM:#} {BOLD}{name}{BOLD:#}: {what}");
    for lack in lacks {
        paragraph("     ", 5, lack);
    }
}

fn good(name: &str, what: &str) {
    paragraph(
        &format!("  {GOOD}ok{GOOD:#} {BOLD}{name}{BOLD:#}: "),
        7 + name.len(),
        what,
    );
}

fn bad(name: &str, lack: &str, mend: &str) {
    paragraph(
        &format!("  {BAD}no{BAD:#} {BOLD}{name}{BOLD:#}: "),
        7 + name.len(),
        lack,
    );
    paragraph("     to mend it: ", 17, mend);
}
