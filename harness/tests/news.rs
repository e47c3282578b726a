//! When an engine's news comes: never again, since it no longer learns what happens to its pods (the
//! run ends, at once and with what is known, whatever it waited for), or before the answer to what
//! caused it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use harness::engine::{
    Applied, Change, Engine, EngineKind, Event, Evidence, PodChange, Pods, Target, What,
};
use harness::image::Image;
use harness::manifest::pod::{ConfigMap, RestartPolicy};
use harness::manifest::{Manifest, PodSecurity};
use harness::run::{Outcome, Plan};
use harness::scenario::Scenario;
use harness::workspace::Workspace;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Less than the scenario's own limit, and more than this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const WHY: &str = "the cable was cut";

/// An engine that tells one event, and is cut off then; or that goes on, and is slow to answer.
#[derive(Clone, Copy, PartialEq)]
enum Cable {
    Cut,
    Slow,
}

#[async_trait]
impl Engine for Cable {
    fn kind(&self) -> EngineKind {
        EngineKind::Kind
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn enforces_memory_limits(&self) -> bool {
        true
    }

    async fn load(&self, _images: &[Image]) -> anyhow::Result<()> {
        Ok(())
    }

    async fn apply(
        &self,
        _manifest: &Manifest,
        _level: PodSecurity,
        _images: &[Image],
    ) -> anyhow::Result<Applied> {
        let (sender, events) = mpsc::channel(1);
        let event = Event {
            at: Duration::ZERO,
            pod: "input".to_owned(),
            what: What::Pod(PodChange::Initialized),
        };
        sender.try_send(event).unwrap();
        let pods = Box::new(FarEnd {
            cable: *self,
            events: sender,
        });
        Ok(Applied { pods, events })
    }

    async fn sweep(&self) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

struct FarEnd {
    cable: Cable,
    events: mpsc::Sender<Event>,
}

#[async_trait]
impl Pods for FarEnd {
    async fn connect(
        &self,
        _pod: &str,
        _port: u16,
    ) -> io::Result<harness::kubelet::runtime::Connection> {
        std::future::pending().await
    }

    async fn exec(
        &self,
        _target: Target<'_>,
        _command: &[String],
    ) -> anyhow::Result<(i32, Vec<u8>)> {
        std::future::pending().await
    }

    async fn signal(&self, target: Target<'_>, signal: i32) -> anyhow::Result<()> {
        if self.cable == Cable::Cut {
            std::future::pending().await
        }
        let change = Change::Ended {
            exit_code: 128 + signal,
            reason: "Error".to_owned(),
            message: String::new(),
        };
        let event = Event {
            at: Duration::ZERO,
            pod: target.pod.to_owned(),
            what: What::Container {
                name: target.container.to_owned(),
                change,
            },
        };
        self.events.send(event).await.unwrap();
        // It answers when this, too, has been taken.
        drop(self.events.reserve().await);
        Ok(())
    }

    async fn replace_image(&self, _target: Target<'_>, _image: &str) -> anyhow::Result<()> {
        std::future::pending().await
    }

    async fn update(&self, _map: &ConfigMap) -> anyhow::Result<()> {
        std::future::pending().await
    }

    async fn apply(&self, _manifest: &Manifest) -> anyhow::Result<()> {
        std::future::pending().await
    }

    async fn delete(&self, _pod: &str) -> anyhow::Result<()> {
        std::future::pending().await
    }

    async fn kill(&self, _pod: &str) -> anyhow::Result<()> {
        std::future::pending().await
    }

    async fn stop(&self) {}

    async fn lost(&self) -> String {
        if self.cable == Cable::Slow {
            std::future::pending().await
        }
        // Its one event has been taken: there is room for another.
        drop(self.events.reserve().await);
        WHY.to_owned()
    }

    fn evidence(&self) -> Vec<Evidence> {
        vec![evidence()]
    }
}

fn evidence() -> Evidence {
    Evidence {
        name: "cable.txt",
        content: b"two ends".to_vec(),
    }
}

/// A chapter's healthy run, by another scenario.
fn plan(chapter: &str, scenario: &str) -> Plan {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let chapter = Workspace::at(root.to_owned())
        .select(chapter)
        .unwrap()
        .remove(0);
    let mut plan = Plan::load(&chapter, "healthy").unwrap();
    plan.scenario = Scenario::parse(&format!("shows = 'what comes when'\n{scenario}")).unwrap();
    plan
}

fn assert_lost(outcome: &Outcome) {
    assert_eq!(outcome.lost.as_deref(), Some(WHY));
    assert!(!outcome.is_as_recorded() && !outcome.interrupted);
    assert_eq!(outcome.failure, None);
    let known: Vec<&What> = outcome
        .recording
        .events
        .iter()
        .map(|event| &event.what)
        .collect();
    assert_eq!(known, [&What::Pod(PodChange::Initialized)]);
    assert_eq!(outcome.evidence, [evidence()]);
}

#[tokio::test]
async fn a_run_ends_while_it_waits() {
    for scenario in [
        "[snapshot.input-sidecar]\nlines = 5",
        "[[step]]\nwait = { pod = 'ready' }",
        "[[step]]\nrequest = { port = 7878, times = 1 }",
    ] {
        let (_ask, interrupt) = watch::channel(false);
        let plan = plan("2", scenario);
        let mut ignore = |_: &_| {};
        let run = plan.run(&Cable::Cut, interrupt, &mut ignore);
        let outcome = timeout(PATIENCE, run).await.expect(scenario).unwrap();
        assert_lost(&outcome);
    }
}

#[tokio::test]
async fn so_does_one_that_nobody_ends() {
    let (_ask, interrupt) = watch::channel(false);
    let plan = plan("2", "");
    let serve = |_| tokio::spawn(std::future::pending());
    let mut ignore = |_: &_| {};
    let keep = plan.keep(&Cable::Cut, interrupt, &mut ignore, &serve);
    let outcome = timeout(PATIENCE, keep).await.expect("it ends").unwrap();
    assert_lost(&outcome);
}

#[tokio::test]
async fn an_end_that_a_signal_caused_may_be_told_before_the_signal_is_answered() {
    let (_ask, interrupt) = watch::channel(false);
    let scenario = "[[step]]\nkill = { container = 'input-sidecar', signal = 'SIGKILL' }";
    let mut plan = plan("2", scenario);
    // It has ended for good: nothing that needs it could still succeed.
    plan.manifest.pods[0].spec.restart_policy = RestartPolicy::Never;
    let mut ignore = |_: &_| {};
    let run = plan.run(&Cable::Slow, interrupt, &mut ignore);
    let outcome = timeout(PATIENCE, run).await.unwrap().unwrap();
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.recording.events.len(), 2);
}
