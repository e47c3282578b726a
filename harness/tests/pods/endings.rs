//! How pods end: in order, in time, and whatever their containers do about it.

use super::kit::{pod, run};

/// Every hook runs at once; SIGTERM comes to each when its own has returned, and to sidecars when
/// all containers have ended, the last started first.
#[tokio::test]
async fn hooks_then_containers_then_sidecars_in_reverse_order() {
    // `log` cannot end before the hook of the first sidecar has run, nor `app` before `log`.
    let mut pod = pod("volumes: [{name: data, emptyDir: {}}]
initContainers:
- name: first
  ACTOR
  restartPolicy: Always
  args: [say, up, then, wait]
  lifecycle: {preStop: {exec: {command: [/actor, write, /data/hook-of-first, '']}}}
  volumeMounts: [{name: data, mountPath: /data}]
- {name: second, ACTOR, restartPolicy: Always, args: [say, up, then, wait]}
containers:
- name: app
  ACTOR
  args: [say, up, then, wait]
  lifecycle: {preStop: {exec: {command: [/actor, await, /data/log-has-ended]}}}
  volumeMounts: [{name: data, mountPath: /data}]
- name: log
  ACTOR
  args: [say, up, then, wait, then, await, /data/hook-of-first, then, write, /data/log-has-ended, '']
  volumeMounts: [{name: data, mountPath: /data}]")
    .await;
    for container in ["first", "second", "app", "log"] {
        pod.until(&format!("{container} | up")).await;
    }
    let story = pod.stop().await;
    let [first, second, app, log] = ["first", "second", "app", "log"]
        .map(|name| format!("{name} ended with exit code 0 (Completed)"));
    story.in_order(&[
        "pod stopping",
        "log | SIGTERM",
        "app | SIGTERM",
        &app,
        "second | SIGTERM",
        &second,
        "first | SIGTERM",
        &first,
    ]);
    story.in_order(&[&log, "second | SIGTERM"]);
}

#[tokio::test]
async fn hooks_of_every_kind_run_before_sigterm() {
    let mut pod = pod("containers:
- {name: http, ACTOR, args: [serve, '0.0.0.0:80', then, wait], lifecycle: {preStop: {httpGet: {port: 80, path: /drain}}}}
- {name: sleep, ACTOR, args: [say, up, then, wait], lifecycle: {preStop: {sleep: {seconds: 1}}}}
- {name: broken, ACTOR, args: [say, up, then, wait], lifecycle: {preStop: {exec: {command: [/none]}}}}")
    .await;
    for line in ["http | serves 0.0.0.0:80", "sleep | up", "broken | up"] {
        pod.until(line).await;
    }
    let story = pod.stop().await;
    story.in_order(&[
        "pod stopping",
        "http | GET /drain HTTP/1.1",
        "http | SIGTERM",
    ]);
    story.in_order(&["pod stopping", "sleep | SIGTERM"]);
    story.in_order(&["broken preStop failed: …", "broken | SIGTERM"]);
}

/// The kernel delivers no signal to a PID 1 that has no handler for it. It is killed when its time
/// is over, and with it everything else in the container.
#[tokio::test]
async fn who_ignores_sigterm_is_killed() {
    let mut pod = pod("terminationGracePeriodSeconds: 1
containers: [{name: app, ACTOR, args: [background, say, child, and, stay, then, stay]}]")
    .await;
    pod.until("app | child").await;
    let story = pod.stop().await;
    assert!(
        story.has("app ended with exit code 137, killed by SIGKILL (Error)"),
        "{story}"
    );
}

/// Where processes are shared, a container's first process is no PID 1: SIGTERM ends it.
#[tokio::test]
async fn with_shared_processes_sigterm_needs_no_handler() {
    let mut pod = pod("shareProcessNamespace: true
containers: [{name: app, ACTOR, args: [say, up, then, stay]}]")
    .await;
    pod.until("app | up").await;
    let story = pod.stop().await;
    assert!(
        story.has("app ended with exit code 143, ended by SIGTERM (Error)"),
        "{story}"
    );
}

#[tokio::test]
async fn a_hook_that_does_not_return_delays_the_end_no_longer_than_the_grace() {
    let mut pod = pod("terminationGracePeriodSeconds: 1
containers: [{name: app, ACTOR, args: [say, up, then, wait], lifecycle: {preStop: {exec: {command: [/actor, stay]}}}}]")
    .await;
    pod.until("app | up").await;
    pod.stop()
        .await
        .in_order(&["app preStop failed: timed out after 1s", "app | SIGTERM"]);
}

#[tokio::test]
async fn a_flood_does_not_keep_a_pod_from_its_end() {
    for args in [
        "[flood]",
        "[background, flood, then, background, flood, then, stay]",
    ] {
        let mut pod = pod(&format!(
            "terminationGracePeriodSeconds: 0
containers: [{{name: app, ACTOR, args: {args}}}]"
        ))
        .await;
        pod.until_times("app | a line of a flood", 5_000).await;
        let story = pod.stop().await;
        assert!(story.has("app ended with exit code 137, killed by SIGKILL (Error)"));
    }
}

/// A container that has children as fast as it can is stopped by a limit, and then by its end.
#[tokio::test]
async fn a_fork_bomb_does_not_keep_a_pod_from_its_end() {
    for share in [false, true] {
        let mut pod = pod(&format!("terminationGracePeriodSeconds: 0
shareProcessNamespace: {share}
containers: [{{name: app, ACTOR, args: [say, up, then, multiply]}}, {{name: other, ACTOR, args: [wait]}}]"
        ))
        .await;
        pod.until("app | up").await;
        pod.until("other started").await;
        let story = pod.stop().await;
        let ended = |line: &String| line.starts_with("app ended");
        assert!(story.0.iter().any(ended), "{story}");
    }
}

#[tokio::test]
async fn a_pod_can_be_ended_while_it_begins() {
    let mut begun = pod("initContainers:
- {name: proxy, ACTOR, restartPolicy: Always, args: [say, up, then, wait]}
- {name: prepare, ACTOR, args: [say, up, then, wait, then, exit, '3']}
containers: [{name: app, ACTOR}]")
    .await;
    begun.until("proxy | up").await;
    begun.until("prepare | up").await;
    let story = begun.stop().await;
    story.in_order(&["pod stopping", "prepare ended with exit code 3 (Error)"]);
    story.in_order(&["pod stopping", "proxy ended with exit code 0 (Completed)"]);
    assert!(!story.has("app started"), "{story}");
    // Before anything has happened at all.
    let at_once = pod("terminationGracePeriodSeconds: 1
containers: [{name: app, ACTOR, args: [wait]}]")
    .await;
    assert!(at_once.stop().await.has("pod stopping"));
}

#[tokio::test]
async fn a_pod_that_has_done_its_work_is_over() {
    let story = run("restartPolicy: Never
containers: [{name: app, ACTOR, args: [say, done]}]")
    .await;
    story.in_order(&[
        "pod initialized",
        "app started",
        "app | done",
        "app ended with exit code 0 (Completed)",
        "pod succeeded",
    ]);
    assert_eq!(story.0.last().map(String::as_str), Some("pod succeeded"));
}
