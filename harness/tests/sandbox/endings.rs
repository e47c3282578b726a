//! The end of a pod: hooks, SIGTERM in order, SIGKILL.

use crate::kit::pod;

/// Every `preStop` hook runs at once; a native sidecar is told to end when the last container has.
#[tokio::test]
async fn sidecars_end_after_the_containers_the_last_started_first() {
    let mut pod = pod(
        "terminationGracePeriodSeconds: 20
volumes: [{name: data, emptyDir: {}}]
initContainers:
- {name: outer, ACTOR, restartPolicy: Always, args: [say, up, then, wait], lifecycle: {preStop: {exec: {command: [/actor, write, /data/outer, told]}}}, volumeMounts: [{name: data, mountPath: /data}]}
- {name: inner, ACTOR, restartPolicy: Always, args: [say, up, then, wait]}
containers:
- {name: app, ACTOR, args: [say, up, then, wait], lifecycle: {preStop: {exec: {command: [/actor, await, /data/outer]}}}, volumeMounts: [{name: data, mountPath: /data}]}",
    )
    .await;
    for name in ["outer", "inner", "app"] {
        pod.until(&format!("{name} | up")).await;
    }
    // The app's hook returns only when the outer sidecar's has run.
    pod.stop().await.in_order(&[
        "pod stopping",
        "app | SIGTERM",
        "app ended with exit code 0 (Completed)",
        "inner | SIGTERM",
        "inner ended with exit code 0 (Completed)",
        "outer | SIGTERM",
        "outer ended with exit code 0 (Completed)",
    ]);
}

/// The kernel delivers no signal to a PID 1 that has no handler for it.
#[tokio::test]
async fn a_program_without_a_handler_is_killed_when_its_time_is_over() {
    let mut pod = pod("terminationGracePeriodSeconds: 0\ncontainers: [{name: app, ACTOR, args: [say, up, then, stay]}]").await;
    pod.until("app | up").await;
    let story = pod.stop().await;
    assert!(
        story.has("app ended with exit code 137, killed by SIGKILL (Error)"),
        "{story}"
    );
}

/// A container that floods its log, or forks without end, cannot keep a pod from ending.
#[tokio::test]
async fn nothing_that_a_container_does_keeps_its_pod_from_ending() {
    for evil in ["flood", "multiply"] {
        let mut pod =
            pod(&format!("terminationGracePeriodSeconds: 0\ncontainers: [{{name: app, ACTOR, args: [say, up, then, {evil}]}}]")).await;
        pod.until("app | up").await;
        let story = pod.stop().await;
        assert!(
            story
                .0
                .iter()
                .any(|line| line.starts_with("app ended with exit code")),
            "{evil}"
        );
    }
}
