//! How long a pod takes from its manifest to the first response of one container to another.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anstream::println;
use anyhow::{Context, ensure};
use harness::engine::{Applied, Change, Engine, What};
use harness::run::Plan;
use harness::workspace::{HEALTHY, Workspace};

use super::{find, median, version};
use crate::engine::{self, Choice};
use crate::report::{BOLD, DIM, span};

/// The chapter whose pod is started: an app, and a sidecar that prints what the app answers.
const CHAPTER: &str = "input-poller";
const SIDECAR: &str = "input-sidecar";
/// The answer.
const ANSWER: &str = "Hello";

pub(super) async fn run(rounds: u32) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    let chapters = workspace.select(CHAPTER)?;
    let mut plan = Plan::load(&chapters[0], HEALTHY)?;
    plan.images = harness::image::build(workspace.root(), CHAPTER, &mut |_| {})?;
    let engine = engine::open(Choice::Named(harness::engine::EngineKind::Sandbox))
        .await?
        .engine;
    let podman = find("podman").map(|_| Podman::prepare(&plan)).transpose()?;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(sandbox(engine.as_ref(), &plan).await?);
        if let Some(podman) = &podman {
            theirs.push(podman.start()?);
        }
    }
    println!(
        "{BOLD}pod start to the first response between two containers{BOLD:#}, median of {rounds}"
    );
    let ours = median(ours);
    println!("  sandbox              {:>8}", span(ours));
    match podman {
        Some(_) => {
            let theirs = median(theirs);
            let name = version("podman", "--version").unwrap_or_else(|| "podman".to_owned());
            println!(
                "  podman kube play     {:>8}  {:.1} times the sandbox's {DIM}({name}){DIM:#}",
                span(theirs),
                theirs.as_secs_f64() / ours.as_secs_f64()
            );
        }
        None => {
            println!("  {DIM}podman is not installed: sudo apt install podman catatonit{DIM:#}")
        }
    }
    Ok(())
}

async fn sandbox(engine: &dyn Engine, plan: &Plan) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let Applied { pods, mut events } = engine
        .apply(&plan.manifest, plan.scenario.pod_security, &plan.images)
        .await?;
    let took = loop {
        let event = events
            .recv()
            .await
            .context("the pod ended without an answer")?;
        match event.what {
            What::Container {
                name,
                change: Change::Line(line),
            } if name == SIDECAR && line.0 == ANSWER.as_bytes() => break begin.elapsed(),
            _ => {}
        }
    };
    pods.stop().await;
    Ok(took)
}

/// The same pod under a name of its own, and the images that podman did not have before.
struct Podman {
    manifest: String,
    pod: String,
    loaded: Vec<String>,
}

impl Podman {
    fn prepare(plan: &Plan) -> anyhow::Result<Self> {
        let pod = format!("workbook-bench-{}", std::process::id());
        let mut value = plan.manifest.objects[0].value.clone();
        value["metadata"]["name"] = pod.as_str().into();
        let mut podman = Self {
            manifest: value.to_string(),
            pod,
            loaded: Vec::new(),
        };
        for image in &plan.images {
            if podman.run(&["image", "exists", &image.id]).is_err() {
                podman.run(&[
                    "load",
                    "--quiet",
                    "--input",
                    &image.archive.to_string_lossy(),
                ])?;
                podman.loaded.push(image.name.clone());
            }
        }
        Ok(podman)
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("podman")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("cannot run podman")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "podman {} failed: {}",
            arguments.join(" "),
            said.trim()
        );
        Ok(())
    }

    fn start(&self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let mut play = Command::new("podman")
            .args(["kube", "play", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run podman")?;
        play.stdin
            .take()
            .context("podman has no input")?
            .write_all(self.manifest.as_bytes())?;
        let played = play.wait_with_output()?;
        let said = String::from_utf8_lossy(&played.stderr);
        ensure!(
            played.status.success(),
            "podman kube play failed: {}",
            said.trim()
        );
        let mut logs = Command::new("podman")
            .args(["logs", "--follow", &format!("{}-{SIDECAR}", self.pod)])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run podman")?;
        let lines = BufReader::new(logs.stdout.take().context("podman has no output")?).lines();
        let answered = lines.map_while(Result::ok).any(|line| line == ANSWER);
        let took = begin.elapsed();
        let _ = logs.kill();
        logs.wait()?;
        self.run(&["pod", "rm", "--force", "--time", "0", &self.pod])?;
        ensure!(answered, "the pod ended without an answer");
        Ok(took)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What is not there need not be removed.
        let _ = self.run(&["pod", "rm", "--force", "--ignore", "--time", "0", &self.pod]);
        for image in &self.loaded {
            let _ = self.run(&["rmi", "--force", image]);
        }
    }
}
