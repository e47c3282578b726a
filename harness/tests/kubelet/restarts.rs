//! What is started again, and after what pause.

use crate::kit::{cannot_start, ends, pod, stays};

/// Kubernetes' back-off: the first restart at once, then 10, 20, 40 … 300 seconds after each end.
#[tokio::test(start_paused = true)]
async fn pauses_grow_to_five_minutes() {
    let spec = "containers: [{name: app, image: app:1}]";
    let starts = starts(spec, [ends(1, 1)], 1300).await;
    assert_eq!(
        starts,
        [
            "0.0", "1.0", "12.0", "33.0", "74.0", "155.0", "316.0", "617.0", "918.0", "1219.0"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_told_in_the_words_of_kubernetes() {
    let life = pod("containers: [{name: app, image: app:1}]")
        .plays("app", [ends(1, 1)])
        .after(320)
        .await;
    let pauses: Vec<_> = life
        .told_of("app")
        .into_iter()
        .filter(|line| line.contains("back-off"))
        .collect();
    let pause = |at: &str, pause: &str| {
        format!(
            "{at} app waits (CrashLoopBackOff): back-off {pause} restarting failed container=app pod=pod_default"
        )
    };
    assert_eq!(
        pauses,
        [
            pause("2.0", "10s"),
            pause("13.0", "20s"),
            pause("34.0", "40s"),
            pause("75.0", "1m20s"),
            pause("156.0", "2m40s"),
            pause("317.0", "5m0s"),
        ]
    );
}

/// When each start of the app was.
async fn starts(spec: &str, plays: impl Into<Vec<crate::kit::Play>>, seconds: u64) -> Vec<String> {
    let life = pod(spec).plays("app", plays).after(seconds).await;
    let mut starts = life.told_of("app");
    starts.retain(|line| line.contains("started"));
    starts
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn ten_quiet_minutes_are_forgotten() {
    let spec = "containers: [{name: app, image: app:1}]";
    let quiet = [ends(1, 1), ends(1, 1), ends(601, 1), ends(1, 1), ends(1, 1)];
    assert_eq!(
        starts(spec, quiet, 630).await,
        ["0.0", "1.0", "12.0", "613.0", "624.0"]
    );
    let not_quiet_enough = [ends(1, 1), ends(1, 1), ends(600, 1), ends(1, 1)];
    assert_eq!(
        starts(spec, not_quiet_enough, 640).await,
        ["0.0", "1.0", "12.0", "632.0"]
    );
}

#[tokio::test(start_paused = true)]
async fn who_ends_well_is_started_again_only_by_always() {
    for (policy, code, expected) in [
        ("Always", 0, &["0.0", "1.0", "12.0"][..]),
        ("Always", 1, &["0.0", "1.0", "12.0"]),
        ("OnFailure", 0, &["0.0"]),
        ("OnFailure", 1, &["0.0", "1.0", "12.0"]),
        ("Never", 0, &["0.0"]),
        ("Never", 1, &["0.0"]),
    ] {
        let spec = format!("restartPolicy: {policy}\ncontainers: [{{name: app, image: app:1}}]");
        assert_eq!(
            starts(&spec, [ends(1, code)], 20).await,
            expected,
            "{policy} {code}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_init_container_that_fails_is_tried_again() {
    for policy in ["Always", "OnFailure"] {
        let spec = format!(
            "restartPolicy: {policy}\ninitContainers: [{{name: prepare, image: app:1}}]\ncontainers: [{{name: app, image: app:1}}]"
        );
        let life = pod(&spec)
            .plays("prepare", [ends(1, 1), ends(1, 1), ends(1, 0)])
            .after(20)
            .await;
        life.of(
            "prepare",
            "0.0 prepare started
             1.0 prepare ended with exit code 1 (Error)
             1.0 prepare started again (1)
             2.0 prepare ended with exit code 1 (Error)
             2.0 prepare waits (CrashLoopBackOff): back-off 10s restarting failed container=prepare pod=pod_default
             12.0 prepare started again (2)
             13.0 prepare ended with exit code 0 (Completed)",
        );
        life.of("app", "13.0 app started\n13.0 app ready");
    }
}

#[tokio::test(start_paused = true)]
async fn an_init_container_that_fails_can_fail_the_pod() {
    let life = pod("restartPolicy: Never
initContainers: [{name: log, image: app:1, restartPolicy: Always}, {name: prepare, image: app:1}]
containers: [{name: app, image: app:1}]")
    .plays("prepare", [ends(1, 3)])
    .after(60)
    .await;
    life.was(
        "0.0 log started
         0.0 log ready
         0.0 prepare started
         1.0 prepare ended with exit code 3 (Error)
         1.0 log ended with exit code 0 (Completed)
         1.0 log not ready
         1.0 pod failed",
    );
}

#[tokio::test(start_paused = true)]
async fn a_native_sidecar_is_always_started_again() {
    for policy in ["Always", "OnFailure", "Never"] {
        let spec = format!(
            "restartPolicy: {policy}\ninitContainers: [{{name: log, image: app:1, restartPolicy: Always}}]\ncontainers: [{{name: app, image: app:1}}]"
        );
        let life = pod(&spec)
            .plays("log", [ends(1, 0), stays()])
            .after(5)
            .await;
        life.of(
            "log",
            "0.0 log started
             0.0 log ready
             1.0 log ended with exit code 0 (Completed)
             1.0 log not ready
             1.0 log started again (1)
             1.0 log ready",
        );
        life.of(
            "pod",
            "0.0 pod initialized\n0.0 pod ready\n1.0 pod not ready\n1.0 pod ready",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_cannot_start_is_tried_again_like_one_that_ends() {
    let life = pod("containers: [{name: app, image: app:1}]")
        .plays("app", [cannot_start()])
        .after(20)
        .await;
    life.was(
        "0.0 pod initialized
         0.0 app ended with exit code 128 (StartError): cannot run /app: No such file or directory
         0.0 app ended with exit code 128 (StartError): cannot run /app: No such file or directory
         0.0 app waits (CrashLoopBackOff): back-off 10s restarting failed container=app pod=pod_default
         10.0 app ended with exit code 128 (StartError): cannot run /app: No such file or directory
         10.0 app waits (CrashLoopBackOff): back-off 20s restarting failed container=app pod=pod_default",
    );
}

#[tokio::test(start_paused = true)]
async fn another_image_restarts_that_container_alone_and_at_once() {
    let mut life = pod("containers: [{name: app, image: app:1}, {name: log, image: app:1}]")
        .plays("app", [ends(1, 1), ends(1, 1), stays()])
        .after(20)
        .await;
    life.kubelet.replace_image("app", "other:1").unwrap();
    life.goes_on_for(1).await;
    life.of(
        "app",
        "0.0 app started
         0.0 app ready
         1.0 app ended with exit code 1 (Error)
         1.0 app not ready
         1.0 app started again (1)
         1.0 app ready
         2.0 app ended with exit code 1 (Error)
         2.0 app not ready
         2.0 app waits (CrashLoopBackOff): back-off 10s restarting failed container=app pod=pod_default
         12.0 app started again (2)
         12.0 app ready
         20.0 app ended with exit code 0 (Completed)
         20.0 app not ready
         20.0 app started again (3)
         20.0 app ready",
    );
    life.of("log", "0.0 log started\n0.0 log ready");
    assert_eq!(life.started().last().unwrap().image.name, "other:1");
    assert_eq!(life.started().last().unwrap().command, ["/other"]);
}

/// A new image has a count of its own: its first failure is followed by a restart at once.
#[tokio::test(start_paused = true)]
async fn another_image_ends_the_pause_before_a_restart() {
    let mut life = pod("containers: [{name: app, image: app:1}]")
        .plays("app", [ends(1, 1)])
        .after(5)
        .await;
    life.kubelet.replace_image("app", "other:1").unwrap();
    life.goes_on_for(10).await;
    let starts: Vec<_> = life
        .told_of("app")
        .into_iter()
        .filter(|line| line.contains("started"))
        .collect();
    assert_eq!(
        starts,
        [
            "0.0 app started",
            "1.0 app started again (1)",
            "5.0 app started again (2)",
            "6.0 app started again (3)"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn another_image_does_not_wake_who_has_ended_for_good() {
    let mut life = pod(
        "restartPolicy: Never\ncontainers: [{name: app, image: app:1}, {name: log, image: app:1}]",
    )
    .plays("app", [ends(1, 0)])
    .after(5)
    .await;
    life.kubelet.replace_image("app", "other:1").unwrap();
    life.goes_on_for(60).await;
    assert_eq!(life.started().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_there_ends_what_ran_and_waits() {
    let mut life = pod("containers: [{name: app, image: app:1, imagePullPolicy: Never}]")
        .after(5)
        .await;
    life.kubelet.replace_image("app", "none:1").unwrap();
    life.goes_on_for(1).await;
    life.kubelet.replace_image("app", "other:1").unwrap();
    life.goes_on_for(1).await;
    life.of(
        "app",
        "0.0 app started
         0.0 app ready
         5.0 app ended with exit code 0 (Completed)
         5.0 app not ready
         5.0 app waits (ErrImageNeverPull): Container image \"none:1\" is not present with pull policy of Never
         6.0 app started again (1)
         6.0 app ready",
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_has_succeeded_when_all_have() {
    let spec = "restartPolicy: Never
initContainers: [{name: log, image: app:1, restartPolicy: Always}]
containers: [{name: one, image: app:1}, {name: two, image: app:1}]";
    for (codes, phase) in [
        ((0, 0), "succeeded"),
        ((0, 7), "failed"),
        ((7, 0), "failed"),
    ] {
        let life = pod(spec)
            .plays("one", [ends(1, codes.0)])
            .plays("two", [ends(3, codes.1)])
            // Its exit code is nobody's concern.
            .plays("log", [stays().ignores_sigterm()])
            .after(60)
            .await;
        life.of(
            "pod",
            &format!("0.0 pod initialized\n0.0 pod ready\n1.0 pod not ready\n33.0 pod {phase}"),
        );
        assert_eq!(life.told_of("log").last().unwrap(), "33.0 log not ready");
        assert!(
            life.told_of("log")
                .iter()
                .any(|line| line.contains("exit code 137"))
        );
    }
}
