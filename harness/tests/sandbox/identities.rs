//! Users: who a container is, and what that keeps it from.

use crate::kit::{has_a_single_id, lines_of, pod, refused, run};

#[tokio::test]
async fn a_container_is_who_its_manifest_says() {
    let lines = lines_of(
        "args: [status, Uid, Gid, CapEff, CapBnd, NoNewPrivs, Seccomp], securityContext: {runAsUser: 1234, runAsGroup: 567, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}",
        "",
    )
    .await;
    assert_eq!(
        lines,
        [
            "Uid: 1234 1234 1234 1234",
            "Gid: 567 567 567 567",
            "CapEff: 0000000000000000",
            "CapBnd: 0000000000000000",
            "NoNewPrivs: 1",
            "Seccomp: 2"
        ]
    );
}

/// Where one id stands for all, this would be allowed; so the sandbox refuses to show it.
#[tokio::test]
async fn a_folder_of_another_user_cannot_be_written_to() {
    let spec = "restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers: [{name: restore, ACTOR, args: [make-folder, /data/restored], securityContext: {runAsUser: 0}, volumeMounts: [{name: data, mountPath: /data}]}]
containers: [{name: app, ACTOR, args: [write, /data/restored/file, text], securityContext: {runAsUser: 65532}, volumeMounts: [{name: data, mountPath: /data}]}]";
    if has_a_single_id("a folder of another user").await {
        let why = refused(spec).await;
        assert!(
            why.contains("run as different users") && why.contains("apt install uidmap"),
            "{why}"
        );
        return;
    }
    let story = run(spec).await;
    assert_eq!(
        story.lines("app"),
        ["/data/restored/file: EACCES"],
        "{story}"
    );
}

#[tokio::test]
async fn root_is_refused_where_the_manifest_wants_none() {
    let mut pod = pod(
        "containers: [{name: app, ACTOR, securityContext: {runAsNonRoot: true, runAsUser: 0}}]",
    )
    .await;
    pod.until("app waits (CreateContainerConfigError)").await;
    let story = pod.stop().await;
    assert!(
        story
            .0
            .iter()
            .any(|line| line.contains("container's runAsUser breaks non-root policy")),
        "{story}"
    );
    assert!(!story.has("app started"), "{story}");
}
