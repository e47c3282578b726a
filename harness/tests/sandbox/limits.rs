//! What the limits of a container do beyond what every engine's do, where a cgroup has been
//! delegated.

use harness::engine::Engine;

use crate::machine::sandbox;
use crate::pods::kit::pod;
use crate::pods::limits::enforced;

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
