//! Who a container runs as, and what it is allowed.

use super::kit::{has_a_single_id, lines_of, pod, run};

#[tokio::test]
async fn a_container_runs_as_the_user_that_the_manifest_says() {
    let of = async |container: &str, pod: &str| {
        let container = format!("args: [status, Uid, Gid], securityContext: {{{container}}}");
        lines_of(&container, &format!("securityContext: {{{pod}}}")).await
    };
    let image_s = ["Uid: 65532 65532 65532 65532", "Gid: 0 0 0 0"];
    assert_eq!(of("", "").await, image_s);
    assert_eq!(
        of("runAsUser: 1000, runAsGroup: 3000", "").await,
        ["Uid: 1000 1000 1000 1000", "Gid: 3000 3000 3000 3000"]
    );
    assert_eq!(
        of("runAsUser: 0, runAsGroup: 0", "runAsUser: 1000").await,
        ["Uid: 0 0 0 0", "Gid: 0 0 0 0"]
    );
}

#[tokio::test]
async fn further_groups() {
    if has_a_single_id("further groups").await {
        return;
    }
    let groups = "securityContext: {supplementalGroups: [5, 6], fsGroup: 7}";
    assert_eq!(
        lines_of("args: [status, Groups]", groups).await,
        ["Groups: 0 5 6 7"]
    );
}

#[tokio::test]
async fn who_must_not_be_root_is_not_started_as_root() {
    let mut pod = pod("securityContext: {runAsNonRoot: true}
containers:
- {name: app, ACTOR, args: [say, up, then, wait]}
- {name: root, ACTOR, args: [say, up, then, wait], securityContext: {runAsUser: 0}}")
    .await;
    pod.until("app | up").await;
    pod.until("root waits (CreateContainerConfigError)").await;
    let story = pod.stop().await;
    assert!(
        story.has("root waits (CreateContainerConfigError): container's runAsUser breaks non-root policy (pod: \"pod_default\", container: root)"),
        "{story}"
    );
    assert!(!story.has("root started"), "{story}");
}

/// No capability, and those that container runtimes grant by default, as the kernel shows them.
const NONE: &str = "0000000000000000";
const DEFAULT: &str = "00000000a80425fb";

#[tokio::test]
async fn capabilities_are_root_s_and_a_bound_for_others() {
    // Permitted, effective, inheritable, ambient, and the most that it could ever have.
    let of = async |security: &str| {
        let container = format!(
            "args: [status, CapPrm, CapEff, CapInh, CapAmb, CapBnd], securityContext: {{{security}}}"
        );
        let sets = lines_of(&container, "").await;
        let set = |line: &String| line.split(' ').nth(1).unwrap_or_default().to_owned();
        sets.iter().map(set).collect::<Vec<_>>()
    };
    let chown = "0000000000000001";
    assert_eq!(
        of("runAsUser: 0").await,
        [DEFAULT, DEFAULT, NONE, NONE, DEFAULT]
    );
    assert_eq!(
        of("runAsUser: 0, capabilities: {drop: [ALL]}").await,
        [NONE; 5]
    );
    assert_eq!(
        of("runAsUser: 0, capabilities: {drop: [ALL], add: [CHOWN]}").await,
        [chown, chown, NONE, NONE, chown]
    );
    // Capabilities are not effective for a user other than root.
    assert_eq!(of("").await, [NONE, NONE, NONE, NONE, DEFAULT]);
    assert_eq!(
        of("capabilities: {drop: [ALL], add: [CHOWN]}").await,
        [NONE, NONE, NONE, NONE, chown]
    );
}

#[tokio::test]
async fn escalation_and_filter_are_what_the_manifest_says() {
    let of = async |security: &str, pod: &str| {
        let container =
            format!("args: [status, NoNewPrivs, Seccomp], securityContext: {{{security}}}");
        let lines = lines_of(&container, &format!("securityContext: {{{pod}}}")).await;
        let value = |line: &String| line.chars().last();
        lines.iter().filter_map(value).collect::<String>()
    };
    for (security, expected) in [
        ("", "00"),
        ("allowPrivilegeEscalation: false", "10"),
        (
            "allowPrivilegeEscalation: false, seccompProfile: {type: RuntimeDefault}",
            "12",
        ),
        ("seccompProfile: {type: RuntimeDefault}", "02"),
        ("runAsUser: 0, seccompProfile: {type: RuntimeDefault}", "02"),
        ("seccompProfile: {type: Unconfined}", "00"),
    ] {
        assert_eq!(of(security, "").await, expected, "{security}");
    }
    // The container's own goes before the pod's.
    let of_pod = "seccompProfile: {type: RuntimeDefault}";
    assert_eq!(of("", of_pod).await, "02");
    assert_eq!(of("seccompProfile: {type: Unconfined}", of_pod).await, "00");
}

#[tokio::test]
async fn files_belong_to_who_made_them_and_others_may_not_write_them() {
    if has_a_single_id("users that do not write each other's files").await {
        return;
    }
    let story = run("restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers:
- name: prepare
  ACTOR
  args: [make-folder, /data/root, then, make-folder, /data/given, then, own, /data/given, '65532', '65532']
  volumeMounts: [{name: data, mountPath: /data}]
  securityContext: {runAsUser: 0}
containers:
- name: app
  ACTOR
  args: [stat, /data/root, then, write, /data/root/new, x, then, stat, /data/given, then, write, /data/given/new, x, then, stat, /data/given/new, then, own, /data/given/new, '0', '0']
  volumeMounts: [{name: data, mountPath: /data}]")
    .await;
    assert_eq!(
        story.lines("prepare"),
        ["/data/root: done", "/data/given: done", "/data/given: done"]
    );
    assert_eq!(
        story.lines("app"),
        [
            "/data/root: folder 755 0:0",
            "/data/root/new: EACCES",
            "/data/given: folder 755 65532:65532",
            "/data/given/new: done",
            "/data/given/new: file 644 65532:0",
            "/data/given/new: EPERM",
        ]
    );
}
