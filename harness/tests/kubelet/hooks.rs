//! What `postStart` and `preStop` delay, and what follows when they fail.

use crate::kit::{Port, ends, pod, stays};

#[tokio::test(start_paused = true)]
async fn a_container_counts_as_started_when_its_hook_has_returned() {
    let life = pod(
        "initContainers:
- {name: proxy, image: app:1, restartPolicy: Always, lifecycle: {postStart: {exec: {command: [warm-up]}}}}
containers: [{name: app, image: app:1, lifecycle: {postStart: {sleep: {seconds: 2}}}}]",
    )
    .program("warm-up", [ends(3, 0)])
    .after(10)
    .await;
    life.was(
        "0.0 proxy started
         3.0 proxy ready
         3.0 pod initialized
         3.0 app started
         5.0 app ready
         5.0 pod ready",
    );
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_ends_the_container() {
    let life = pod("containers: [{name: app, image: app:1, lifecycle: {postStart: {exec: {command: [warm-up]}}, preStop: {exec: {command: [drain]}}}}]")
        .program("warm-up", [ends(1, 9).says(&["no oven"]), ends(1, 0)])
        .after(10)
        .await;
    life.of(
        "app",
        "0.0 app started
         1.0 app postStart failed: exit code 9: no oven
         1.0 app ended with exit code 0 (Completed)
         1.0 app started again (1)
         2.0 app ready",
    );
    life.asked(
        "0.0 app runs warm-up\n1.0 app runs drain\n1.0 SIGTERM to app\n1.0 app runs warm-up",
    );
}

#[tokio::test(start_paused = true)]
async fn a_hook_of_http_is_done_when_there_was_an_answer() {
    // Whatever the answer is: the kubelet does not look at it.
    let mut life = pod(
        "containers: [{name: app, image: app:1, lifecycle: {postStart: {httpGet: {port: 80, path: /begin}}, preStop: {httpGet: {port: 80, path: end}}}}]",
    )
    .port(80, [Port::Answers(500)])
    .after(1)
    .await;
    life.stops().await;
    life.of("app", "0.0 app started\n0.0 app ready\n1.0 app ended with exit code 0 (Completed)\n1.0 app not ready");
    life.asked(
        "0.0 port 80: GET /begin HTTP/1.1, user-agent: kube-lifecycle/1.37, 500
         1.0 port 80: GET /end HTTP/1.1, user-agent: kube-lifecycle/1.37, 500
         1.0 SIGTERM to app",
    );
}

#[tokio::test(start_paused = true)]
async fn a_hook_of_http_needs_someone_who_listens() {
    let life = pod(
        "containers: [{name: app, image: app:1, lifecycle: {postStart: {httpGet: {port: 80}}}}]",
    )
    .port(80, [Port::Refuses, Port::Answers(200)])
    .after(1)
    .await;
    life.of(
        "app",
        "0.0 app started
         0.0 app postStart failed: Get \"http://10.244.0.10:80/\": dial tcp 10.244.0.10:80: connect: connection refused
         0.0 app ended with exit code 0 (Completed)
         0.0 app started again (1)
         0.0 app ready",
    );
}

#[tokio::test(start_paused = true)]
async fn sigterm_comes_after_the_hook_and_within_the_grace() {
    let spec = |hook: &str| {
        format!(
            "terminationGracePeriodSeconds: 10\ncontainers: [{{name: app, image: app:1, lifecycle: {{preStop: {hook}}}}}]"
        )
    };
    for (hook, expected) in [
        (
            "{exec: {command: [drain]}}",
            "1.0 app runs drain\n5.0 SIGTERM to app\n11.0 SIGKILL to app",
        ),
        (
            "{sleep: {seconds: 7}}",
            "8.0 SIGTERM to app\n11.0 SIGKILL to app",
        ),
        // The hook itself is not worth more than the pod's whole grace, and 2 seconds are left.
        (
            "{exec: {command: [endless]}}",
            "1.0 app runs endless\n11.0 SIGKILL to app's program\n11.0 SIGTERM to app\n13.0 SIGKILL to app",
        ),
        (
            "{sleep: {seconds: 9}}",
            "10.0 SIGTERM to app\n12.0 SIGKILL to app",
        ),
        (
            "{httpGet: {port: 80}}",
            "11.0 SIGTERM to app\n13.0 SIGKILL to app",
        ),
    ] {
        let mut life = pod(&spec(hook))
            .plays("app", [stays().ignores_sigterm()])
            .program("drain", [ends(4, 1)])
            .program("endless", [stays()])
            .port(80, [Port::Hangs])
            .after(1)
            .await;
        life.stops().await;
        life.asked(expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_does_not_keep_a_container_from_its_end() {
    let mut life = pod(
        "containers: [{name: app, image: app:1, lifecycle: {preStop: {exec: {command: [drain]}}}}]",
    )
    .program("drain", [ends(1, 4)])
    .after(1)
    .await;
    life.stops().await;
    life.of(
        "app",
        "0.0 app started
         0.0 app ready
         2.0 app preStop failed: exit code 4
         2.0 app ended with exit code 0 (Completed)
         2.0 app not ready",
    );
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_during_its_hook_is_not_waited_for() {
    let mut life = pod(
        "containers: [{name: app, image: app:1, lifecycle: {preStop: {sleep: {seconds: 20}}}}]",
    )
    .plays("app", [ends(4, 0)])
    .after(1)
    .await;
    life.stops().await;
    life.of("app", "0.0 app started\n0.0 app ready\n4.0 app ended with exit code 0 (Completed)\n4.0 app not ready");
    life.asked("");
}

#[tokio::test(start_paused = true)]
async fn without_grace_there_is_no_hook() {
    let mut life = pod(
        "terminationGracePeriodSeconds: 0\ncontainers: [{name: app, image: app:1, lifecycle: {preStop: {exec: {command: [drain]}}}}]",
    )
    .plays("app", [stays().ignores_sigterm()])
    .after(1)
    .await;
    life.stops().await;
    life.asked("1.0 SIGTERM to app\n3.0 SIGKILL to app");
}

#[tokio::test(start_paused = true)]
async fn another_image_and_a_failed_liveness_probe_run_the_hook_too() {
    let mut life = pod("containers:
- name: app
  image: app:1
  lifecycle: {preStop: {exec: {command: [drain]}}}
  livenessProbe: {exec: {command: [alive]}, initialDelaySeconds: 5, failureThreshold: 1}")
    .program("alive", [ends(0, 1), ends(0, 0)])
    .after(10)
    .await;
    life.kubelet.replace_image("app", "other:1").unwrap();
    life.goes_on_for(1).await;
    life.asked(
        "5.0 app runs alive
         5.0 app runs drain
         5.0 SIGTERM to app
         10.0 app runs alive
         10.0 app runs drain
         10.0 SIGTERM to app",
    );
}
