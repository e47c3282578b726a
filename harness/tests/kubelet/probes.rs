//! What probes ask, when, and what follows from the answers.

use crate::kit::{Port, ends, pod, stays};

const REFUSED: &str = "dial tcp 10.244.0.10:80: connect: connection refused";

#[tokio::test(start_paused = true)]
async fn without_further_words_a_probe_asks_every_ten_seconds_and_fails_thrice() {
    let life =
        pod("containers: [{name: app, image: app:1, readinessProbe: {tcpSocket: {port: 80}}}]")
            .port(
                80,
                [
                    Port::Answers(200),
                    Port::Refuses,
                    Port::Refuses,
                    Port::Answers(200),
                    Port::Refuses,
                    Port::Refuses,
                    Port::Refuses,
                    Port::Answers(200),
                ],
            )
            .after(75)
            .await;
    life.of(
        "app",
        &format!(
            "0.0 app started
             0.0 app ready
             10.0 app readinessProbe failed: {REFUSED}
             20.0 app readinessProbe failed: {REFUSED}
             40.0 app readinessProbe failed: {REFUSED}
             50.0 app readinessProbe failed: {REFUSED}
             60.0 app readinessProbe failed: {REFUSED}
             60.0 app not ready
             70.0 app ready"
        ),
    );
    life.of(
        "pod",
        "0.0 pod initialized\n0.0 pod ready\n60.0 pod not ready\n70.0 pod ready",
    );
}

#[tokio::test(start_paused = true)]
async fn readiness_can_ask_for_several_successes() {
    let life = pod(
        "containers: [{name: app, image: app:1, readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1, successThreshold: 3, failureThreshold: 1}}]",
    )
    .port(80, [Port::Answers(200), Port::Answers(200), Port::Refuses, Port::Answers(200)])
    .after(10)
    .await;
    life.of(
        "app",
        &format!(
            "0.0 app started
             2.0 app readinessProbe failed: {REFUSED}
             2.0 app not ready
             5.0 app ready"
        ),
    );
}

/// The pod's grace passes between SIGTERM and SIGKILL, unless the probe has its own.
#[tokio::test(start_paused = true)]
async fn who_fails_the_liveness_probe_is_ended_and_started_again() {
    for (own, grace) in [("", 5), (", terminationGracePeriodSeconds: 3", 3)] {
        let spec = format!(
            "terminationGracePeriodSeconds: 5
containers: [{{name: app, image: app:1, livenessProbe: {{tcpSocket: {{port: 80}}, periodSeconds: 2, failureThreshold: 2{own}}}}}]"
        );
        let life = pod(&spec)
            .plays("app", [stays().ignores_sigterm(), stays()])
            .port(
                80,
                [
                    Port::Answers(200),
                    Port::Refuses,
                    Port::Refuses,
                    Port::Answers(200),
                ],
            )
            .after(20)
            .await;
        let end = 4 + grace;
        life.of(
            "app",
            &format!(
                "0.0 app started
                 0.0 app ready
                 2.0 app livenessProbe failed: {REFUSED}
                 4.0 app livenessProbe failed: {REFUSED}
                 {end}.0 app ended with exit code 137, killed by SIGKILL (Error)
                 {end}.0 app not ready
                 {end}.0 app started again (1)
                 {end}.0 app ready"
            ),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_others_wait_for_the_startup_probe() {
    let life = pod("containers:
- name: app
  image: app:1
  startupProbe: {exec: {command: [up]}, periodSeconds: 3}
  livenessProbe: {exec: {command: [alive]}, periodSeconds: 5}
  readinessProbe: {exec: {command: [ready]}, periodSeconds: 5}")
    .program("up", [ends(0, 1), ends(0, 1), ends(0, 0)])
    .after(12)
    .await;
    life.asked(
        "0.0 app runs up
         3.0 app runs up
         6.0 app runs up
         6.0 app runs alive
         6.0 app runs ready
         11.0 app runs alive
         11.0 app runs ready",
    );
    life.of(
        "app",
        "0.0 app started
         0.0 app startupProbe failed: exit code 1
         3.0 app startupProbe failed: exit code 1
         6.0 app ready",
    );
}

#[tokio::test(start_paused = true)]
async fn who_does_not_start_up_in_time_is_started_again() {
    let life = pod(
        "containers: [{name: app, image: app:1, startupProbe: {exec: {command: [up]}, periodSeconds: 2, failureThreshold: 3}}]",
    )
    .program("up", [ends(0, 1)])
    .after(5)
    .await;
    life.was(
        "0.0 pod initialized
         0.0 app started
         0.0 app startupProbe failed: exit code 1
         2.0 app startupProbe failed: exit code 1
         4.0 app startupProbe failed: exit code 1
         4.0 app ended with exit code 0 (Completed)
         4.0 app started again (1)
         4.0 app startupProbe failed: exit code 1",
    );
}

/// Every probe's delay counts from the start of the container.
#[tokio::test(start_paused = true)]
async fn a_probe_can_begin_later() {
    let life = pod("containers:
- name: app
  image: app:1
  startupProbe: {exec: {command: [up]}, initialDelaySeconds: 4}
  livenessProbe: {exec: {command: [alive]}, initialDelaySeconds: 3}
  readinessProbe: {exec: {command: [ready]}, initialDelaySeconds: 9}")
    .after(12)
    .await;
    life.asked(
        "4.0 app runs up
         4.0 app runs alive
         9.0 app runs ready",
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_takes_longer_than_a_second_has_failed() {
    let life = pod("containers:
- {name: one, image: app:1, readinessProbe: {exec: {command: [slow]}}}
- {name: two, image: app:1, readinessProbe: {httpGet: {port: 80}, timeoutSeconds: 3}}
- {name: three, image: app:1, readinessProbe: {exec: {command: [slow]}, timeoutSeconds: 3}}")
    .program("slow", [ends(2, 0)])
    .port(80, [Port::Hangs])
    .after(9)
    .await;
    life.of(
        "one",
        "0.0 one started\n1.0 one readinessProbe failed: timed out after 1s",
    );
    life.of(
        "two",
        "0.0 two started\n3.0 two readinessProbe failed: timed out after 3s",
    );
    life.of("three", "0.0 three started\n2.0 three ready");
    // What hangs is not left behind.
    life.asked("0.0 one runs slow\n0.0 three runs slow\n1.0 SIGKILL to one's program");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_fails_is_quoted() {
    let life = pod(
        "containers: [{name: app, image: app:1, readinessProbe: {exec: {command: [check, it]}}}]",
    )
    .program("check it", [ends(0, 3).says(&["no database"])])
    .after(1)
    .await;
    life.of(
        "app",
        "0.0 app started\n0.0 app readinessProbe failed: exit code 3: no database",
    );
}

#[tokio::test(start_paused = true)]
async fn http_answers_from_200_to_399_are_good() {
    for (status, good) in [
        (199, false),
        (200, true),
        (204, true),
        (301, true),
        (399, true),
        (400, false),
        (503, false),
    ] {
        let life = pod("containers: [{name: app, image: app:1, readinessProbe: {httpGet: {port: 80, path: /up?full}}}]")
            .port(80, [Port::Answers(status), Port::Answers(200)])
            .after(1)
            .await;
        let told = life.told_of("app");
        match (status, good) {
            // It is no final answer.
            (199, _) => assert!(told[1].contains("failed"), "{told:?}"),
            (_, true) => assert_eq!(told[1], "0.0 app ready", "{status}"),
            (_, false) => {
                assert_eq!(
                    told[1],
                    format!(
                        "0.0 app readinessProbe failed: HTTP probe failed with statuscode: {status}"
                    )
                );
            }
        }
        if status == 200 {
            life.asked("0.0 port 80: GET /up?full HTTP/1.1, user-agent: kube-probe/1.37, 200");
        }
        if status == 301 {
            life.asked(
                "0.0 port 80: GET /up?full HTTP/1.1, user-agent: kube-probe/1.37, 301
                 0.0 port 80: GET /next HTTP/1.1, user-agent: kube-probe/1.37, 200",
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn endless_redirects_are_a_failure() {
    let life =
        pod("containers: [{name: app, image: app:1, readinessProbe: {httpGet: {port: 80}}}]")
            .port(80, [Port::Answers(302)])
            .after(1)
            .await;
    life.of("app", "0.0 app started\n0.0 app readinessProbe failed: Get \"http://10.244.0.10:80/next\": stopped after 10 redirects");
}

#[tokio::test(start_paused = true)]
async fn a_port_can_be_named() {
    let life = pod("containers:
- name: app
  image: app:1
  ports: [{name: web, containerPort: 80}]
  readinessProbe: {httpGet: {port: web, httpHeaders: [{name: User-Agent, value: me}]}}
  livenessProbe: {tcpSocket: {port: wbe}}")
    .port(80, [Port::Answers(200)])
    .after(1)
    .await;
    life.of(
        "app",
        "0.0 app started
         0.0 app livenessProbe failed: couldn't find port: wbe in the container
         0.0 app ready",
    );
    life.asked("0.0 port 80: GET / HTTP/1.1, user-agent: me, 200");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_starts_again_is_probed_anew() {
    let life = pod(
        "containers: [{name: app, image: app:1, readinessProbe: {exec: {command: [ready]}, periodSeconds: 4, failureThreshold: 1}}]",
    )
    .plays("app", [ends(6, 0), stays()])
    .program("ready", [ends(0, 0), ends(0, 0), ends(0, 1), ends(0, 0)])
    .after(11)
    .await;
    life.of(
        "app",
        "0.0 app started
         0.0 app ready
         6.0 app ended with exit code 0 (Completed)
         6.0 app not ready
         6.0 app started again (1)
         6.0 app readinessProbe failed: exit code 1
         6.0 app not ready
         10.0 app ready",
    );
}
