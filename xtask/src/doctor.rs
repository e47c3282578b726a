//! `cargo xtask doctor`: what this machine can run, and what would mend each lack.

use std::path::Path;

use anstream::println;
use harness::engine::{EngineKind, cluster_may_be_up};
use harness::workspace::Workspace;

use crate::Verdict;
use crate::bench::find;
use crate::engine::{self, Choice};
use crate::report::{BAD, BOLD, DIM, GOOD, paragraph};

/// Programs that `cargo xtask bench` compares with, and how to get them; packages are Debian's and
/// Ubuntu's.
const PEERS: &[(&str, &str)] = &[
    ("podman", "sudo apt install podman"),
    ("nginx", "sudo apt install nginx-light"),
    ("haproxy", "sudo apt install haproxy"),
    ("kubectl", KUBECTL),
];
/// How to get kubectl, which Debian and Ubuntu have under different names.
pub(crate) const KUBECTL: &str = "see https://kubernetes.io/docs/tasks/tools/";

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
    docker();
    kind().await;
    for (program, mend) in PEERS {
        match find(program) {
            Some(path) => good(
                program,
                &format!("{}, for cargo xtask bench", path.display()),
            ),
            None => {
                println!(
                    "  {DIM}--{DIM:#} {BOLD}{program}{BOLD:#}: not here; cargo xtask bench goes without it"
                );
                paragraph("     ", 5, &format!("to have it: {mend}"));
            }
        }
    }
    Ok(if able { Verdict::Good } else { Verdict::Bad })
}

async fn sandbox() -> bool {
    match engine::open(Choice::Named(EngineKind::Sandbox)).await {
        Ok(chosen) => {
            good(
                "sandbox",
                &format!("works; {}", fields(EngineKind::Sandbox)),
            );
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

/// How much of a manifest an engine can do, from the table that its refusals are made from.
fn fields(engine: EngineKind) -> String {
    let (supported, all) = harness::manifest::fields::supported(engine);
    format!(
        "it refuses {} of the {all} fields of a Pod and of what stands beside one in a manifest, by name",
        all - supported
    )
}

/// What would mend the lack of a Docker daemon.
const NO_DOCKER: &str =
    "no Docker daemon answers; https://docs.docker.com/engine/install/ says how to have one";

/// The engines with a Docker daemon are compiled when they are asked for: what they need is only
/// looked for here.
fn docker() {
    match engine::docker_version() {
        Some(version) => good(
            "docker",
            &format!("Docker {version}; {}", fields(EngineKind::Docker)),
        ),
        None => lacking("docker", "which most chapters can do without", &[NO_DOCKER]),
    }
}

async fn kind() {
    let lacks = lacks_of_kind();
    if lacks.is_empty() {
        let version = engine::ask("kind", &["version"]).unwrap_or_default();
        let version = version.split_whitespace().nth(1).unwrap_or_default();
        let cluster = if cluster_may_be_up().await {
            "its cluster is up"
        } else {
            "`--engine kind` brings its cluster up"
        };
        good("kind", &format!("{version}; {cluster}"));
    } else {
        let what = "a real cluster, which most chapters can do without";
        lacking("kind", what, &lacks);
    }
}

/// What a kind cluster needs and this machine lacks, with what would mend it.
pub(crate) fn lacks_of_kind() -> Vec<&'static str> {
    let mut lacks = Vec::new();
    if engine::docker_version().is_none() {
        lacks.push(NO_DOCKER);
    }
    if engine::ask("kind", &["version"]).is_none() {
        lacks.push("kind is not here; to have it: go install sigs.k8s.io/kind@v0.33.0");
    }
    lacks
}

fn lacking(name: &str, what: &str, lacks: &[&str]) {
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
