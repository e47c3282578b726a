//! The one network of a pod: what reaches what.

use super::kit::{lines_of, pod, run};

/// A probe asks the pod's address. Port forwarding, and the containers of the pod, ask `localhost`.
#[tokio::test]
async fn an_app_on_localhost_is_reached_by_its_sidecar_and_never_by_a_probe() {
    let mut pod = pod(
        "containers:
- name: app
  ACTOR
  args: [serve, '127.0.0.1:7878', then, wait]
  readinessProbe: {httpGet: {port: 7878, path: /probe}, periodSeconds: 1, failureThreshold: 2}
- {name: sidecar, ACTOR, args: [await, /up/app, then, get, 'localhost:7878', /sidecar, then, wait], volumeMounts: [{name: up, mountPath: /up}]}
- {name: starter, ACTOR, args: [await, /up/app, then, wait], volumeMounts: [{name: up, mountPath: /up}]}
volumes: [{name: up, emptyDir: {}}]",
    )
    .await;
    pod.until("app | serves 127.0.0.1:7878").await;
    pod.until("starter started").await;
    pod.exec("starter", &["/actor", "write", "/up/app", "it is"])
        .await;
    pod.until("sidecar | localhost:7878").await;
    assert!(
        pod.pods.connect("pod", 7878).await.is_ok(),
        "port forwarding reaches it"
    );
    pod.until("app not ready").await;
    let story = pod.stop().await;
    assert_eq!(story.lines("sidecar")[0], "localhost:7878: HTTP/1.1 200 OK");
    assert!(!story.has("app | GET /probe HTTP/1.1"), "{story}");
    assert!(
        story.has("app readinessProbe failed: Get \"http://POD_IP:7878/probe\": dial tcp POD_IP:7878: connect: connection refused"),
        "{story}"
    );
}

#[tokio::test]
async fn probes_of_every_kind_reach_an_app_that_listens_everywhere() {
    let mut pod = pod(
        "containers:
- name: http
  ACTOR
  args: [serve, '0.0.0.0:8080', then, wait]
  startupProbe: {httpGet: {port: 8080, path: /startup}, periodSeconds: 1, failureThreshold: 60}
  readinessProbe: {httpGet: {port: 8080, path: /readiness}}
  livenessProbe: {httpGet: {port: 8080, path: /liveness}}
- {name: tcp, ACTOR, args: [serve, '0.0.0.0:8081', then, wait], readinessProbe: {tcpSocket: {port: 8081}}}
- {name: exec, ACTOR, args: [serve, '127.0.0.1:8082', then, wait], readinessProbe: {exec: {command: [/actor, get, '127.0.0.1:8082', /exec]}}}",
    )
    .await;
    pod.until("pod ready").await;
    pod.until("http | GET /liveness HTTP/1.1").await;
    let story = pod.stop().await;
    assert_eq!(story.lines("http")[1], "GET /startup HTTP/1.1");
    assert!(story.has("http | GET /readiness HTTP/1.1"));
    assert!(story.has("exec | GET /exec HTTP/1.1"));
}

#[tokio::test]
async fn an_answer_that_is_an_error_has_the_container_started_again() {
    let mut pod = pod("containers:
- name: app
  ACTOR
  args: [serve, '0.0.0.0:8080', 500 Broken, then, wait]
  startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 60}
  livenessProbe: {httpGet: {port: 8080}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}")
    .await;
    pod.until("app started again (1)").await;
    pod.stop().await.in_order(&[
        "app started",
        "app livenessProbe failed: HTTP probe failed with statuscode: 500",
        "app | SIGTERM",
        "app ended with exit code 0 (Completed)",
        "app started again (1)",
    ]);
}

#[tokio::test]
async fn port_forwarding_reaches_both_families() {
    let mut pod = pod("containers:
- {name: four, ACTOR, args: [serve, '127.0.0.1:4444', then, wait]}
- {name: six, ACTOR, args: [serve, '[::1]:6666', then, wait]}")
    .await;
    pod.until("four | serves 127.0.0.1:4444").await;
    pod.until("six | serves [::1]:6666").await;
    assert!(pod.pods.connect("pod", 4444).await.is_ok());
    assert!(pod.pods.connect("pod", 6666).await.is_ok());
    let error = pod
        .pods
        .connect("pod", 5555)
        .await
        .err()
        .expect("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    pod.stop().await;
}

#[tokio::test]
async fn a_port_can_be_taken_once_in_a_pod() {
    let story = run(
        "restartPolicy: Never
initContainers: [{name: one, ACTOR, restartPolicy: Always, args: [serve, '0.0.0.0:80', then, wait], startupProbe: {tcpSocket: {port: 80}, periodSeconds: 1, failureThreshold: 60}}]
containers: [{name: two, ACTOR, args: [serve, '127.0.0.1:80']}]",
    )
    .await;
    assert_eq!(story.lines("two"), ["serve 127.0.0.1:80: EADDRINUSE"]);
    assert!(story.has("pod failed"));
}

#[tokio::test]
async fn names_come_from_the_hosts_file() {
    let lines = lines_of(
        "args: [read, /etc/hosts, then, read, /etc/hostname, then, read, /etc/resolv.conf, then, serve, 'other:80', then, get, 'alias:80', /, then, connect, 'here:80', then, env, HOSTNAME]",
        "hostname: here\nhostAliases: [{ip: 127.0.0.7, hostnames: [other, alias]}, {ip: 10.1.2.3, hostnames: [far]}]",
    )
    .await
    .join("\n");
    for expected in [
        "127.0.0.1\tlocalhost",
        "POD_IP\there",
        "# Entries added by HostAliases.\n127.0.0.7\tother\talias\n10.1.2.3\tfar",
        "/etc/hostname: here",
        "alias:80: HTTP/1.1 200 OK",
        // It listens on the alias only.
        "here:80: ECONNREFUSED",
        "HOSTNAME=here",
    ] {
        assert!(lines.contains(expected), "`{expected}` is not in\n{lines}");
    }
}

/// Below 1024, for whoever runs there: the ports are the pod's own.
#[tokio::test]
async fn low_ports_need_no_right() {
    let lines = lines_of(
        "args: [serve, '0.0.0.0:80'], securityContext: {capabilities: {drop: [ALL]}}",
        "",
    )
    .await;
    assert_eq!(lines, ["serves 0.0.0.0:80"]);
}
