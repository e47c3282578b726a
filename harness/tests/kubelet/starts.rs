//! What is started after what.

use crate::kit::{Port, cannot_start, ends, pod, stays};

#[tokio::test(start_paused = true)]
async fn init_containers_run_one_after_the_other_and_before_all_others() {
    let life = pod(
        "initContainers: [{name: one, image: app:1}, {name: two, image: app:1}]
containers: [{name: app, image: app:1}, {name: log, image: app:1}]",
    )
    .plays("one", [ends(3, 0).says(&["one did it"])])
    .plays("two", [ends(2, 0)])
    .after(10)
    .await;
    life.was(
        "0.0 one started
         0.0 one | one did it
         3.0 one ended with exit code 0 (Completed)
         3.0 two started
         5.0 two ended with exit code 0 (Completed)
         5.0 pod initialized
         5.0 app started
         5.0 app ready
         5.0 log started
         5.0 log ready
         5.0 pod ready",
    );
}

/// Each stands where the manifest has it among the init containers, and the next one waits until
/// its startup probe has succeeded.
#[tokio::test(start_paused = true)]
async fn a_native_sidecar_is_up_before_what_comes_after_it() {
    let life = pod(
        "initContainers:
- {name: before, image: app:1}
- {name: proxy, image: app:1, restartPolicy: Always, startupProbe: {tcpSocket: {port: 80}, periodSeconds: 2}}
- {name: after, image: app:1}
containers: [{name: app, image: app:1}]",
    )
    .plays("before", [ends(1, 0)])
    .plays("after", [ends(1, 0)])
    .port(80, [Port::Refuses, Port::Answers(200)])
    .after(10)
    .await;
    life.was(
        "0.0 before started
         1.0 before ended with exit code 0 (Completed)
         1.0 proxy started
         1.0 proxy startupProbe failed: dial tcp 10.244.0.10:80: connect: connection refused
         3.0 proxy ready
         3.0 after started
         4.0 after ended with exit code 0 (Completed)
         4.0 pod initialized
         4.0 app started
         4.0 app ready
         4.0 pod ready",
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_container_starts_when_the_one_before_has_tried() {
    let life = pod("containers:
- {name: absent, image: none:1}
- {name: broken, image: app:1}
- {name: slow, image: app:1, lifecycle: {postStart: {exec: {command: [warm-up]}}}}
- {name: app, image: app:1}")
    .plays("broken", [cannot_start()])
    .program("warm-up", [ends(4, 0)])
    .after(5)
    .await;
    life.was(
        "0.0 pod initialized
         0.0 absent waits (ErrImagePull): failed to pull image \"none:1\": there is no registry here
         0.0 broken ended with exit code 128 (StartError): cannot run /app: No such file or directory
         0.0 broken ended with exit code 128 (StartError): cannot run /app: No such file or directory
         0.0 broken waits (CrashLoopBackOff): back-off 10s restarting failed container=broken pod=pod_default
         0.0 slow started
         4.0 slow ready
         4.0 app started
         4.0 app ready",
    );
}

#[tokio::test(start_paused = true)]
async fn lines_are_told_whole_and_before_the_end() {
    let long = "x".repeat(40_000).leak();
    let life = pod("restartPolicy: Never\ncontainers: [{name: app, image: app:1}]")
        .plays("app", [ends(0, 2).says(&["", "two  words ", long])])
        .after(1)
        .await;
    let lines: Vec<_> = life
        .told_of("app")
        .into_iter()
        .filter(|line| line.contains('|'))
        .collect();
    assert_eq!(
        lines,
        [
            "0.0 app | ".to_owned(),
            "0.0 app | two  words ".into(),
            format!("0.0 app | {long}")
        ]
    );
    assert_eq!(
        life.told_of("app")[5],
        "0.0 app ended with exit code 2 (Error)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_ready_when_its_containers_and_sidecars_are() {
    let life = pod(
        "initContainers:
- {name: proxy, image: app:1, restartPolicy: Always, readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 2}}
containers: [{name: app, image: app:1}]",
    )
    .plays("app", [stays()])
    .port(80, [Port::Refuses, Port::Refuses, Port::Refuses, Port::Answers(200)])
    .after(20)
    .await;
    life.of(
        "proxy",
        "0.0 proxy started
         0.0 proxy readinessProbe failed: dial tcp 10.244.0.10:80: connect: connection refused
         2.0 proxy readinessProbe failed: dial tcp 10.244.0.10:80: connect: connection refused
         4.0 proxy readinessProbe failed: dial tcp 10.244.0.10:80: connect: connection refused
         4.0 proxy not ready
         6.0 proxy ready",
    );
    life.of("app", "0.0 app started\n0.0 app ready");
    life.of("pod", "0.0 pod initialized\n6.0 pod ready");
}
