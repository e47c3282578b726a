//! What the limits of a container do, where a cgroup has been delegated.

use harness::engine::Engine;

use crate::machine::sandbox;
use crate::pods::kit::pod;

/// Whether limits are enforced here, and a test that needs them can be run.
async fn enforced(test: &str) -> bool {
    let enforced = sandbox().await.enforces_memory_limits();
    if !enforced {
        eprintln!("left out, since no cgroup is delegated here: {test}");
    }
    enforced
}

#[tokio::test]
async fn who_uses_too_much_memory_is_killed_alone() {
    if !enforced("who uses too much memory is killed alone").await {
        return;
    }
    let mut pod = pod("restartPolicy: OnFailure
containers:
- name: greedy
  ACTOR
  args: [use-memory, '8', then, use-memory, '64', then, wait]
  resources: {limits: {memory: 32Mi, cpu: 500m}}
- name: modest
  ACTOR
  args: [use-memory, '64', then, wait]
  resources: {limits: {memory: 128Mi}}
- {name: unlimited, ACTOR, args: [use-memory, '64', then, wait]}")
    .await;
    let killed = "greedy ended with exit code 137, killed by SIGKILL (OOMKilled)";
    pod.until("modest | uses 64 MiB").await;
    pod.until("unlimited | uses 64 MiB").await;
    pod.until_times(killed, 2).await;
    let story = pod.stop().await;
    story.in_order(&["greedy | uses 8 MiB", killed, "greedy started again (1)"]);
    for container in ["modest", "unlimited"] {
        story.in_order(&[&format!("{container} ended with exit code 0 (Completed)")]);
    }
    assert!(
        !story.lines("greedy").contains(&"uses 64 MiB".to_owned()),
        "it got more than its limit"
    );
}

/// A program that `exec` runs in a container counts, and all of the container ends with it.
#[tokio::test]
async fn what_is_run_in_a_container_has_its_limit() {
    if !enforced("what is run in a container has its limit").await {
        return;
    }
    let mut pod = pod("restartPolicy: Never
containers:
- name: app
  ACTOR
  args: [say, up, then, wait]
  resources: {limits: {memory: 32Mi}}")
    .await;
    pod.until("app | up").await;
    let (_, said) = pod.exec("app", &["/actor", "use-memory", "64"]).await;
    assert_ne!(said, "uses 64 MiB");
    pod.until("app ended with exit code 137, killed by SIGKILL (OOMKilled)")
        .await;
    pod.stop().await;
}

/// A sweep takes what nobody holds any more, so it says what a pod has left.
#[tokio::test]
async fn a_pod_leaves_no_cgroup() {
    if !enforced("a pod leaves no cgroup").await {
        return;
    }
    let own = format!("sidecar-workbook-{}-", std::process::id());
    let mut pod = pod("containers: [{name: app, ACTOR, args: [say, up, then, wait]}]").await;
    pod.until("app | up").await;
    let in_use = sandbox().await.sweep().await.unwrap();
    pod.stop().await;
    let left = sandbox().await.sweep().await.unwrap();
    for swept in [in_use, left] {
        assert!(!swept.iter().any(|line| line.contains(&own)), "{swept:?}");
    }
}
