//! What runs when: init containers, sidecars, containers, their hooks, their restarts.

use harness::engine::Target;

use super::kit::{pod, run};

#[tokio::test]
async fn init_containers_then_sidecars_then_containers() {
    let story = run("restartPolicy: Never
initContainers:
- {name: one, ACTOR, args: [say, first]}
- {name: proxy, ACTOR, restartPolicy: Always, args: [serve, '0.0.0.0:8080', then, wait], startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 60}}
- {name: two, ACTOR, args: [get, '127.0.0.1:8080', /two]}
containers:
- {name: app, ACTOR, args: [get, 'localhost:8080', /app]}")
    .await;
    story.in_order(&[
        "one started",
        "one | first",
        "one ended with exit code 0 (Completed)",
        "proxy started",
        "two started",
        "two | 127.0.0.1:8080: HTTP/1.1 200 OK",
        "two ended with exit code 0 (Completed)",
        "pod initialized",
        "app started",
        "app | localhost:8080: HTTP/1.1 200 OK",
        "app ended with exit code 0 (Completed)",
        "proxy | SIGTERM",
        "proxy ended with exit code 0 (Completed)",
        "pod succeeded",
    ]);
    assert_eq!(
        story.lines("proxy"),
        [
            "serves 0.0.0.0:8080",
            "GET /two HTTP/1.1",
            "GET /app HTTP/1.1",
            "SIGTERM"
        ]
    );
}

#[tokio::test]
async fn restart_policies() {
    let changes = async |policy: &str, codes: &str| {
        let story = run(&format!("restartPolicy: {policy}
volumes: [{{name: data, emptyDir: {{}}}}]
containers: [{{name: app, ACTOR, args: [turn, /data/turns, {codes}], volumeMounts: [{{name: data, mountPath: /data}}]}}]"
        ))
        .await;
        let mut changes = story.changes("app");
        changes.retain(|change| !change.ends_with("ready"));
        changes
    };
    let (good, bad) = (
        "ended with exit code 0 (Completed)",
        "ended with exit code 3 (Error)",
    );
    assert_eq!(changes("Never", "'3'").await, ["started", bad]);
    assert_eq!(changes("OnFailure", "'0'").await, ["started", good]);
    assert_eq!(
        changes("OnFailure", "'3', '0'").await,
        ["started", bad, "started again (1)", good]
    );
    let mut pod = pod("containers: [{name: app, ACTOR, args: [exit, '0']}]").await;
    pod.until("app waits (CrashLoopBackOff): back-off 10s restarting failed container=app pod=pod_default").await;
    pod.stop().await.in_order(&[
        "app started",
        "app started again (1)",
        "app ended with exit code 0 (Completed)",
    ]);
}

/// Two containers that run until they are told to end.
const TWO: &str = "containers: [{name: app, ACTOR, args: [say, up, then, wait]}, {name: other, ACTOR, args: [say, up, then, wait]}]";
/// All that happens to one that nothing happens to.
const UNDISTURBED: [&str; 4] = [
    "started",
    "ready",
    "ended with exit code 0 (Completed)",
    "not ready",
];

#[tokio::test]
async fn who_is_killed_is_started_again_alone() {
    let mut pod = pod(TWO).await;
    pod.until("app | up").await;
    pod.until("other | up").await;
    pod.kill("app").await;
    pod.until_times("app | up", 2).await;
    let story = pod.stop().await;
    story.in_order(&[
        "app ended with exit code 137, killed by SIGKILL (Error)",
        "app started again (1)",
        "app ended with exit code 0 (Completed)",
    ]);
    assert_eq!(story.changes("other"), UNDISTURBED);
}

#[tokio::test]
async fn another_image_restarts_its_container_alone() {
    let mut pod = pod(TWO).await;
    pod.until("app | up").await;
    pod.until("other | up").await;
    let target = Target {
        pod: "pod",
        container: "app",
    };
    let replace = async |image: &str| pod.pods.replace_image(target, image).await.unwrap();
    replace("sidecar-examples:newer").await;
    pod.until("app waits (ErrImageNeverPull)").await;
    let replace = async |image: &str| pod.pods.replace_image(target, image).await.unwrap();
    replace("docker.io/library/sidecar-examples:actor").await;
    pod.until_times("app | up", 2).await;
    let story = pod.stop().await;
    story.in_order(&[
        "app | up",
        "app | SIGTERM",
        "app ended with exit code 0 (Completed)",
        "app started again (1)",
    ]);
    assert_eq!(story.changes("other"), UNDISTURBED);
}

#[tokio::test]
async fn hooks_after_the_start() {
    let mut pod = pod("volumes: [{name: data, emptyDir: {}}]
initContainers:
- {name: server, ACTOR, restartPolicy: Always, args: [serve, '0.0.0.0:80', then, wait], startupProbe: {tcpSocket: {port: 80}, periodSeconds: 1, failureThreshold: 60}}
containers:
- name: exec
  ACTOR
  args: [await, /data/warm, then, say, warm, then, wait]
  lifecycle: {postStart: {exec: {command: [/actor, write, /data/warm, '']}}}
  volumeMounts: [{name: data, mountPath: /data}]
- {name: http, ACTOR, args: [say, up, then, wait], lifecycle: {postStart: {httpGet: {port: 80, path: /begin}}}}
- {name: sleep, ACTOR, args: [say, up, then, wait], lifecycle: {postStart: {sleep: {seconds: 1}}}}")
    .await;
    for line in ["exec | warm", "http | up", "sleep | up", "pod ready"] {
        pod.until(line).await;
    }
    let story = pod.stop().await;
    story.in_order(&["http started", "server | GET /begin HTTP/1.1"]);
    story.in_order(&[
        "exec started",
        "exec ready",
        "http started",
        "http ready",
        "sleep started",
        "sleep ready",
    ]);
}

#[tokio::test]
async fn a_hook_that_fails_has_the_container_started_again() {
    let mut pod = pod("terminationGracePeriodSeconds: 1
containers: [{name: app, ACTOR, args: [wait], lifecycle: {postStart: {exec: {command: [/actor, say, no oven, then, exit, '9']}}}}]")
    .await;
    pod.until("app started again (1)").await;
    let story = pod.stop().await;
    story.in_order(&[
        "app started",
        "app postStart failed: exit code 9: no oven",
        "app started again (1)",
    ]);
    assert!(!story.has("app ready"), "{story}");
}

#[tokio::test]
async fn a_container_waits_for_a_config_map_and_starts_when_it_comes() {
    let mut pod = pod("volumes: [{name: conf, configMap: {name: files}}]
containers:
- name: app
  ACTOR
  args: [env, COLOUR, then, read, /conf/text, then, wait]
  env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]
  volumeMounts: [{name: conf, mountPath: /conf}]")
    .await;
    pod.until("app waits (FailedMount)").await;
    pod.update("files", &[("text", "here")]).await;
    pod.until("app waits (CreateContainerConfigError)").await;
    pod.update("settings", &[("colour", "green")]).await;
    pod.until("app | /conf/text").await;
    pod.stop().await.in_order(&[
        "app waits (FailedMount): MountVolume.SetUp failed for volume \"conf\" : configmap \"files\" not found",
        "app waits (CreateContainerConfigError): configmap \"settings\" not found",
        "app started",
        "app | COLOUR=green",
        "app | /conf/text: here",
    ]);
}
