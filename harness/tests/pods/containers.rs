//! What a container is: its program, its surroundings, what it prints, how it ends.

use crate::machine;

use super::kit::{lines_of, pod, root, run};

#[tokio::test]
async fn command_arguments_environment_and_folder() {
    let story = run("restartPolicy: Never
containers:
- name: app
  ACTOR
  command: [/actor, say, $(GREETING), $$(GREETING), $(NONE)]
  args: [then, env, TIER, IP, MEMORY, FROM_MAP, SECRET, NONE, then, cwd]
  workingDir: /work/here
  resources: {limits: {memory: 64Mi}}
  envFrom: [{prefix: FROM_, configMapRef: {name: settings}}]
  env:
  - {name: NAME, value: Ada}
  - {name: GREETING, value: Hello $(NAME)}
  - {name: TIER, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['tier']\"}}}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - {name: SECRET, valueFrom: {secretKeyRef: {name: keys, key: door}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {MAP: here}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {door: open}")
    .await;
    assert_eq!(
        story.lines("app"),
        [
            "Hello Ada",
            "$(GREETING)",
            "$(NONE)",
            "TIER=test",
            "IP=POD_IP",
            "MEMORY=64",
            "FROM_MAP=here",
            "SECRET=open",
            "NONE is not set",
            "cwd: /work/here",
        ],
        "{story}"
    );
}

#[tokio::test]
async fn exit_codes_and_signals() {
    for (args, end) in [
        ("[exit, '0']", "ended with exit code 0 (Completed)"),
        ("[exit, '3']", "ended with exit code 3 (Error)"),
        ("[exit, '255']", "ended with exit code 255 (Error)"),
    ] {
        let story = run(&format!(
            "restartPolicy: Never\ncontainers: [{{name: app, ACTOR, args: {args}}}]"
        ))
        .await;
        assert!(story.changes("app").contains(&end.to_owned()), "{story}");
    }
    let mut pod = pod(
        "restartPolicy: Never\ncontainers: [{name: app, ACTOR, args: [say, here, then, stay]}]",
    )
    .await;
    pod.until("app | here").await;
    pod.kill("app").await;
    pod.until("pod failed").await;
    assert!(
        pod.stop()
            .await
            .has("app ended with exit code 137, killed by SIGKILL (Error)")
    );
}

#[tokio::test]
async fn what_cannot_be_run_says_what_was_tried() {
    // What is tried, and the kernel's words for why it cannot be, which container runtimes put
    // among their own.
    for (fields, tried, why) in [
        ("command: [/none]", "run /none", "no such file or directory"),
        ("command: [none]", "run none", "file"),
        (
            "command: [/etc]",
            "run /etc",
            "permission denied|is a directory",
        ),
        (
            "command: [/etc/hosts]",
            "run /etc/hosts",
            "permission denied",
        ),
        ("workingDir: /actor", "/actor", "not a directory"),
    ] {
        let mut pod = pod(&format!("containers: [{{name: app, ACTOR, {fields}}}]")).await;
        pod.until("app waits (CrashLoopBackOff)").await;
        let story = pod.stop().await;
        for change in &story.changes("app")[..2] {
            let change = change.to_lowercase();
            assert!(
                change.starts_with("ended with exit code 128 (starterror): cannot ")
                    && change.contains(tried)
                    && why.split('|').any(|why| change.contains(why)),
                "{story}"
            );
        }
        assert!(!story.has("app started"), "{story}");
    }
}

#[tokio::test]
async fn an_image_that_is_not_there() {
    let mut pod = pod("containers:
- {name: never, image: 'sidecar-examples:none', imagePullPolicy: Never}
- {name: pull, image: 'sidecar-examples:none', imagePullPolicy: IfNotPresent}")
    .await;
    pod.until("never waits (ErrImageNeverPull)").await;
    pod.until("pull waits (ErrImagePull)").await;
    let story = pod.stop().await;
    assert!(
        story.has("never waits (ErrImageNeverPull): Container image \"sidecar-examples:none\" is not present with pull policy of Never"),
        "{story}"
    );
}

#[tokio::test]
async fn lines_are_kept_byte_by_byte() {
    // é in UTF-8, a byte that is no UTF-8, a carriage return in the line and one at its end, which
    // container runtimes drop, an empty line, and no newline at the end.
    let lines = lines_of("args: [bytes, 'c3a9ff0d610d0a0a656e64']", "").await;
    assert_eq!(lines, ["é\\xff\ra", "", "end"]);
}

#[tokio::test]
async fn a_program_on_the_path_is_found() {
    let lines = lines_of(
        "command: [actor, say, found], env: [{name: PATH, value: '/none:/etc:/'}]",
        "",
    )
    .await;
    assert_eq!(lines, ["found"]);
}

#[tokio::test]
async fn a_container_has_what_programs_expect() {
    let lines = lines_of(
        "args: [env, PATH, HOME, then, write, /dev/null, x, then, read, /dev/null, then, write, /dev/full, x, then, stat, /dev/shm, then, write, /dev/shm/x, 'y', \
         then, write, /tmp/x, 'y', then, status, SigBlk, Pid, then, read, /dev/stdin, then, list, /proc/self/task]",
        "",
    )
    .await;
    assert_eq!(
        lines,
        [
            "PATH=/",
            "HOME=/",
            "/dev/null: done",
            "/dev/null: ",
            "/dev/full: ENOSPC",
            &format!("/dev/shm: folder 1777 {}", root().await),
            "/dev/shm/x: done",
            "/tmp/x: ENOENT",
            "SigBlk: 0000000000000000",
            // Rust's runtime ignores SIGPIPE; nothing else may be ignored.
            "Pid: 1",
            "/dev/stdin: ",
            "/proc/self/task: 1",
        ]
    );
}

#[tokio::test]
async fn exec_runs_with_the_container_s_surroundings_and_rights() {
    let mut pod = pod(
        "containers:
- name: app
  ACTOR
  args: [say, up, then, wait]
  workingDir: /dev
  env: [{name: NAME, value: Ada}]
  securityContext: {runAsUser: 1234, runAsGroup: 567, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}",
    )
    .await;
    pod.until("app | up").await;
    let words = [
        "/actor",
        "env",
        "NAME",
        "then",
        "cwd",
        "then",
        "status",
        "Uid",
        "Gid",
        "CapBnd",
        "NoNewPrivs",
        "Seccomp",
        "then",
        "read",
        "/dev/stdin",
    ];
    let (code, said) = pod.exec("app", &words).await;
    assert_eq!(
        (code, said.as_str()),
        (
            0,
            "NAME=Ada\ncwd: /dev\nUid: 1234 1234 1234 1234\nGid: 567 567 567 567\nCapBnd: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n/dev/stdin:"
        )
    );
    assert_eq!(pod.exec("app", &["/actor", "exit", "7"]).await.0, 7);
    let (_, seen) = pod.exec("app", &["/actor", "count-processes"]).await;
    assert_eq!(seen, "2 processes", "the container's and this one");
    let (_, attempts) = pod
        .exec("app", &["/actor", "escape", "inherited", "core_pattern"])
        .await;
    assert!(
        attempts.starts_with("write core_pattern: EACCES\n")
            && attempts.contains("inherited descriptors: none"),
        "{attempts}"
    );
    let missing = pod
        .pods
        .exec(
            harness::engine::Target {
                pod: "pod",
                container: "app",
            },
            &["/none".to_owned()],
        )
        .await;
    // Docker tells it as a program's own words.
    let why = match missing {
        Err(error) => format!("{error:#}"),
        Ok((126, said)) => String::from_utf8(said).unwrap(),
        Ok(other) => panic!("{other:?}"),
    };
    let why = why.to_lowercase();
    assert!(
        why.contains("/none") && why.contains("no such file or directory"),
        "{why}"
    );
    pod.stop().await;
}

#[tokio::test]
async fn processes_are_a_container_s_own_unless_they_are_shared() {
    for (share, seen) in [(false, 1), (true, 2 + machine::OWN_PROCESSES)] {
        let mut pod = pod(&format!(
            "shareProcessNamespace: {share}
initContainers: [{{name: first, ACTOR, restartPolicy: Always, args: [wait]}}]
containers: [{{name: app, ACTOR, args: [count-processes, then, wait]}}]"
        ))
        .await;
        pod.until(&format!("app | {seen} processes")).await;
        pod.stop().await;
    }
}

/// A sidecar is no wall: who sees a process and is the same user reads what it has.
#[tokio::test]
async fn shared_processes_are_open_to_the_same_user() {
    for (user, read) in [(65532, 2), (65533, 1)] {
        let mut pod = pod(&format!(
            "shareProcessNamespace: true
initContainers: [{{name: first, ACTOR, restartPolicy: Always, args: [wait]}}]
containers:
- name: app
  ACTOR
  args: [count-environments, then, wait]
  securityContext: {{runAsUser: {user}, capabilities: {{drop: [ALL]}}}}"
        ))
        .await;
        pod.until(&format!("app | {read} environments")).await;
        pod.stop().await;
    }
}

/// What a container's first process leaves behind ends with it, wherever it has gone.
#[tokio::test]
async fn strays_end_with_their_container() {
    for (share, left) in [(false, "2 processes"), (true, "4 processes")] {
        let mut pod = pod(&format!("restartPolicy: Never
shareProcessNamespace: {share}
volumes: [{{name: data, emptyDir: {{}}}}]
containers:
- name: app
  ACTOR
  args: [background, say, stray, and, stay, then, background, leave-session, and, say, far, and, stay, then, await, /data/go, then, exit, '4']
  volumeMounts: [{{name: data, mountPath: /data}}]
- {{name: other, ACTOR, args: [say, up, then, wait], volumeMounts: [{{name: data, mountPath: /data}}]}}"
        ))
        .await;
        for line in ["app | stray", "app | far", "other | up"] {
            pod.until(line).await;
        }
        pod.exec("other", &["/actor", "write", "/data/go", ""])
            .await;
        // The strays hold what the container prints to: it has ended when they have.
        pod.until("app ended with exit code 4 (Error)").await;
        // `other` and this program; and where all are seen, the pod's first process, and the one
        // that waits for this program.
        let (_, seen) = pod.exec("other", &["/actor", "count-processes"]).await;
        assert_eq!(seen, left, "shared: {share}");
        pod.stop().await;
    }
}
