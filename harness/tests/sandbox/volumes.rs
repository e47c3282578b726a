//! Volumes: what containers share, how much of it, and who may write.

use crate::kit::{pod, run};

/// With `medium: Memory` a write past the limit fails.
#[tokio::test]
async fn a_volume_in_memory_is_full_at_its_limit() {
    let story = run(
        "restartPolicy: Never
volumes: [{name: data, emptyDir: {medium: Memory, sizeLimit: 4Mi}}]
containers: [{name: app, ACTOR, args: [fill, /data/some, '2', then, fill, /data/more, '4'], volumeMounts: [{name: data, mountPath: /data}]}]",
    )
    .await;
    let lines = story.lines("app");
    assert!(
        lines[0].starts_with("/data/some: ") && !lines[0].contains("ENOSPC"),
        "{story}"
    );
    assert_eq!(lines[1], "/data/more: ENOSPC after 2 MiB", "{story}");
}

/// On disk it does not: the pod is evicted instead.
#[tokio::test]
async fn a_volume_on_disk_past_its_limit_has_the_pod_evicted() {
    let mut pod = pod(
        "volumes: [{name: data, emptyDir: {sizeLimit: 1Mi}}]
containers: [{name: app, ACTOR, args: [fill, /data/some, '2', then, say, written, then, wait], volumeMounts: [{name: data, mountPath: /data}]}]",
    )
    .await;
    pod.until("app | written").await;
    pod.until("app ended with exit code 0 (Completed)").await;
    pod.until("pod failed").await;
    let story = pod.stop().await;
    let why = "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\"";
    assert!(
        story
            .0
            .iter()
            .any(|line| line.contains("Evicted") && line.contains(why)),
        "{story}"
    );
}

#[tokio::test]
async fn what_is_mounted_read_only_cannot_be_written() {
    let story = run(
        "restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers: [{name: writer, ACTOR, args: [write, /data/file, text], volumeMounts: [{name: data, mountPath: /data}]}]
containers: [{name: app, ACTOR, args: [read, /data/file, then, write, /data/file, other, then, write, /file, text], volumeMounts: [{name: data, mountPath: /data, readOnly: true}], securityContext: {readOnlyRootFilesystem: true}}]",
    )
    .await;
    assert_eq!(
        story.lines("app"),
        ["/data/file: text", "/data/file: EROFS", "/file: EROFS"],
        "{story}"
    );
}

#[tokio::test]
async fn files_of_config_maps_and_secrets() {
    let mut pod = pod(
        "volumes:
- {name: all, configMap: {name: settings, defaultMode: 0400}}
- {name: some, secret: {secretName: keys, items: [{key: door, path: deep/key, mode: 0444}]}}
containers: [{name: app, ACTOR, args: [list, /all, then, stat, /some/deep/key, then, read, /some/deep/key, then, write, /all/limits, none, then, wait], securityContext: {runAsUser: 0}, volumeMounts: [{name: all, mountPath: /all}, {name: some, mountPath: /some}]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {limits: few}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {door: open}",
    )
    .await;
    pod.until("app | /all/limits: EROFS").await;
    let lines = pod.so_far().lines("app");
    assert!(
        lines[0].split(' ').any(|name| name == "limits"),
        "{lines:?}"
    );
    assert!(lines[1].contains("444"), "{lines:?}");
    assert_eq!(lines[2], "/some/deep/key: open");
    assert_eq!(
        pod.exec("app", &["/actor", "read", "/all/limits"]).await.1,
        "/all/limits: few"
    );
    pod.update("settings", &[("limits", "many"), ("more", "yes")])
        .await;
    assert_eq!(
        pod.exec("app", &["/actor", "read", "/all/limits"]).await.1,
        "/all/limits: many"
    );
    assert_eq!(
        pod.exec("app", &["/actor", "read", "/all/more"]).await.1,
        "/all/more: yes"
    );
    pod.stop().await;
}
