//! What containers share, how much of it, and what they may do to it.

use super::kit::{has_a_single_id, lines_of, pod, root, run};

#[tokio::test]
async fn an_empty_dir_is_for_everyone_in_the_pod() {
    let story = run("restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers: [{name: writer, ACTOR, args: [list, /data, then, write, /data/note, hello], volumeMounts: [{name: data, mountPath: /data}]}]
containers: [{name: reader, ACTOR, args: [stat, /deep/er/data, then, read, /deep/er/data/note], volumeMounts: [{name: data, mountPath: /deep/er/data}]}]")
    .await;
    assert_eq!(story.lines("writer"), ["/data: ", "/data/note: done"]);
    let folder = format!("/deep/er/data: folder 777 {}", root().await);
    assert_eq!(
        story.lines("reader"),
        [&folder, "/deep/er/data/note: hello"]
    );
}

#[tokio::test]
async fn a_volume_outlives_its_containers() {
    let mut pod = pod("volumes: [{name: data, emptyDir: {}}]
containers:
- name: app
  ACTOR
  args: [append, /data/log, start, then, read, /data/log, then, write, /lost, x, then, list, /, then, turn, /data/turns, '1', then, wait]
  volumeMounts: [{name: data, mountPath: /data}]
  securityContext: {runAsUser: 0}")
    .await;
    pod.until_times("app | /", 2).await;
    let story = pod.stop().await;
    // Docker leaves a mark of its own.
    let lines = story.lines("app").join(" ").replace(".dockerenv ", "");
    assert!(lines.contains("/data/log: start start"), "{story}");
    // Its own files begin anew.
    let listing = "/: actor data dev etc lost proc sys";
    assert_eq!(lines.matches(listing).count(), 2, "{story}");
}

/// In memory, a write past the limit fails, and that is all.
#[tokio::test]
async fn a_volume_in_memory_is_full_at_its_limit() {
    let story = run("restartPolicy: Never
volumes: [{name: data, emptyDir: {medium: Memory, sizeLimit: 3Mi}}]
containers: [{name: app, ACTOR, args: [fill, /data/much, '8', then, say, still here], volumeMounts: [{name: data, mountPath: /data}]}]")
    .await;
    assert_eq!(
        story.lines("app"),
        ["/data/much: ENOSPC after 3 MiB", "still here"]
    );
    assert!(story.has("pod succeeded"), "{story}");
}

/// On disk, the write succeeds, and the pod is evicted for it.
#[tokio::test]
async fn a_volume_on_disk_past_its_limit_has_the_pod_evicted() {
    let mut pod = pod("volumes: [{name: data, emptyDir: {sizeLimit: 3Mi}}]
containers:
- {name: app, ACTOR, args: [await, /data/go, then, fill, /data/much, '8', then, wait], volumeMounts: [{name: data, mountPath: /data}]}
- {name: other, ACTOR, args: [write, /data/go, '', then, wait], volumeMounts: [{name: data, mountPath: /data}]}")
    .await;
    pod.until("pod failed").await;
    let story = pod.stop().await;
    assert!(story.has("app | /data/much: 8 MiB"), "{story}");
    assert!(story.has("other | SIGTERM"), "{story}");
    assert!(
        story.has(
            "pod failed: Evicted Usage of EmptyDir volume \"data\" exceeds the limit \"3Mi\"."
        ),
        "{story}"
    );
}

const SETTINGS: &str = "
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red, size: big}
binaryData: {raw: /w==}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {door: open}";

#[tokio::test]
async fn files_of_objects_are_where_and_what_the_manifest_says() {
    let story = run(&format!("restartPolicy: Never
volumes:
- {{name: all, configMap: {{name: settings}}}}
- {{name: some, configMap: {{name: settings, defaultMode: 0444, items: [{{key: colour, path: deep/er/colour}}, {{key: size, path: size, mode: 0755}}]}}}}
- {{name: keys, secret: {{secretName: keys, defaultMode: 0444}}}}
- {{name: perhaps, configMap: {{name: none, optional: true}}}}
containers:
- name: app
  ACTOR
  args: [list, /all, then, stat, /all/colour, then, read, /all/colour, then, read, /some/deep/er/colour, then, stat, /some/deep/er/colour, then, stat, /some/size, then, read, /keys/door, then, list, /perhaps, then, write, /all/colour, x, then, write, /all/new, x]
  volumeMounts: [{{name: all, mountPath: /all}}, {{name: some, mountPath: /some}}, {{name: keys, mountPath: /keys}}, {{name: perhaps, mountPath: /perhaps}}]
  securityContext: {{runAsUser: 0}}{SETTINGS}"
    ))
    .await;
    assert_eq!(
        story.lines("app"),
        [
            "/all: ..1 ..data colour raw size",
            "/all/colour: file 644 0:0",
            "/all/colour: red",
            "/some/deep/er/colour: red",
            "/some/deep/er/colour: file 444 0:0",
            "/some/size: file 755 0:0",
            "/keys/door: open",
            "/perhaps: ..1 ..data",
            // Not even root writes what the kubelet writes.
            "/all/colour: EROFS",
            "/all/new: EROFS",
        ]
    );
}

/// Whoever reads while a ConfigMap changes sees the old content or the new one, whole.
#[tokio::test]
async fn an_update_is_seen_at_once_and_whole() {
    const UPDATES: usize = 20;
    let text = |number: usize| format!("{number} ").repeat(50_000);
    let mut pod = pod(&format!("volumes: [{{name: conf, configMap: {{name: settings}}}}]
containers:
- {{name: app, ACTOR, args: [watch, /conf/text, then, wait], volumeMounts: [{{name: conf, mountPath: /conf}}]}}
- {{name: one-file, ACTOR, args: [say, up, then, wait], volumeMounts: [{{name: conf, mountPath: /text, subPath: text}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{text: '{}', gone: soon}}", text(0)))
    .await;
    let line = |number: usize| format!("/conf/text: {}", text(number).trim_end());
    pod.until("one-file | up").await;
    pod.until(&format!("app | {}", line(0))).await;
    for number in 1..=UPDATES {
        pod.update("settings", &[("text", &text(number))]).await;
        pod.until(&format!("app | {}", line(number))).await;
    }
    let (_, names) = pod.exec("app", &["/actor", "list", "/conf"]).await;
    assert_eq!(names, format!("/conf: ..{} ..data text", UPDATES + 1));
    // Who has mounted one file by its path keeps it as it was.
    let (_, kept) = pod.exec("one-file", &["/actor", "read", "/text"]).await;
    assert_eq!(kept, line(0).replacen("/conf", "", 1));

    let seen: Vec<_> = pod.stop().await.lines("app");
    let expected: Vec<_> = (0..=UPDATES).map(line).collect();
    let strange: Vec<String> = seen
        .iter()
        .filter(|line| !expected.contains(line) && *line != "SIGTERM")
        .map(|line| line.chars().take(80).collect())
        .collect();
    assert!(strange.is_empty(), "it also saw {strange:?}");
}

#[tokio::test]
async fn a_part_of_a_volume_can_be_mounted() {
    let story = run("restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers: [{name: writer, ACTOR, args: [make-folder, /data/a, then, write, /data/a/file, here], volumeMounts: [{name: data, mountPath: /data}]}]
containers:
- name: app
  ACTOR
  args: [read, /folder/file, then, read, /one, then, stat, /made, then, write, /made/new, x, then, read, /data/not/there/new, then, append, /one, more]
  volumeMounts:
  - {name: data, mountPath: /folder, subPath: a}
  - {name: data, mountPath: /one, subPath: a/file}
  - {name: data, mountPath: /made, subPath: not/there}
  - {name: data, mountPath: /data, readOnly: true}")
    .await;
    let made = format!("/made: folder 777 {}", root().await);
    assert_eq!(
        story.lines("app"),
        [
            "/folder/file: here",
            "/one: here",
            &made,
            "/made/new: done",
            "/data/not/there/new: x",
            "/one: done"
        ]
    );
}

#[tokio::test]
async fn a_read_only_mount_is_read_only_for_its_container_alone() {
    let story = run("restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers:
- {name: writer, ACTOR, args: [write, /data/file, here], volumeMounts: [{name: data, mountPath: /data}]}
- {name: reader, ACTOR, args: [read, /data/file, then, append, /data/file, x, then, write, /data/new, x], volumeMounts: [{name: data, mountPath: /data, readOnly: true}]}
containers: [{name: app, ACTOR, args: [append, /data/file, x], volumeMounts: [{name: data, mountPath: /data}]}]")
    .await;
    assert_eq!(
        story.lines("reader"),
        ["/data/file: here", "/data/file: EROFS", "/data/new: EROFS"]
    );
    assert_eq!(story.lines("app"), ["/data/file: done"]);
}

/// Whatever the order in the manifest is.
#[tokio::test]
async fn a_mount_inside_another_comes_after_it() {
    let story = run("restartPolicy: Never
volumes: [{name: outer, emptyDir: {}}, {name: inner, emptyDir: {}}]
containers:
- name: app
  ACTOR
  args: [write, /outer/inner/file, x, then, list, /outer/inner, then, list, /outer]
  volumeMounts: [{name: inner, mountPath: /outer/inner}, {name: outer, mountPath: /outer}]")
    .await;
    assert_eq!(
        story.lines("app"),
        [
            "/outer/inner/file: done",
            "/outer/inner: file",
            "/outer: inner"
        ]
    );
}

#[tokio::test]
async fn a_root_filesystem_can_be_read_only() {
    let with = async |context: &str| {
        let container = format!(
            "args: [write, /new, x, then, write, /etc/new, x, then, write, /dev/new, x, then, write, /data/new, x], \
             volumeMounts: [{{name: data, mountPath: /data}}], securityContext: {{{context}}}"
        );
        lines_of(&container, "volumes: [{name: data, emptyDir: {}}]").await
    };
    assert_eq!(
        with("readOnlyRootFilesystem: true, runAsUser: 0").await,
        [
            "/new: EROFS",
            "/etc/new: EROFS",
            "/dev/new: done",
            "/data/new: done"
        ]
    );
    assert_eq!(
        with("readOnlyRootFilesystem: false, runAsUser: 0").await,
        [
            "/new: done",
            "/etc/new: done",
            "/dev/new: done",
            "/data/new: done"
        ]
    );
    // All but the volume belongs to root.
    assert_eq!(
        with("readOnlyRootFilesystem: false, runAsUser: 65532").await,
        [
            "/new: EACCES",
            "/etc/new: EACCES",
            "/dev/new: EACCES",
            "/data/new: done"
        ]
    );
}

#[tokio::test]
async fn fs_group_owns_the_volumes() {
    if has_a_single_id("fsGroup owns the volumes").await {
        return;
    }
    let story = run(&format!("restartPolicy: Never
securityContext: {{fsGroup: 2000, runAsUser: 1000, runAsGroup: 1000}}
volumes: [{{name: data, emptyDir: {{}}}}, {{name: keys, secret: {{secretName: keys, defaultMode: 0400}}}}]
containers:
- name: app
  ACTOR
  args: [stat, /data, then, write, /data/new, x, then, stat, /data/new, then, stat, /keys/door, then, read, /keys/door]
  volumeMounts: [{{name: data, mountPath: /data}}, {{name: keys, mountPath: /keys}}]{SETTINGS}"
    ))
    .await;
    assert_eq!(
        story.lines("app"),
        [
            "/data: folder 2777 0:2000",
            "/data/new: done",
            "/data/new: file 644 1000:2000",
            "/keys/door: file 440 0:2000",
            "/keys/door: open",
        ]
    );
}
