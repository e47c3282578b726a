//! How a pod ends: who is told when, who is waited for, and for how long.

use crate::kit::{ends, pod, stays};

#[tokio::test(start_paused = true)]
async fn every_hook_runs_at_once_and_sidecars_end_last_in_reverse_order() {
    let mut life = pod(
        "initContainers:
- {name: first, image: app:1, restartPolicy: Always, lifecycle: {preStop: {exec: {command: [drain-first]}}}}
- {name: second, image: app:1, restartPolicy: Always}
containers:
- {name: app, image: app:1, lifecycle: {preStop: {exec: {command: [drain-app]}}}}
- {name: log, image: app:1}",
    )
    .plays("first", [stays().leaves_after(1)])
    .plays("second", [stays().leaves_after(2)])
    .plays("app", [stays().leaves_after(3)])
    .plays("log", [stays().leaves_after(1)])
    .program("drain-first", [ends(1, 0)])
    .program("drain-app", [ends(4, 0)])
    .after(1)
    .await;
    life.stops().await;
    life.asked(
        "1.0 first runs drain-first
         1.0 app runs drain-app
         1.0 SIGTERM to log
         5.0 SIGTERM to app
         8.0 SIGTERM to second
         10.0 SIGTERM to first",
    );
    life.was(
        "0.0 first started
         0.0 first ready
         0.0 second started
         0.0 second ready
         0.0 pod initialized
         0.0 app started
         0.0 app ready
         0.0 log started
         0.0 log ready
         0.0 pod ready
         1.0 pod stopping
         2.0 log ended with exit code 0 (Completed)
         2.0 log not ready
         2.0 pod not ready
         8.0 app ended with exit code 0 (Completed)
         8.0 app not ready
         10.0 second ended with exit code 0 (Completed)
         10.0 second not ready
         11.0 first ended with exit code 0 (Completed)
         11.0 first not ready",
    );
}

/// A sidecar waits its turn only as long as the pod's grace lasts, and then still has 2 seconds.
#[tokio::test(start_paused = true)]
async fn an_app_that_does_not_end_leaves_its_sidecars_two_seconds() {
    let mut life = pod("terminationGracePeriodSeconds: 6
initContainers:
- {name: first, image: app:1, restartPolicy: Always}
- {name: second, image: app:1, restartPolicy: Always}
containers: [{name: app, image: app:1}]")
    .plays("first", [stays().leaves_after(1)])
    .plays("second", [stays().ignores_sigterm()])
    .plays("app", [stays().ignores_sigterm()])
    .after(1)
    .await;
    life.stops().await;
    life.asked(
        "1.0 SIGTERM to app
         7.0 SIGKILL to app
         7.0 SIGTERM to first
         7.0 SIGTERM to second
         9.0 SIGKILL to second",
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_grace_is_what_a_sidecar_has() {
    let mut life = pod("terminationGracePeriodSeconds: 10
initContainers: [{name: proxy, image: app:1, restartPolicy: Always}]
containers: [{name: app, image: app:1}]")
    .plays("proxy", [stays().ignores_sigterm()])
    .plays("app", [stays().leaves_after(4)])
    .after(1)
    .await;
    life.stops().await;
    life.asked("1.0 SIGTERM to app\n5.0 SIGTERM to proxy\n11.0 SIGKILL to proxy");
}

#[tokio::test(start_paused = true)]
async fn thirty_seconds_are_the_grace_of_who_does_not_say() {
    let mut life = pod("containers: [{name: app, image: app:1}]")
        .plays("app", [stays().ignores_sigterm()])
        .after(1)
        .await;
    life.stops().await;
    life.asked("1.0 SIGTERM to app\n31.0 SIGKILL to app");
}

/// Sidecars wait for the containers and for each other, but not for an init container at work.
#[tokio::test(start_paused = true)]
async fn a_stop_during_init_reaches_the_init_container_and_the_sidecars_before_it() {
    let mut life = pod("initContainers:
- {name: proxy, image: app:1, restartPolicy: Always}
- {name: prepare, image: app:1}
- {name: later, image: app:1, restartPolicy: Always}
containers: [{name: app, image: app:1}]")
    .plays("prepare", [ends(60, 0).leaves_after(4)])
    .after(1)
    .await;
    life.stops().await;
    life.asked("1.0 SIGTERM to proxy\n1.0 SIGTERM to prepare");
    life.was(
        "0.0 proxy started
         0.0 proxy ready
         0.0 prepare started
         1.0 pod stopping
         1.0 proxy ended with exit code 0 (Completed)
         1.0 proxy not ready
         5.0 prepare ended with exit code 0 (Completed)",
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_pause_starts_nobody_again() {
    let mut life = pod(
        "initContainers: [{name: proxy, image: app:1, restartPolicy: Always}]
containers: [{name: app, image: app:1}]",
    )
    .plays("app", [ends(1, 1)])
    .after(5)
    .await;
    life.stops().await;
    assert_eq!(life.age().as_secs(), 5);
    life.asked("5.0 SIGTERM to proxy");
    assert_eq!(life.started().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_ends_while_the_pod_ends_is_not_started_again() {
    let mut life = pod(
        "initContainers: [{name: proxy, image: app:1, restartPolicy: Always}]
containers: [{name: app, image: app:1}, {name: log, image: app:1}]",
    )
    .plays("proxy", [ends(3, 1)])
    .plays("log", [ends(4, 1).ignores_sigterm()])
    .plays("app", [stays().leaves_after(9)])
    .after(2)
    .await;
    life.stops().await;
    assert_eq!(life.started().len(), 3);
    assert_eq!(life.age().as_secs(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_hook_delays_the_start_is_not_delayed_by_it() {
    let mut life = pod(
        "containers: [{name: app, image: app:1, lifecycle: {postStart: {sleep: {seconds: 20}}}}, {name: log, image: app:1}]",
    )
    .after(1)
    .await;
    life.stops().await;
    life.was(
        "0.0 pod initialized
         0.0 app started
         1.0 pod stopping
         1.0 app ended with exit code 0 (Completed)",
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_config_map_is_missing() {
    let mut life = pod("volumes: [{name: settings, configMap: {name: settings}}]
containers: [{name: app, image: app:1}]")
    .after(1)
    .await;
    life.stops().await;
    assert_eq!(life.age().as_secs(), 1);
    life.of("pod", "1.0 pod stopping");
}

#[tokio::test(start_paused = true)]
async fn sidecars_of_a_pod_that_has_done_its_work_are_ended_in_order() {
    let life = pod(
        "restartPolicy: OnFailure
initContainers:
- {name: first, image: app:1, restartPolicy: Always, lifecycle: {preStop: {exec: {command: [drain]}}}}
- {name: second, image: app:1, restartPolicy: Always}
containers: [{name: app, image: app:1}]",
    )
    .plays("app", [ends(1, 1), ends(1, 0)])
    .plays("second", [stays().leaves_after(3)])
    .after(60)
    .await;
    life.asked("2.0 first runs drain\n2.0 SIGTERM to second\n5.0 SIGTERM to first");
    assert_eq!(life.told_of("pod").last().unwrap(), "5.0 pod succeeded");
}

/// Kubernetes gives the liveness of a pod that ends no further thought.
#[tokio::test(start_paused = true)]
async fn a_pod_that_ends_is_not_probed_for_liveness() {
    let mut life = pod(
        "containers: [{name: app, image: app:1, livenessProbe: {exec: {command: [alive]}, periodSeconds: 1, failureThreshold: 1}}]",
    )
    .plays("app", [stays().leaves_after(20)])
    .program("alive", [ends(0, 0), ends(0, 0), ends(0, 1)])
    .after(1)
    .await;
    life.stops().await;
    life.asked("0.0 app runs alive\n1.0 app runs alive\n1.0 SIGTERM to app");
}

#[tokio::test(start_paused = true)]
async fn a_second_order_changes_nothing() {
    let mut life = pod("terminationGracePeriodSeconds: 8\ncontainers: [{name: app, image: app:1}]")
        .plays("app", [stays().ignores_sigterm()])
        .after(1)
        .await;
    let first = life.stop_begins();
    life.goes_on_for(3).await;
    life.stops().await;
    assert_eq!(
        life.age().as_secs(),
        9,
        "both return when the pod has ended"
    );
    first.await.unwrap();
    life.asked("1.0 SIGTERM to app\n9.0 SIGKILL to app");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fills_its_disk_is_evicted() {
    let mut life = pod("volumes: [{name: data, emptyDir: {sizeLimit: 1Mi}}]
initContainers: [{name: proxy, image: app:1, restartPolicy: Always}]
containers: [{name: app, image: app:1}]")
    .holds("data", 1 << 20)
    .plays("app", [stays().ignores_sigterm()])
    .after(5)
    .await;
    life.of("pod", "0.0 pod initialized\n0.0 pod ready");
    life.fill("data", (1 << 20) + 1);
    life.goes_on_for(20).await;
    // The grace of an eviction is one second, but nobody has less than two.
    life.asked("6.0 SIGTERM to app\n7.0 SIGTERM to proxy\n8.0 SIGKILL to app");
    life.of(
        "pod",
        "0.0 pod initialized
         0.0 pod ready
         6.0 pod stopping
         7.0 pod not ready
         8.0 pod failed Evicted Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\".",
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_forgets_a_pod_forgets_its_containers() {
    let life = pod("containers: [{name: app, image: app:1}]")
        .after(1)
        .await;
    let runtime = life.runtime();
    drop(life);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(
        runtime.upgrade().is_none(),
        "something still holds the runtime"
    );
}

/// As when its node is lost: nobody runs a hook, and nobody is told to end.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_killed_has_no_time_to_say_so() {
    let mut life = pod(
        "restartPolicy: Never
initContainers:
- {name: sidecar, image: app:1, restartPolicy: Always, lifecycle: {preStop: {exec: {command: [withdraw]}}}}
containers:
- {name: app, image: app:1, lifecycle: {preStop: {exec: {command: [drain]}}}}",
    )
    .after(1)
    .await;
    life.kubelet.kill().await.unwrap();
    life.goes_on_for(20).await;
    life.asked(
        "1.0 SIGKILL to sidecar
         1.0 SIGKILL to app",
    );
    for container in ["sidecar", "app"] {
        let told = life.told_of(container).join("\n");
        assert_eq!(told.matches("started").count(), 1, "{told}");
        assert!(told.contains("ended with exit code 137"), "{told}");
    }
    life.of(
        "pod",
        "0.0 pod initialized
         0.0 pod ready
         1.0 pod not ready
         1.0 pod failed",
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_would_start_again_is_not_killed() {
    let life = pod("containers: [{name: app, image: app:1}]")
        .after(1)
        .await;
    let refused = life.kubelet.kill().await.unwrap_err().to_string();
    assert!(refused.contains("`restartPolicy: Never`"), "{refused}");
    life.asked("");
}
