//! What runs when: init containers, sidecars, containers; probes, hooks, restarts.

use crate::kit::run;

#[tokio::test]
async fn init_containers_then_sidecars_then_containers() {
    let story = run(
        "restartPolicy: Never
initContainers:
- {name: one, ACTOR, args: [say, first]}
- {name: proxy, ACTOR, restartPolicy: Always, args: [serve, '0.0.0.0:8080', then, wait], startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
- {name: two, ACTOR, args: [get, '127.0.0.1:8080', /two]}
containers:
- {name: app, ACTOR, args: [get, 'localhost:8080', /app]}",
    )
    .await;
    story.in_order(&[
        "one started",
        "one | first",
        "one ended with exit code 0 (Completed)",
        "proxy started",
        "two started",
        "two | 127.0.0.1:8080: HTTP/1.1 200 OK",
        "two ended with exit code 0 (Completed)",
        "pod initialized",
        "app started",
        "app | localhost:8080: HTTP/1.1 200 OK",
        "app ended with exit code 0 (Completed)",
        "proxy | SIGTERM",
        "proxy ended with exit code 0 (Completed)",
        "pod succeeded",
    ]);
    assert_eq!(
        story.lines("proxy"),
        [
            "serves 0.0.0.0:8080",
            "GET /two HTTP/1.1",
            "GET /app HTTP/1.1",
            "SIGTERM"
        ]
    );
}
