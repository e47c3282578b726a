//! What the limits of a container do, where they are enforced.

use super::kit::pod;
use crate::machine;

/// Whether limits are enforced here, and a test that needs them can be run.
pub(crate) async fn enforced(test: &str) -> bool {
    let enforced = machine::engine().await.enforces_memory_limits();
    if !enforced {
        eprintln!("left out, since limits of memory are not enforced here: {test}");
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
