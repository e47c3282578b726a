//! Runs pods, and tells what happened to them.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use harness::diagnosis::in_words;
use harness::engine::{Applied, Change, Event, PodChange, Pods, Target, What};
use harness::image::Image;
use harness::manifest::pod::{ConfigMap, Metadata};
use harness::manifest::{Manifest, PodSecurity};
use regex_lite::Regex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::machine;

/// Nothing that a test waits for takes this long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(100);

/// The image of `actor`, which does in containers what their arguments say. Whoever may not build
/// here can be given it: `ACTOR_IMAGE` is then its archive.
static IMAGES: LazyLock<Vec<Image>> = LazyLock::new(|| {
    if let Some(archive) = std::env::var_os("ACTOR_IMAGE") {
        return vec![Image::open(Path::new(&archive)).unwrap_or_else(|error| panic!("{error}"))];
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the harness has a folder above it");
    harness::image::build(workspace, "actor", &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
});

/// Whether all users of a pod are one to the kernel here, and a test that needs several is left
/// out.
pub(crate) async fn has_a_single_id(left_out: &str) -> bool {
    let single = machine::has_a_single_id().await;
    if single {
        eprintln!("left out, since this user has a single id: {left_out}");
    }
    single
}

/// Root's user and group, as the image's user sees them in `stat`.
pub(crate) async fn root() -> &'static str {
    if machine::has_a_single_id().await {
        // One id stands for all.
        "65532:0"
    } else {
        "0:0"
    }
}

/// A manifest from a pod's `spec`, in YAML, and of further objects after `---`. `ACTOR` stands for
/// the image of the program that plays every part. A first line `JOB` makes it the pod of a Job,
/// with the fields behind it, between which `; ` stands.
pub(crate) fn manifest(spec: &str) -> Manifest {
    let (spec, objects) = spec.split_once("\n---").unwrap_or((spec, ""));
    // On a line of its own it stands in YAML's block style, elsewhere in its flow style.
    let spec = spec.replace(
        "\n  ACTOR\n",
        "\n  image: 'sidecar-examples:actor'\n  imagePullPolicy: Never\n",
    );
    let spec = spec.replace(
        "ACTOR",
        "image: 'sidecar-examples:actor', imagePullPolicy: Never",
    );
    let objects = if objects.is_empty() {
        String::new()
    } else {
        format!("\n---{objects}")
    };
    let job = spec
        .strip_prefix("JOB")
        .and_then(|job| job.split_once('\n'));
    let text = match job {
        None => format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod, labels: {{tier: test}}}}\nspec:\n  {}{objects}\n",
            spec.replace('\n', "\n  ")
        ),
        Some((fields, spec)) => format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: pod}}\nspec:\n {}\n  template:\n    spec:\n      {}{objects}\n",
            fields.replace("; ", "\n  "),
            spec.replace('\n', "\n      ")
        ),
    };
    Manifest::parse("pod.yaml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

pub(crate) async fn images() -> Vec<Image> {
    tokio::task::spawn_blocking(|| IMAGES.clone())
        .await
        .expect("the image of actor can be built")
}

/// Has the engine run a pod.
pub(crate) async fn apply(spec: &str) -> anyhow::Result<Applied> {
    let (engine, images) = (machine::engine().await, images().await);
    engine
        .apply(&manifest(spec), PodSecurity::Privileged, &images)
        .await
}

/// Runs a pod.
pub(crate) async fn pod(spec: &str) -> Running {
    let applied = apply(spec).await;
    let Applied { pods, mut events } = applied.unwrap_or_else(|error| panic!("{error:#}\n{spec}"));
    let (told, story) = watch::channel(Vec::new());
    let reader = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            told.send_modify(|story: &mut Vec<String>| story.extend(in_a_line(&event)));
        }
    });
    Running {
        pods: pods.into(),
        story,
        reader,
    }
}

/// Runs a pod until it has ended by itself, and tells what happened.
pub(crate) async fn run(spec: &str) -> Story {
    let mut pod = pod(spec).await;
    pod.until("pod succeeded|pod failed").await;
    pod.stop().await
}

/// What the only container of a pod prints, which consists of this container and these further
/// fields of its spec.
pub(crate) async fn lines_of(container: &str, spec: &str) -> Vec<String> {
    let story = run(&format!(
        "restartPolicy: Never\n{spec}\ncontainers: [{{name: app, ACTOR, {container}}}]"
    ))
    .await;
    story.lines("app")
}

/// A pod that runs.
pub(crate) struct Running {
    pub(crate) pods: Arc<dyn Pods>,
    story: watch::Receiver<Vec<String>>,
    reader: JoinHandle<()>,
}

impl Running {
    /// Waits until something happens: a line of the story is one of those that `|` stands between.
    pub(crate) async fn until(&mut self, what: &str) {
        self.until_times(what, 1).await;
    }

    /// Waits until something has happened so often.
    pub(crate) async fn until_times(&mut self, what: &str, times: usize) {
        // A line that a container prints has such a stroke of its own, with spaces around it.
        let wanted: Vec<&str> = if what.contains(" | ") {
            vec![what]
        } else {
            what.split('|').collect()
        };
        let is_it = |line: &&String| {
            wanted
                .iter()
                .any(|wanted| line.as_str() == *wanted || line.starts_with(&format!("{wanted}:")))
        };
        let happened = |story: &Vec<String>| story.iter().filter(is_it).count() >= times;
        let waited = timeout(PATIENCE, self.story.wait_for(happened))
            .await
            .map(|found| found.is_ok());
        if !matches!(waited, Ok(true)) {
            let why = if waited.is_ok() {
                "the pod ended"
            } else {
                "it took too long"
            };
            panic!(
                "{why} before `{what}`, {times} times:\n{}",
                self.story.borrow().join("\n")
            );
        }
    }

    /// Ends the pod in order, and tells all that happened.
    pub(crate) async fn stop(self) -> Story {
        let Self {
            pods,
            story,
            reader,
        } = self;
        let orderly = async {
            pods.stop().await;
            drop(pods);
            // The last word has been told when nobody can tell any more.
            let _ = reader.await;
        };
        if timeout(PATIENCE, orderly).await.is_err() {
            panic!("the pod does not end:\n{}", story.borrow().join("\n"));
        }
        let told = story.borrow().clone();
        Story(told)
    }

    /// Runs a program in a container: its exit code, and what it printed.
    pub(crate) async fn exec(&self, container: &str, words: &[&str]) -> (i32, String) {
        let command: Vec<String> = words.iter().map(ToString::to_string).collect();
        let done = timeout(PATIENCE, self.pods.exec(target(container), &command)).await;
        let (code, said) = done.expect("the program ends").unwrap();
        (code, String::from_utf8_lossy(&said).trim_end().to_owned())
    }

    /// Ends a container's first process.
    pub(crate) async fn kill(&self, container: &str) {
        self.pods.signal(target(container), 9).await.unwrap();
    }

    /// Puts other data into a ConfigMap.
    pub(crate) async fn update(&self, name: &str, data: &[(&str, &str)]) {
        let map = ConfigMap {
            metadata: Metadata {
                name: name.to_owned(),
                ..Metadata::default()
            },
            data: data
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            ..ConfigMap::default()
        };
        self.pods.update(&map).await.unwrap();
    }
}

fn target(container: &str) -> Target<'_> {
    Target {
        pod: "pod",
        container,
    }
}

/// What happened, a line each: `app started`, `app | what it printed`, `pod ready`.
pub(crate) struct Story(pub(crate) Vec<String>);

impl Story {
    /// What a container printed.
    pub(crate) fn lines(&self, container: &str) -> Vec<String> {
        let start = format!("{container} | ");
        self.0
            .iter()
            .filter_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
            .collect()
    }

    /// What happened to a container or the pod, without what it printed.
    pub(crate) fn changes(&self, name: &str) -> Vec<String> {
        let start = format!("{name} ");
        let mut changes: Vec<String> = self
            .0
            .iter()
            .filter_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
            .collect();
        changes.retain(|change| !change.starts_with("| "));
        changes
    }

    /// Whether it happened.
    pub(crate) fn has(&self, what: &str) -> bool {
        self.0.iter().any(|line| line == what)
    }

    /// Asserts that these happened in this order, with anything between them. `…` at the end stands
    /// for any end.
    #[track_caller]
    pub(crate) fn in_order(&self, expected: &[&str]) {
        let mut rest = self.0.iter();
        for wanted in expected {
            let is_it = |line: &String| match wanted.strip_suffix('…') {
                Some(start) => line.starts_with(start),
                None => line == wanted,
            };
            assert!(
                rest.any(is_it),
                "`{wanted}` is not where it should be in\n{self}"
            );
        }
    }
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// `POD_IP` stands for the pod's address, which not every engine knows beforehand.
fn in_a_line(event: &Event) -> Option<String> {
    static POD_IP: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(10\.244|172\.\d+)\.\d+\.\d+\b").unwrap());
    let line = match &event.what {
        What::Pod(change) => match change {
            PodChange::Initialized => "pod initialized".to_owned(),
            PodChange::Ready(true) => "pod ready".to_owned(),
            PodChange::Ready(false) => "pod not ready".to_owned(),
            PodChange::Stopping => "pod stopping".to_owned(),
            PodChange::Succeeded => "pod succeeded".to_owned(),
            PodChange::Failed { reason, message } => {
                let why = format!("{reason} {message}");
                if why.trim().is_empty() {
                    "pod failed".to_owned()
                } else {
                    format!("pod failed: {}", why.trim())
                }
            }
        },
        What::Container {
            name,
            change: Change::Line(line),
        } => format!("{name} | {}", line.text()),
        What::Container { name, change } => format!("{name} {}", in_words(change)?),
    };
    Some(POD_IP.replace_all(&line, "POD_IP").into_owned())
}
