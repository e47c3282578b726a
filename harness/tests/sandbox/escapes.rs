//! Every way out of the sandbox that anyone has thought of, tried from inside.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use linux_keyutils::{KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, Permission};

use crate::machine::{SUPERVISOR, sandbox};
use crate::pods::kit::{self, has_a_single_id, pod, run};

/// What comes of an attempt that leads nowhere, whoever makes it: an error of the kernel, an empty
/// file, what belongs to the container itself.
fn leads_nowhere(outcome: &str) -> bool {
    let is_error = outcome.len() > 3
        && outcome
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_error || ["0 bytes", "none", "of this container"].contains(&outcome)
}

/// Tries all ways with these rights, and asserts that nothing succeeds but what is listed: what a
/// cluster allows with these rights, and what concerns the container alone.
async fn only(security: &str, allowed: &[&str]) {
    let single = sandbox().await.ids().is_single();
    for share in [false, true] {
        let story = run(&format!(
            "restartPolicy: Never\nshareProcessNamespace: {share}\n\
             containers: [{{name: app, ACTOR, args: [escape], securityContext: {{{security}}}}}]"
        ))
        .await;
        let attempts = story.lines("app");
        assert!(attempts.len() > 60, "not all was tried:\n{story}");
        for attempt in &attempts {
            let (name, outcome) = attempt.split_once(": ").unwrap_or((attempt, ""));
            let (name, outcome) = match name {
                "inside" => attempt.rsplit_once(": ").unwrap_or((name, outcome)),
                _ => (name, outcome),
            };
            let expected = leads_nowhere(outcome)
                || outcome == "done" && allowed.contains(&name)
                // To the kernel, a single id is the user who runs the pod. That user's keys have
                // names, which whoever may take a mask away can read.
                || single && allowed.contains(&"mount tmpfs") && name == "take a mask away, read keys";
            assert!(
                expected,
                "{name}: {outcome}\nwith shareProcessNamespace: {share} and {security}\n{story}"
            );
        }
    }
}

/// What no right is needed for: a container's first process, where it sees only its own.
const OWN: &str = "kill the first process";

#[tokio::test]
async fn a_restricted_user_gets_nowhere() {
    only(
        "runAsUser: 65532, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, \
         capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}",
        &[OWN],
    )
    .await;
}

/// What root of a container has by itself, as in a cluster.
const ROOT: [&str; 5] = [
    OWN,
    "become root",
    "write to the root",
    "write /etc/hosts",
    "new user namespace",
];

#[tokio::test]
async fn root_gets_only_into_its_own_container() {
    let granted = [
        "raw socket",
        "packet socket",
        "change the root",
        "join root's group",
    ];
    let allowed: Vec<_> = ROOT
        .into_iter()
        .filter(|way| *way != "new user namespace")
        .chain(granted)
        .collect();
    only(
        "runAsUser: 0, seccompProfile: {type: RuntimeDefault}",
        &allowed,
    )
    .await;
}

/// The id alone opens files of the kernel, if it is the machine's root.
#[tokio::test]
async fn root_without_a_single_capability_is_not_the_machine_s_root() {
    let unfiltered = ["io_uring", "vsock"];
    let allowed: Vec<_> = ROOT.into_iter().chain(unfiltered).collect();
    only("runAsUser: 0, capabilities: {drop: [ALL]}", &allowed).await;
}

#[tokio::test]
async fn a_user_without_a_filter_gets_no_further() {
    only(
        "runAsUser: 65532",
        &[OWN, "new user namespace", "io_uring", "vsock"],
    )
    .await;
}

/// The most that a manifest can ask for: in its own namespaces such a container can do anything,
/// and still nothing to the machine.
#[tokio::test]
async fn every_capability_stays_in_the_pod() {
    let granted = [
        "mount tmpfs",
        "bind the root",
        "make the root writable",
        "make /sys writable",
        "take /proc away",
        "change the root",
        "turn the root",
        "new mount namespace",
        "new PID namespace",
        "new network namespace",
        "new IPC namespace",
        "new UTS namespace",
        "new cgroup namespace",
        "join a mount namespace",
        "join a network namespace",
        "join root's group",
        "name the machine",
        "raw socket",
        "packet socket",
        "io_uring",
        "vsock",
        "inside: make the root writable",
    ];
    let allowed: Vec<_> = ROOT.into_iter().chain(granted).collect();
    only("runAsUser: 0, capabilities: {add: [ALL]}", &allowed).await;
}

/// The texts that would tell of this machine.
fn texts_of_the_machine() -> Vec<String> {
    let mut texts = vec![
        SUPERVISOR.to_owned(),
        env!("CARGO_MANIFEST_DIR").to_owned(),
        std::env::current_exe().unwrap().display().to_string(),
        std::env::current_dir().unwrap().display().to_string(),
        "pod-supervisor".to_owned(),
        ".tar".to_owned(),
    ];
    texts.extend(std::env::var("HOME").ok().filter(|home| home.len() > 1));
    // A shorter name can be a part of what every container has, as `dev` is.
    texts.extend(std::env::var("USER").ok().filter(|user| user.len() > 4));
    texts
}

#[tokio::test]
async fn nothing_tells_of_the_machine() {
    let backwards: Vec<String> = texts_of_the_machine()
        .iter()
        .map(|text| format!("'{}'", text.chars().rev().collect::<String>()))
        .collect();
    for (share, security) in [
        (false, ""),
        (true, ""),
        (true, "runAsUser: 0"),
        (true, "runAsUser: 0, capabilities: {add: [ALL]}"),
    ] {
        let story = run(&format!(
            "restartPolicy: Never\nshareProcessNamespace: {share}\ncontainers: \
             [{{name: app, ACTOR, args: [look-for, {}], securityContext: {{{security}}}}}]",
            backwards.join(", ")
        ))
        .await;
        assert_eq!(
            story.lines("app"),
            ["found: nothing"],
            "with shareProcessNamespace: {share} and {security}"
        );
    }
}

#[tokio::test]
async fn no_path_leads_to_a_file_of_the_machine() {
    let (image, file) = (
        kit::images().await[0].archive.display().to_string(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    );
    let mut attempts = String::new();
    for path in [&image, file, SUPERVISOR] {
        for prefix in [
            "",
            "/proc/1/root",
            "/proc/1/cwd",
            "/..",
            "/proc/self/root/..",
        ] {
            attempts.push_str(&format!("read, '{prefix}{path}', then, "));
        }
    }
    let story = run(&format!(
        "restartPolicy: Never\ncontainers: [{{name: app, ACTOR, args: [{attempts} list, /, then, list, /.., then, list, /dev]}}]"
    ))
    .await;
    let lines = story.lines("app");
    let (listings, reads) = lines
        .split_last_chunk::<3>()
        .map(|(reads, listings)| (listings, reads))
        .unwrap();
    for read in reads {
        assert!(read.ends_with(": ENOENT"), "{read}");
    }
    assert_eq!(
        *listings,
        [
            "/: actor dev etc proc sys",
            "/..: actor dev etc proc sys",
            "/dev: fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
        ]
    );
}

#[tokio::test]
async fn sockets_of_the_machine_are_out_of_reach() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("sandbox-test-{}", std::process::id());
    let _unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let story = run(&format!(
        "restartPolicy: Never\ncontainers: [{{name: app, ACTOR, args: [connect, '{}', then, connect, '@{name}', then, interfaces]}}]",
        tcp.local_addr().unwrap()
    ))
    .await;
    let lines = story.lines("app");
    assert!(
        lines[0].ends_with(": ECONNREFUSED") && lines[1].ends_with(": ECONNREFUSED"),
        "{story}"
    );
    assert_eq!(lines[2], "interfaces: lo");
}

/// Keys are not in any namespace: a process finds those of the session that it was started in.
#[tokio::test]
async fn keys_of_the_session_stay_outside() {
    let kept = KeyRing::from_special_id(KeyRingIdentifier::Session, true).and_then(|ring| {
        let key = ring.add_key("workbook-test", b"a secret of the machine")?;
        // Whoever has the keyring may read it, and nobody else.
        key.set_perms(
            KeyPermissionsBuilder::builder()
                .posessor(Permission::ALL)
                .user(Permission::ALL)
                .build(),
        )?;
        Ok((ring, key))
    });
    let Ok((ring, key)) = kept else {
        eprintln!("left out, since this machine keeps no keys: keys of the session stay outside");
        return;
    };
    let story = run("restartPolicy: Never\ncontainers: [{name: app, ACTOR, args: [escape, keys of the session]}]").await;
    assert!(ring.search("workbook-test").is_ok(), "the key is there");
    ring.unlink_key(key).unwrap();
    assert_eq!(story.lines("app"), ["keys of the session: ENOKEY"]);
}

/// One container plants a link on a volume, and another one mounts what it points to.
#[tokio::test]
async fn a_link_on_a_volume_leads_nowhere() {
    for (target, sub_path) in [
        ("/", "way"),
        ("/proc/1/root", "way"),
        ("../..", "way"),
        ("/etc/hosts", "way"),
        ("..", "way/volumes"),
    ] {
        let mut pod = pod(&format!(
            "terminationGracePeriodSeconds: 1
volumes: [{{name: data, emptyDir: {{}}}}]
initContainers: [{{name: planter, ACTOR, args: [link, '{target}', /data/way], volumeMounts: [{{name: data, mountPath: /data}}]}}]
containers: [{{name: app, ACTOR, args: [list, /way], volumeMounts: [{{name: data, mountPath: /way, subPath: {sub_path}}}]}}]"
        ))
        .await;
        pod.until("app waits (CrashLoopBackOff)").await;
        let story = pod.stop().await;
        assert!(story.lines("app").is_empty(), "{target}: {story}");
        assert!(
            story.changes("app")[0].starts_with(
                "ended with exit code 128 (StartError): cannot mount volume data at /way: "
            ),
            "{target}: {story}"
        );
    }
}

/// Links that stay on the volume are followed, as a node follows them.
#[tokio::test]
async fn a_link_that_stays_on_its_volume_is_followed() {
    let story = run(
        "restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers: [{name: planter, ACTOR, args: [make-folder, /data/real, then, write, /data/real/file, here, then, link, real, /data/way], volumeMounts: [{name: data, mountPath: /data}]}]
containers: [{name: app, ACTOR, args: [read, /way/file], volumeMounts: [{name: data, mountPath: /way, subPath: way}]}]",
    )
    .await;
    assert_eq!(story.lines("app"), ["/way/file: here"], "{story}");
}

/// A link in the container's own files must not make the supervisor mount outside of it.
#[tokio::test]
async fn a_mount_s_place_is_found_inside_the_container() {
    let story = run(
        "restartPolicy: Never
volumes: [{name: data, emptyDir: {}}, {name: inner, emptyDir: {}}]
initContainers: [{name: planter, ACTOR, args: [link, /etc, /data/way], volumeMounts: [{name: data, mountPath: /data}]}]
containers: [{name: app, ACTOR, args: [list, /data/way/there, then, list, /etc], volumeMounts: [{name: data, mountPath: /data}, {name: inner, mountPath: /data/way/there}]}]",
    )
    .await;
    let lines = story.lines("app");
    assert_eq!(lines[0], "/data/way/there: ", "{story}");
    let mut names: Vec<_> = lines[1].split(' ').skip(1).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["hostname", "hosts", "resolv.conf", "there"],
        "{story}"
    );
}

#[tokio::test]
async fn a_container_that_restarts_its_machine_restarts_nothing() {
    if has_a_single_id("a container that restarts its machine").await {
        return;
    }
    let mut pod = pod(
        "containers:
- {name: app, ACTOR, args: [wait]}
- {name: bad, ACTOR, args: [escape, restart the machine, then, wait], securityContext: {runAsUser: 0, capabilities: {add: [SYS_BOOT]}}}",
    )
    .await;
    pod.until("bad | restart the machine").await;
    let story = pod.stop().await;
    assert_eq!(story.lines("app"), ["SIGTERM"]);
}
