//! Pods on a real cluster: what the engine tells of them, what it does to them, and what it
//! leaves. Small pods, several side by side.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod typed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use harness::diagnosis::{Failure, in_words};
use harness::engine::kind::cluster;
use harness::engine::{Applied, Change, Engine, Event, Kind, PodChange, Pods, Target, What};
use harness::image::Image;
use harness::manifest::pod::{ConfigMap, Metadata};
use harness::manifest::{Manifest, PodSecurity};
use harness::run::{Outcome, Plan};
use harness::scenario::Scenario;
use harness::workspace::Workspace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing that a test waits for takes this long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The image of `actor`, which does in containers what their arguments say.
static ACTOR: LazyLock<Vec<Image>> = LazyLock::new(|| {
    harness::image::build(&root(), "actor", &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
});
static CHAPTER_2: LazyLock<Vec<Image>> = LazyLock::new(|| of_chapter("2"));
static CHAPTER_9: LazyLock<Vec<Image>> = LazyLock::new(|| of_chapter("9"));

/// The images that a chapter's pods run.
fn of_chapter(number: &str) -> Vec<Image> {
    let chapter = Workspace::at(root()).select(number).unwrap().remove(0);
    chapter.build(&mut |_| {}).unwrap()
}

async fn images(images: &'static LazyLock<Vec<Image>>) -> Vec<Image> {
    tokio::task::spawn_blocking(|| (*images).clone())
        .await
        .unwrap()
}

async fn engine() -> Kind {
    let node_image = std::env::var("WORKBOOK_NODE_IMAGE").ok();
    let mut progress = |line: &str| eprintln!("{line}");
    Kind::new(node_image.as_deref(), &mut progress)
        .await
        .unwrap()
}

/// A manifest from a pod's `spec`, in YAML's flow style, and of further objects after `---`.
/// `ACTOR` stands for the image of the program that plays every part.
fn manifest(spec: &str) -> Manifest {
    let (spec, objects) = spec.split_once("---").unwrap_or((spec, ""));
    let spec = spec.replace(
        "ACTOR",
        "image: 'sidecar-examples:actor', imagePullPolicy: Never",
    );
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod}}\nspec: {{terminationGracePeriodSeconds: 5, {spec}}}\n---\n{objects}\n"
    );
    Manifest::parse("pod.yaml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

struct Running {
    pods: Arc<dyn Pods>,
    story: watch::Receiver<Vec<String>>,
    reader: JoinHandle<()>,
    _engine: Kind,
}

async fn pod(spec: &str) -> Running {
    run_all_of(&manifest(spec)).await
}

async fn run_all_of(manifest: &Manifest) -> Running {
    let engine = engine().await;
    let images = images(&ACTOR).await;
    engine.load(&images).await.unwrap();
    let applied = engine
        .apply(manifest, PodSecurity::Privileged, &images)
        .await;
    let Applied { pods, mut events } =
        applied.unwrap_or_else(|error| panic!("{error:#}\n{}", manifest.text));
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
        _engine: engine,
    }
}

impl Running {
    /// Waits until a line of the story has been told so often.
    async fn until(&mut self, what: &str, times: usize) {
        let happened = |story: &Vec<String>| {
            story.iter().filter(|line| line.starts_with(what)).count() >= times
        };
        let waited = timeout(PATIENCE, self.story.wait_for(happened))
            .await
            .map(|found| found.is_ok());
        assert!(
            matches!(waited, Ok(true)),
            "it did not come to `{what}`, {times} times:\n{}",
            self.story.borrow().join("\n")
        );
    }

    /// Ends the pod in order, and tells all that happened.
    async fn stop(self) -> Vec<String> {
        let orderly = async {
            self.pods.stop().await;
            assert_eq!(self.pods.missing(), [""; 0]);
            drop(self.pods);
            let _ = self.reader.await;
        };
        timeout(PATIENCE, orderly).await.expect("the pod ends");
        self.story.borrow().clone()
    }
}

/// What happened, a line each: `app started`, `app | what it printed`, `pod ready`.
fn in_a_line(event: &Event) -> Option<String> {
    Some(match &event.what {
        What::Pod(PodChange::Failed { reason, message }) => {
            format!("pod failed: {reason} {message}")
        }
        What::Pod(change) => format!("pod {change:?}").to_lowercase(),
        What::Container {
            name,
            change: Change::Line(line),
        } => format!("{name} | {}", line.text()),
        What::Container { name, change } => format!("{name} {}", in_words(change)?),
    })
}

fn lines(story: &[String], container: &str) -> Vec<String> {
    let start = format!("{container} | ");
    story
        .iter()
        .filter_map(|line| Some(line.strip_prefix(&start)?.to_owned()))
        .collect()
}

/// Asserts that these happened in this order, with anything between them.
#[track_caller]
fn in_order(story: &[String], expected: &[&str]) {
    let mut rest = story.iter();
    for wanted in expected {
        assert!(
            rest.any(|line| line == wanted),
            "`{wanted}` is not where it should be in\n{}",
            story.join("\n")
        );
    }
}

#[tokio::test]
async fn a_pod_is_told_from_its_first_line_to_the_last() {
    let mut pod = pod("
        initContainers: [
          {name: init, ACTOR, args: [say, prepared]},
          {name: sidecar, ACTOR, restartPolicy: Always, args: [say, here, then, wait, then, say, last]},
        ],
        containers: [{name: app, ACTOR, args: [say, hello, then, wait, then, linger, '300', then, say, bye]}]")
    .await;
    pod.until("app | hello", 1).await;
    pod.until("pod ready(true)", 1).await;
    let story = pod.stop().await;
    in_order(
        &story,
        &[
            "init started",
            "init | prepared",
            "init ended with exit code 0 (Completed)",
            "sidecar started",
            "app started",
            "pod stopping",
            "app | SIGTERM",
            "app | bye",
            "app ended with exit code 0 (Completed)",
            "sidecar ended with exit code 0 (Completed)",
        ],
    );
    // The lines come at once, and the status a moment later: they are not in one order.
    in_order(
        &story,
        &["app | bye", "sidecar | SIGTERM", "sidecar | last"],
    );
    assert_eq!(lines(&story, "sidecar"), ["here", "SIGTERM", "last"]);
}

#[tokio::test]
async fn every_line_comes_once_across_restarts_and_as_its_bytes() {
    // `é` is cut in two: the bytes are no UTF-8. A long line comes in one piece.
    let long = "x".repeat(40_000);
    let spec = format!(
        "restartPolicy: OnFailure, containers: [
          {{name: fails, ACTOR, args: [say, one, two, then, bytes, 'c3000a', then, say, {long}, then, linger, '2000', then, exit, '3']}},
          {{name: dies, ACTOR, args: [say, alive, then, stay]}}]"
    );
    let mut pod = pod(&spec).await;
    pod.until("fails ended with exit code 3 (Error)", 2).await;
    pod.until("fails waits (CrashLoopBackOff): back-off", 1)
        .await;
    pod.until("dies | alive", 1).await;
    let target = Target {
        pod: "pod",
        container: "dies",
    };
    pod.pods.signal(target, 9).await.unwrap();
    pod.until("dies started again (1)", 1).await;
    pod.until("dies | alive", 2).await;
    let story = pod.stop().await;
    let short: Vec<String> = lines(&story, "fails")
        .into_iter()
        .map(|line| {
            if line == long {
                "a long line".to_owned()
            } else {
                line
            }
        })
        .collect();
    let once = ["one", "two", "\\xc3\0", "a long line"];
    // It may have been started once more before it was told to end.
    let starts = story
        .iter()
        .filter(|line| line.starts_with("fails started"));
    assert_eq!(short, once.repeat(starts.count()));
    in_order(
        &story,
        &[
            "dies started",
            "dies | alive",
            "dies ended with exit code 137, killed by SIGKILL (Error)",
            "dies started again (1)",
            "dies | alive",
        ],
    );
}

#[tokio::test]
async fn a_running_pod_can_be_acted_on() {
    let mut pod = pod("
        volumes: [{name: settings, configMap: {name: settings}}],
        containers: [
          {name: app, ACTOR, args: [serve, '127.0.0.1:8000', then, wait]},
          {name: reader, ACTOR, args: [await, /settings/new, then, read, /settings/new, then, wait],
           volumeMounts: [{name: settings, mountPath: /settings}]}]
        ---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, labels: {kept: 'yes'}}, data: {old: before}}")
    .await;
    pod.until("pod ready(true)", 1).await;

    let target = Target {
        pod: "pod",
        container: "app",
    };
    let exec = async |words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let (code, said) = pod.pods.exec(target, &words).await.unwrap();
        (code, String::from_utf8(said).unwrap())
    };
    assert_eq!(
        exec(&["/actor", "say", "in", "it"]).await,
        (0, "in\nit\n".to_owned())
    );
    assert_eq!(exec(&["/actor", "exit", "7"]).await.0, 7);
    assert!(
        pod.pods
            .exec(target, &["/nothing".to_owned()])
            .await
            .is_err()
    );

    let mut stream = pod.pods.connect("pod", 8000).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");

    let mut refused = pod.pods.connect("pod", 8001).await.unwrap();
    let error = timeout(PATIENCE, refused.read(&mut [0; 1]))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::ConnectionRefused,
        "{error}"
    );

    let metadata = Metadata {
        name: "settings".to_owned(),
        ..Metadata::default()
    };
    let data = [("new".to_owned(), "after".to_owned())].into();
    let map = ConfigMap {
        metadata,
        data,
        ..ConfigMap::default()
    };
    pod.pods.update(&map).await.unwrap();
    // Left to itself, the kubelet takes more than a minute.
    timeout(
        Duration::from_secs(45),
        pod.until("reader | /settings/new: after", 1),
    )
    .await
    .unwrap();
    pod.stop().await;
}

fn plan(pod: &str, steps: &str, images: Vec<Image>) -> Plan {
    let chapter = Workspace::at(root())
        .select("input-poller")
        .unwrap()
        .remove(0);
    Plan {
        chapter,
        name: "broken".to_owned(),
        scenario: Scenario::parse(&format!("shows = 'a failure'\ntimeout = '140s'\n{steps}"))
            .unwrap(),
        manifest: Manifest::parse("broken.yaml", pod).unwrap(),
        later: BTreeMap::new(),
        images,
        discards: false,
    }
}

async fn run(engine: &Kind, plan: &Plan) -> anyhow::Result<Outcome> {
    let (_ask, interrupt) = watch::channel(false);
    let mut ignore = |_: &_| {};
    timeout(PATIENCE, plan.run(engine, interrupt, &mut ignore))
        .await
        .expect("it ends by itself")
}

/// Runs a pod that consists of one container with these fields until `wait` holds, which it never
/// does, and returns why.
async fn failure(engine: &Kind, image: &str, container: &str, spec: &str, wait: &str) -> Failure {
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: broken}}\nspec:\n  \
         terminationGracePeriodSeconds: 2\n  \
         securityContext: {{runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {{type: RuntimeDefault}}}}\n  \
         {spec}\n  containers:\n    - {{name: app, image: 'sidecar-examples:{image}', imagePullPolicy: Never, {container} \
         securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}}}"
    );
    let plan = plan(
        &pod,
        &format!("[[step]]\nwait = {{ {wait} }}"),
        images(&CHAPTER_2).await,
    );
    let outcome = run(engine, &plan).await.unwrap();
    let [events] = outcome.evidence.as_slice() else {
        panic!("{:?}", outcome.evidence)
    };
    let events: serde_json::Value = serde_json::from_slice(&events.content).unwrap();
    let of_pod = |event: &serde_json::Value| event["involvedObject"]["name"] == "broken";
    assert!(
        events["kind"] == "EventList" && events["items"].as_array().unwrap().iter().any(of_pod),
        "{events}"
    );
    outcome.failure.expect("the run fails")
}

#[tokio::test]
async fn a_run_that_cannot_succeed_says_why_at_once() {
    const SERVER: &str = "input-http-server";
    const LINE: &str = "container = 'app', line = 'never'";
    let engine = engine().await;
    let says = async |image: &str, container: &str, spec: &str, wait: &str, expected: &[&str]| {
        let failure = failure(&engine, image, container, spec, wait)
            .await
            .to_string();
        for words in expected {
            assert!(failure.contains(words), "`{words}` is not in:\n{failure}");
        }
    };
    tokio::join!(
        says(
            "nothing",
            "",
            "",
            LINE,
            &["app cannot start (ErrImageNeverPull)", "is not built here"]
        ),
        says(
            "input-sidecar-naive",
            "",
            "",
            LINE,
            &["app crashes again and again", "panicked"]
        ),
        says(
            SERVER,
            "env: [{name: LISTEN, valueFrom: {configMapKeyRef: {name: absent, key: listen}}}],",
            "",
            LINE,
            &[
                "app cannot start (CreateContainerConfigError)",
                "configmap \"absent\" not found",
                "same manifest"
            ],
        ),
        says(
            SERVER,
            "",
            "nodeSelector: {disk: golden}",
            LINE,
            &["app cannot start (Unschedulable)", "node affinity/selector"]
        ),
        says(
            SERVER,
            "readinessProbe: {httpGet: {port: 7878}, periodSeconds: 1},",
            "",
            "pod = 'ready'",
            &[
                "app does not get ready: its readinessProbe fails",
                "connection refused",
                "exec probe"
            ],
        ),
        says(
            SERVER,
            "volumeMounts: [{name: settings, mountPath: /settings}],",
            "volumes: [{name: settings, configMap: {name: absent}}]",
            LINE,
            &[
                "app cannot start (FailedMount)",
                "configmap \"absent\" not found",
                "same manifest"
            ],
        ),
        says(
            SERVER,
            "command: [/absent],",
            "",
            LINE,
            &[
                "app cannot start",
                "/absent",
                "no such file or directory",
                "without `command`"
            ]
        ),
    );
}

#[tokio::test]
async fn a_namespace_that_refuses_the_pod_leaves_nothing_running() {
    let pod = "\
apiVersion: v1
kind: LimitRange
metadata: {name: small}
spec: {limits: [{type: Container, max: {memory: 1Mi}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: app
      image: sidecar-examples:input-http-server
      resources: {limits: {memory: 2Mi}}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";
    let engine = engine().await;
    let plan = plan(
        pod,
        "[[step]]\nwait = { pod = 'ready' }",
        images(&CHAPTER_2).await,
    );
    let refusal = format!("{:#}", run(&engine, &plan).await.unwrap_err());
    assert!(
        refusal.contains("the cluster refuses Pod pod of broken.yaml")
            && refusal.contains("maximum memory usage per Container is 1Mi"),
        "{refusal}"
    );
}

#[tokio::test]
async fn another_image_starts_its_container_alone_again() {
    let engine = engine().await;
    let pod =
        std::fs::read_to_string(root().join("manifests/02-input-poller/healthy.yaml")).unwrap();
    let steps = "\
[[step]]
wait = { container = 'input-sidecar', line = '^Hello$' }
[[step]]
replace-image = { container = 'input-sidecar', image = 'sidecar-examples:input-sidecar-naive' }
wait = { container = 'input-sidecar', state = 'started', times = 2 }
";
    let outcome = run(&engine, &plan(&pod, steps, images(&CHAPTER_2).await))
        .await
        .unwrap();
    assert_eq!(outcome.failure, None);
    let started = |container: &str| {
        let changes = outcome.recording.changes(container);
        let images = changes.filter_map(|(_, change)| match change {
            Change::Started { image, .. } => Some(image.clone()),
            _ => None,
        });
        images.collect::<Vec<_>>()
    };
    let id = |program: &str| {
        let image = CHAPTER_2
            .iter()
            .find(|image| image.program == program)
            .unwrap();
        image.id.clone()
    };
    assert_eq!(
        started("input-sidecar"),
        [id("input-sidecar"), id("input-sidecar-naive")]
    );
    assert_eq!(started("input-http-server"), [id("input-http-server")]);
}

/// Runs `kubectl` in the environment that `cargo xtask cluster env` gives, but with a namespace.
struct Kubectl {
    _folder: tempfile::TempDir,
    config: PathBuf,
    namespace: String,
}

impl Kubectl {
    async fn new(namespace: &str) -> Self {
        let env = cluster::env().await.unwrap();
        let (_, config) = env.iter().find(|(name, _)| *name == "KUBECONFIG").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("kubeconfig");
        std::fs::copy(config, &copy).unwrap();
        let kubectl = Self {
            _folder: folder,
            config: copy,
            namespace: namespace.to_owned(),
        };
        kubectl.run(&["create", "namespace", namespace]);
        kubectl.run(&[
            "config",
            "set-context",
            "--current",
            "--namespace",
            namespace,
        ]);
        kubectl
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let (good, said) = self.attempt(arguments);
        assert!(good, "kubectl {}: {said}", arguments.join(" "));
        said
    }

    fn attempt(&self, arguments: &[&str]) -> (bool, String) {
        let done = Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &self.config)
            .current_dir(root())
            .output()
            .expect("kubectl is on PATH");
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(said).unwrap())
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        let _ = self.attempt(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

#[tokio::test]
async fn the_commands_of_the_book_work_by_hand() {
    drop(engine().await);
    cluster::load(&images(&CHAPTER_2).await).await.unwrap();
    // What is there already is not sent again.
    assert_eq!(
        cluster::load(&images(&CHAPTER_2).await).await.unwrap(),
        [""; 0]
    );
    let kubectl = Kubectl::new(&format!("by-hand-{}", std::process::id())).await;
    typed::type_again("cluster.console", &[("KUBECONFIG", &kubectl.config)]).await;
}

/// What a quota counts, and the class of a pod, are the cluster's own words.
#[tokio::test]
async fn the_resources_of_a_pod_are_what_the_book_says() {
    drop(engine().await);
    let kubectl = Kubectl::new(&format!("resources-{}", std::process::id())).await;
    typed::type_again(
        "native-sidecars.console",
        &[("KUBECONFIG", &kubectl.config)],
    )
    .await;
}

#[tokio::test]
async fn a_sidecar_is_upgraded_by_hand() {
    drop(engine().await);
    cluster::load(&images(&CHAPTER_9).await).await.unwrap();
    let kubectl = Kubectl::new(&format!("upgrade-{}", std::process::id())).await;
    typed::type_again("upgrade.console", &[("KUBECONFIG", &kubectl.config)]).await;
}

#[tokio::test]
async fn only_what_a_dead_run_has_left_is_swept() {
    let engine = engine().await;
    let id = std::process::id();
    let over = Kubectl::new(&format!("over-{id}")).await;
    let lives = Kubectl::new(&format!("lives-{id}")).await;
    let foreign = Kubectl::new(&format!("foreign-{id}")).await;
    let label = |kubectl: &Kubectl, managed_by: &str, expires: &str| {
        let labels = [
            format!("app.kubernetes.io/managed-by={managed_by}"),
            format!("sidecar-workbook/run=of-another-machine-{id}"),
            format!("sidecar-workbook/expires={expires}"),
        ];
        let mut arguments = vec!["label", "namespace", &kubectl.namespace];
        arguments.extend(labels.iter().map(String::as_str));
        kubectl.run(&arguments);
    };
    label(&over, "sidecar-workbook", "1000000000");
    label(&lives, "sidecar-workbook", "9000000000");
    label(&foreign, "somebody-else", "1000000000");
    let swept = engine.sweep().await.unwrap().join("\n");
    assert!(swept.contains(&over.namespace), "{swept}");
    assert!(
        !swept.contains(&lives.namespace) && !swept.contains(&foreign.namespace),
        "{swept}"
    );
    let phase = |kubectl: &Kubectl| {
        kubectl
            .attempt(&[
                "get",
                "namespace",
                &kubectl.namespace,
                "-o",
                "jsonpath={.status.phase}",
            ])
            .1
    };
    assert_eq!(
        (phase(&lives), phase(&foreign)),
        ("Active".to_owned(), "Active".to_owned())
    );
    assert_ne!(phase(&over), "Active");
}

#[tokio::test]
async fn several_may_bring_the_cluster_up_at_once() {
    let up = async || {
        let node_image = std::env::var("WORKBOOK_NODE_IMAGE").ok();
        cluster::up(node_image.as_deref(), &mut |_| {})
            .await
            .unwrap();
    };
    tokio::join!(up(), up(), up());
    let status = cluster::status().await.unwrap();
    assert!(
        matches!(status, cluster::Status::Up { ref version, .. } if version.starts_with("v1.")),
        "{status:?}"
    );
}

/// A Job with these fields, whose pods have this spec, and further objects.
fn job(fields: &str, spec: &str, objects: &str) -> Manifest {
    let spec = spec.replace(
        "ACTOR",
        "image: 'sidecar-examples:actor', imagePullPolicy: Never",
    );
    let text = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: work}}\nspec: {{{fields}, template: {{spec: {{{spec}}}}}}}\n---\n{objects}\n"
    );
    Manifest::parse("job.yaml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// The cluster makes another pod after one that failed. Both are recorded under the Job's name.
#[tokio::test]
async fn the_pods_of_a_job_follow_one_another() {
    let job = job(
        "backoffLimit: 1",
        "restartPolicy: Never, containers: [{name: app, ACTOR, args: [say, up, then, exit, '3']}]",
        "",
    );
    let mut job = run_all_of(&job).await;
    job.until("pod failed: BackoffLimitExceeded", 1).await;
    let story = job.stop().await;
    let count = |what: &str| story.iter().filter(|line| line.as_str() == what).count();
    for what in [
        "app started",
        "app | up",
        "app ended with exit code 3 (Error)",
    ] {
        assert_eq!(count(what), 2, "{what}: {story:#?}");
    }
    let last = "pod failed: BackoffLimitExceeded Job has reached the specified backoff limit";
    assert_eq!(story.last().map(String::as_str), Some(last));
}

#[tokio::test]
async fn a_job_whose_pod_cannot_be_made_says_why() {
    let quota =
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: '0'}}";
    let job = job(
        "backoffLimit: 0",
        "restartPolicy: Never, containers: [{name: app, ACTOR, args: [say, up]}]",
        quota,
    );
    let mut job = run_all_of(&job).await;
    job.until("app waits (FailedCreate)", 1).await;
    let story = job.stop().await;
    let why = story.iter().find(|line| line.starts_with("app waits"));
    assert!(
        why.is_some_and(|why| why.contains("exceeded quota")),
        "{story:#?}"
    );
}
