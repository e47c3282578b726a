//! Jobs: pods that are to end, and what becomes of those that do not.

use super::kit::{pod, run};

#[tokio::test]
async fn a_job_is_complete_when_its_pod_has_done_its_work() {
    let story = run("JOB backoffLimit: 0
restartPolicy: Never
initContainers: [{name: sidecar, ACTOR, restartPolicy: Always, args: [say, up, then, wait]}]
containers: [{name: app, ACTOR, args: [say, done]}]")
    .await;
    story.in_order(&[
        "app ended with exit code 0 (Completed)",
        "sidecar | SIGTERM",
        "sidecar ended with exit code 0 (Completed)",
        "pod succeeded",
    ]);
}

#[tokio::test]
async fn a_job_whose_pod_may_not_fail_fails_with_it() {
    for containers in [
        "containers: [{name: app, ACTOR, args: [exit, '3']}]",
        "initContainers: [{name: prepare, ACTOR, args: [exit, '3']}]\ncontainers: [{name: app, ACTOR}]",
    ] {
        let story = run(&format!(
            "JOB backoffLimit: 0\nrestartPolicy: Never\n{containers}"
        ))
        .await;
        let last = story.0.last().map(String::as_str);
        let expected =
            "pod failed: BackoffLimitExceeded Job has reached the specified backoff limit";
        assert_eq!(last, Some(expected), "{story}");
    }
}

/// Each restart counts, whichever container it is of, and the pod is told to end after the last.
#[tokio::test]
async fn a_container_is_started_again_until_the_limit_is_reached() {
    let story = run("JOB backoffLimit: 2
restartPolicy: OnFailure
terminationGracePeriodSeconds: 1
volumes: [{name: data, emptyDir: {}}]
containers:
- {name: app, ACTOR, args: [turn, /data/turns, '3', '0'], volumeMounts: [{name: data, mountPath: /data}]}
- {name: other, ACTOR, args: [turn, /data/other, '4', then, wait], volumeMounts: [{name: data, mountPath: /data}]}")
    .await;
    story.in_order(&[
        "app ended with exit code 3 (Error)",
        "app started again (1)",
    ]);
    story.in_order(&[
        "other ended with exit code 4 (Error)",
        "other started again (1)",
    ]);
    story.in_order(&[
        "pod stopping",
        "pod failed: BackoffLimitExceeded Job has reached the specified backoff limit",
    ]);
    let once = run("JOB backoffLimit: 0
restartPolicy: OnFailure
terminationGracePeriodSeconds: 1
volumes: [{name: data, emptyDir: {}}]
containers: [{name: app, ACTOR, args: [turn, /data/turns, '3', then, wait], volumeMounts: [{name: data, mountPath: /data}]}]")
    .await;
    once.in_order(&[
        "app started again (1)",
        "pod stopping",
        "pod failed: BackoffLimitExceeded Job has reached the specified backoff limit",
    ]);
    let enough = run("JOB backoffLimit: 2
restartPolicy: OnFailure
volumes: [{name: data, emptyDir: {}}]
containers: [{name: app, ACTOR, args: [turn, /data/turns, '3', '0'], volumeMounts: [{name: data, mountPath: /data}]}]")
    .await;
    assert!(enough.has("pod succeeded"), "{enough}");
}

#[tokio::test]
async fn a_job_that_does_not_end_in_time_is_ended() {
    let story = run("JOB backoffLimit: 0; activeDeadlineSeconds: 10
restartPolicy: Never
containers: [{name: app, ACTOR, args: [say, done]}, {name: sidecar, ACTOR, args: [say, up, then, wait]}]")
    .await;
    story.in_order(&[
        "app ended with exit code 0 (Completed)",
        "pod stopping",
        "sidecar | SIGTERM",
        "pod failed: DeadlineExceeded Job was active longer than specified deadline",
    ]);
}

#[tokio::test]
async fn a_job_can_be_ended() {
    let mut job = pod("JOB backoffLimit: 0
restartPolicy: Never
containers: [{name: app, ACTOR, args: [say, up, then, wait]}]")
    .await;
    job.until("app | up").await;
    let story = job.stop().await;
    story.in_order(&[
        "pod stopping",
        "app | SIGTERM",
        "app ended with exit code 0 (Completed)",
    ]);
}

/// As in a cluster, the name of the pod is not that of the Job, and its label says of which it is.
#[tokio::test]
async fn the_pod_of_a_job_has_a_name_of_its_own() {
    let story = run("JOB backoffLimit: 0
restartPolicy: Never
containers:
- name: app
  ACTOR
  args: [env, HOSTNAME, OWN, JOB]
  env:
  - {name: OWN, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: JOB, valueFrom: {fieldRef: {fieldPath: 'metadata.labels[''job-name'']'}}}")
    .await;
    let lines = story.lines("app");
    let [host, own, job] = lines.as_slice() else {
        panic!("{story}");
    };
    assert_eq!(job, "JOB=pod");
    let name = host.strip_prefix("HOSTNAME=").unwrap();
    assert!(name.starts_with("pod-") && name.len() == 9, "{host}");
    assert_eq!(own.strip_prefix("OWN="), Some(name));
}
