//! A run that fails says which container it is about, what happened to it, its last lines, and
//! what to try; and it says so as soon as it can no longer succeed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use harness::diagnosis::Failure;
use harness::engine::{Engine, Sandbox};
use harness::manifest::Manifest;
use harness::run::{Outcome, Plan};
use harness::scenario::Scenario;
use harness::workspace::Workspace;
use tokio::sync::watch;

/// Longer than any of these needs, and much shorter than the pauses between restarts add up to.
const PATIENCE: Duration = Duration::from_secs(50);

/// Runs a pod that consists of these containers and volumes until `wait` holds, which it never
/// does, and returns why.
async fn failure(chapter: &str, containers: &str, volumes: &str, wait: &str) -> Failure {
    let steps = format!("[[step]]\nwait = {{ {wait} }}");
    let outcome = run(chapter, containers, volumes, &steps).await;
    outcome.unwrap().failure.expect("the run fails")
}

/// Runs a pod and takes these steps.
async fn run(
    chapter: &str,
    containers: &str,
    volumes: &str,
    steps: &str,
) -> anyhow::Result<Outcome> {
    let spec = spec(containers, volumes);
    let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: broken}}\n{spec}");
    run_manifest(chapter, &pod, steps).await
}

/// The `spec` of a pod that consists of these containers and volumes.
fn spec(containers: &str, volumes: &str) -> String {
    format!(
        "spec:\n  \
         terminationGracePeriodSeconds: 2\n  \
         securityContext: {{runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {{type: RuntimeDefault}}}}\n  \
         volumes: [{volumes}]\n  containers:\n{containers}"
    )
}

/// Runs a manifest and takes these steps.
async fn run_manifest(chapter: &str, manifest: &str, steps: &str) -> anyhow::Result<Outcome> {
    let scenario = format!("shows = 'a failure'\n{steps}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned();
    let workspace = Workspace::at(root.clone());
    let chapter = workspace.select(chapter).unwrap().remove(0);
    let name = chapter.name.clone();
    let images =
        tokio::task::spawn_blocking(move || harness::image::build(&root, &name, &mut |_| {}));
    let plan = Plan {
        chapter,
        name: "broken".to_owned(),
        scenario: Scenario::parse(&scenario).unwrap(),
        manifest: Manifest::parse("broken.yaml", manifest).unwrap(),
        later: BTreeMap::new(),
        images: images.await.unwrap().unwrap(),
        discards: false,
    };
    let engine = sandbox().await;
    let (_ask, interrupt) = watch::channel(false);
    let mut ignore = |_: &_| {};
    let run = plan.run(&engine, interrupt, &mut ignore);
    tokio::time::timeout(PATIENCE, run)
        .await
        .expect("it ends by itself")
}

async fn sandbox() -> Sandbox {
    let supervisor = PathBuf::from(env!("CARGO_BIN_EXE_pod-supervisor"));
    Sandbox::new(supervisor).await.unwrap()
}

/// A container of the manifest. `more` are further fields, in YAML's flow style.
fn container(name: &str, image: &str, more: &str) -> String {
    format!(
        "  - {{name: {name}, image: 'sidecar-examples:{image}', imagePullPolicy: Never, \
         resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{cpu: 100m, memory: 32Mi}}}}, \
         securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}{more}}}\n"
    )
}

/// What a reader is shown.
fn assert_says(failure: &Failure, signs: &[&str]) {
    let shown = failure.to_string();
    for sign in signs {
        assert!(shown.contains(sign), "it does not say {sign:?}:\n{shown}");
    }
}

#[tokio::test]
async fn a_program_that_panics_at_once() {
    let naive = container("poller", "input-sidecar-naive", "");
    let failure = failure("2", &naive, "", "container = 'poller', line = 'Hello'").await;
    assert_eq!(failure.container.as_deref(), Some("poller"));
    assert_says(
        &failure,
        &[
            "crashes again and again",
            "exit code 101",
            "| called `Result::unwrap()`",
            "poller panicked",
        ],
    );
}

#[tokio::test]
async fn a_program_that_never_gets_ready() {
    let probe = ", readinessProbe: {tcpSocket: {port: 7878}, periodSeconds: 1}";
    let app = container("app", "input-http-server", probe);
    let failure = failure("2", &app, "", "container = 'app', state = 'ready'").await;
    assert_says(
        &failure,
        &[
            "app does not get ready",
            "connection refused",
            "needs an exec probe",
        ],
    );
}

#[tokio::test]
async fn a_wrong_image_name() {
    let app = container("app", "input-sidecra", "");
    let failure = failure("2", &app, "", "container = 'app', state = 'started'").await;
    assert_says(
        &failure,
        &["ErrImageNeverPull", "`sidecar-examples:input-sidecar` is"],
    );
}

#[tokio::test]
async fn a_port_that_is_taken_twice() {
    let both =
        container("one", "input-http-server", "") + &container("other", "input-http-server", "");
    let failure = failure("2", &both, "", "container = 'other', line = 'receive'").await;
    assert_says(
        &failure,
        &["other", "exit code 1", "each port can be taken once"],
    );
}

#[tokio::test]
async fn a_read_only_place() {
    let app = container("app", "webserver", ", env: [{name: LOG_PATH, value: /log}]");
    let failure = failure("1", &app, "", "container = 'app', line = 'GET'").await;
    assert_says(
        &failure,
        &["Read-only file system", "mount an emptyDir at the folder"],
    );
}

#[tokio::test]
async fn a_program_that_its_image_does_not_have() {
    let app = container("app", "webserver", ", command: [/webservice]");
    let failure = failure("1", &app, "", "container = 'app', state = 'started'").await;
    assert_says(
        &failure,
        &["app cannot start", "run /webservice", "without `command`"],
    );
}

#[tokio::test]
async fn a_config_map_that_is_not_there() {
    let app = container(
        "app",
        "webserver",
        ", envFrom: [{configMapRef: {name: settings}}]",
    );
    let failure = failure("1", &app, "", "container = 'app', state = 'started'").await;
    assert_says(
        &failure,
        &[
            "CreateContainerConfigError",
            "configmap \"settings\" not found",
            "same manifest",
        ],
    );
}

#[tokio::test]
async fn a_setting_that_cannot_be_understood() {
    let app = container(
        "poller",
        "input-sidecar",
        ", env: [{name: INTERVAL, value: soon}]",
    );
    let failure = failure("2", &app, "", "container = 'poller', line = 'Hello'").await;
    assert_says(&failure, &["INTERVAL=\"soon\"", "15s or 50ms would do"]);
}

/// Five of these requests are more than a page of memory takes in a log.
static TOO_MUCH: LazyLock<String> = LazyLock::new(|| {
    let path = "long/".repeat(200);
    format!(
        "[[step]]\nrequest = {{ port = 8080, path = '/{path}', times = 20 }}\n\
         [[step]]\nwait = {{ container = 'app', line = 'never' }}"
    )
});

#[tokio::test]
async fn a_full_volume_in_memory() {
    let app = container(
        "app",
        "webserver",
        ", volumeMounts: [{name: logs, mountPath: /var/log/webserver}]",
    );
    // The web server goes on answering, so nothing but the time that the scenario gives tells.
    let steps = format!("timeout = '15s'\n{}", *TOO_MUCH);
    let volume = "{name: logs, emptyDir: {medium: Memory, sizeLimit: 4Ki}}";
    let outcome = run("1", &app, volume, &steps).await.unwrap();
    assert_says(
        &outcome.failure.unwrap(),
        &[
            "15s were over",
            "cannot write to /var/log/webserver/access.log: No space left on device",
            "raise its `sizeLimit`",
        ],
    );
}

#[tokio::test]
async fn a_full_volume_on_disk() {
    let app = container(
        "app",
        "webserver",
        ", volumeMounts: [{name: logs, mountPath: /var/log/webserver}]",
    );
    let volume = "{name: logs, emptyDir: {sizeLimit: 4Ki}}";
    let outcome = run("1", &app, volume, &TOO_MUCH).await.unwrap();
    assert_says(
        &outcome.failure.unwrap(),
        &[
            "Evicted",
            "Usage of EmptyDir volume \"logs\" exceeds the limit \"4Ki\"",
            "raise its `sizeLimit`",
        ],
    );
}

#[tokio::test]
async fn a_machine_that_cannot_enforce_what_a_scenario_waits_for() {
    if sandbox().await.enforces_memory_limits() {
        eprintln!("left out, since limits are enforced here");
        return;
    }
    let app = container("app", "webserver", "");
    let steps = "[[step]]\nwait = { container = 'app', state = 'ended', reason = 'OOMKilled' }";
    let Err(error) = run("1", &app, "", steps).await else {
        panic!("it ran");
    };
    let error = format!("{error:#}");
    for sign in ["killed for its use of memory", "`--engine kind` does"] {
        assert!(error.contains(sign), "{error}");
    }
}

#[tokio::test]
async fn a_job_that_fails_says_why() {
    for (fields, container, what, advice) in [
        (
            "backoffLimit: 0",
            container("app", "input-sidecar-naive", ""),
            "BackoffLimitExceeded: Job has reached the specified backoff limit",
            "a container of the Job failed once more often than `backoffLimit` allows",
        ),
        (
            "backoffLimit: 0\n  activeDeadlineSeconds: 1",
            container("app", "input-http-server", ""),
            "DeadlineExceeded: Job was active longer than specified deadline",
            "a sidecar belongs under `initContainers`",
        ),
    ] {
        let spec = spec(&container, "").replace('\n', "\n    ");
        let job = format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: broken}}\nspec:\n  {fields}\n  template:\n    {spec}  restartPolicy: Never\n"
        );
        let steps = "[[step]]\nwait = { pod = 'succeeded' }";
        let failure = run_manifest("2", &job, steps).await.unwrap().failure;
        let failure = failure.expect("the run fails");
        assert!(
            failure
                .what
                .starts_with(&format!("the pod has failed: {what}")),
            "{failure}"
        );
        assert!(failure.advice[0].contains(advice), "{failure}");
    }
}
