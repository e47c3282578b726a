//! Small pods made to tell engines apart: every other engine must do with each what a real cluster
//! does.
//!
//! A case is a pod, and what is done while it runs. It is played on all engines, and what each
//! container printed and how it ended must be the same, word for word.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness::diagnosis::in_words;
use harness::engine::{Change, Docker, Engine, Kind, PodChange, Sandbox, What};
use harness::image::Image;
use harness::manifest::Manifest;
use harness::recording::Recording;
use harness::run::Plan;
use harness::scenario::Scenario;
use harness::workspace::Workspace;
use similar::TextDiff;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// As many cases are played at once: most of them wait for something.
const SIDE_BY_SIDE: usize = 8;

/// A name, a pod's spec with `ACTOR` for the image, further objects after `---`, manifests that steps
/// apply after `=== NAME`, and the steps of a scenario. The pod has 60 s to end, of which one that listens to SIGTERM needs none. A first line `JOB`
/// makes it the pod of a Job, with the fields behind it, between which `; ` stands.
const CASES: &[(&str, &str, &str)] = &[
    (
        "exit codes",
        "restartPolicy: Never
containers:
- {name: zero, ACTOR, args: [say, done]}
- {name: three, ACTOR, args: [exit, '3']}
- {name: killed, ACTOR, args: [say, up, then, stay]}",
        "[[step]]
wait = { container = 'killed', line = 'up' }
[[step]]
kill = { container = 'killed', signal = 'SIGKILL' }
wait = { pod = 'failed' }",
    ),
    (
        "restarts",
        "restartPolicy: OnFailure
volumes: [{name: count, emptyDir: {}}]
containers:
- {name: fails, ACTOR, args: [say, again, then, linger, '2000', then, turn, /count/turn, '1', '1', '0'], volumeMounts: [{name: count, mountPath: /count}]}",
        "[[step]]
wait = { container = 'fails', state = 'started', times = 3 }
[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "init containers and sidecars, from start to end",
        "restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
initContainers:
- {name: prepare, ACTOR, args: [write, /data/prepared, 'yes'], volumeMounts: [{name: data, mountPath: /data}]}
- name: first
  ACTOR
  restartPolicy: Always
  args: [read, /data/prepared, then, write, /data/first, up, then, wait]
  startupProbe: {exec: {command: [/actor, await, /data/first]}, periodSeconds: 1, failureThreshold: 60}
  lifecycle: {preStop: {exec: {command: [/actor, write, /data/hook, ran]}}}
  volumeMounts: [{name: data, mountPath: /data}]
- {name: second, ACTOR, restartPolicy: Always, args: [read, /data/first, then, wait, then, read, /data/app], volumeMounts: [{name: data, mountPath: /data}]}
containers:
- {name: app, ACTOR, args: [read, /data/first, then, say, up, then, wait, then, await, /data/hook, then, write, /data/app, ended], volumeMounts: [{name: data, mountPath: /data}]}",
        "[[step]]
wait = { container = 'app', line = 'up' }
[[order]]
first = { container = 'prepare', state = 'ended' }
then = { container = 'first', state = 'started' }
[[order]]
first = { container = 'first', state = 'started' }
then = { container = 'app', state = 'started' }",
    ),
    (
        "a job's sidecar ends with its app",
        "restartPolicy: Never
initContainers:
- {name: sidecar, ACTOR, restartPolicy: Always, args: [say, up, then, wait]}
containers:
- {name: job, ACTOR, args: [say, done]}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "a Job is complete when its app has ended",
        "JOB backoffLimit: 0
restartPolicy: Never
initContainers:
- {name: sidecar, ACTOR, restartPolicy: Always, args: [say, up, then, wait]}
containers:
- {name: app, ACTOR, args: [say, done]}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "a Job whose pod fails",
        "JOB backoffLimit: 0
restartPolicy: Never
containers:
- {name: app, ACTOR, args: [say, up, then, exit, '3']}",
        "[[step]]
wait = { pod = 'failed' }",
    ),
    (
        "a Job whose container is started again",
        "JOB backoffLimit: 2
restartPolicy: OnFailure
volumes: [{name: count, emptyDir: {}}]
containers:
- {name: app, ACTOR, args: [linger, '2000', then, turn, /count/turn, '3', '0'], volumeMounts: [{name: count, mountPath: /count}]}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "a Job whose container is started again once too often",
        // How far its second life has come when it is told to end is up to the machine: it does not
        // listen to that.
        "JOB backoffLimit: 1
restartPolicy: OnFailure
terminationGracePeriodSeconds: 15
volumes: [{name: count, emptyDir: {}}]
containers:
- {name: app, ACTOR, args: [linger, '2000', then, turn, /count/turn, '3', then, say, again, then, stay], volumeMounts: [{name: count, mountPath: /count}]}",
        "[[step]]
wait = { pod = 'failed' }",
    ),
    (
        "a Job that does not end in time",
        "JOB backoffLimit: 0; activeDeadlineSeconds: 30
restartPolicy: Never
containers:
- {name: app, ACTOR, args: [say, done]}
- {name: sidecar, ACTOR, args: [say, up, then, wait]}",
        "[[step]]
wait = { pod = 'failed' }",
    ),
    (
        "a Job that is told to end",
        "JOB backoffLimit: 0
restartPolicy: Never
containers:
- {name: app, ACTOR, args: [say, up, then, wait]}",
        "[[step]]
wait = { container = 'app', line = 'up' }
[[step]]
exec = { container = 'app', command = ['/actor', 'say', 'here'] }",
    ),
    (
        "an init container that fails",
        "restartPolicy: Never
initContainers: [{name: prepare, ACTOR, args: [exit, '7']}]
containers: [{name: app, ACTOR, args: [say, never]}]",
        "[[step]]
wait = { pod = 'failed' }",
    ),
    (
        "a program without handlers is killed after its grace",
        "terminationGracePeriodSeconds: 2
containers: [{name: deaf, ACTOR, args: [say, up, then, stay]}]",
        "[[step]]
wait = { container = 'deaf', line = 'up' }",
    ),
    (
        "who owns files, without fsGroup",
        "restartPolicy: Never
volumes: [{name: data, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}]
initContainers:
- {name: one, ACTOR, securityContext: {runAsUser: 1000, runAsGroup: 1000}, args: [stat, /data, then, write, /data/file, one, then, make-folder, /data/folder, then, stat, /data/file, then, stat, /data/folder], volumeMounts: [{name: data, mountPath: /data}]}
containers:
- {name: other, ACTOR, securityContext: {runAsUser: 2000, runAsGroup: 2000}, args: [read, /data/file, then, append, /data/file, other, then, write, /data/folder/file, other, then, write, /data/other, other, then, stat, /data/other, then, stat, /memory], volumeMounts: [{name: data, mountPath: /data}, {name: memory, mountPath: /memory}]}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "who owns files, with fsGroup",
        "restartPolicy: Never
securityContext: {fsGroup: 3000, supplementalGroups: [4000]}
volumes:
- {name: data, emptyDir: {}}
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: secret, secret: {secretName: keys, defaultMode: 0400}}
containers:
- name: app
  ACTOR
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  args: [status, Uid, Gid, Groups, then, stat, /data, then, write, /data/file, x, then, stat, /data/file, then, stat, /memory, then, fill, /memory/file, '2', then, stat, /secret/key, then, read, /secret/key]
  volumeMounts: [{name: data, mountPath: /data}, {name: memory, mountPath: /memory}, {name: secret, mountPath: /secret}]
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: hidden}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "variables",
        "restartPolicy: Never
containers:
- name: app
  ACTOR
  command: [/actor]
  args: [say, '$(NAME)', '$$(NAME)', '$(NONE)', 'a$(NAME)b', then, env, NAME, SECOND, EARLY, color, PREFIX_size, CHOSEN, POD, LABEL, LIMIT, REQUEST, HOSTNAME, PATH, HOME]
  resources: {limits: {memory: 64Mi, cpu: 500m}, requests: {memory: 32Mi}}
  envFrom: [{configMapRef: {name: settings}}, {prefix: PREFIX_, configMapRef: {name: settings}}]
  env:
  - {name: EARLY, value: '$(NAME)'}
  - {name: NAME, value: ada}
  - {name: SECOND, value: '$(NAME)-$(color)'}
  - {name: CHOSEN, valueFrom: {configMapKeyRef: {name: settings, key: size}}}
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: LABEL, valueFrom: {fieldRef: {fieldPath: 'metadata.labels[''tier'']'}}}
  - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - {name: REQUEST, valueFrom: {resourceFieldRef: {resource: requests.memory}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, size: '7'}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "volumes of objects",
        "restartPolicy: Never
volumes:
- {name: map, configMap: {name: settings, items: [{key: color, path: a/color}, {key: size, path: size, mode: 0400}]}}
- {name: all, configMap: {name: settings, defaultMode: 0640}}
- {name: data, emptyDir: {}}
containers:
- name: app
  ACTOR
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  args: [read, /map/a/color, then, stat, /map/a/color, then, stat, /map/size, then, read, /map/size, then, stat, /all/color, then, write, /all/color, x, then, read, /one, then, write, /data/x, z, then, list, /part, then, write, /fixed/x, z, then, stat, /part]
  volumeMounts:
  - {name: map, mountPath: /map}
  - {name: all, mountPath: /all}
  - {name: all, mountPath: /one, subPath: color}
  - {name: data, mountPath: /data}
  - {name: data, mountPath: /part, subPath: a/b}
  - {name: data, mountPath: /fixed, readOnly: true}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, size: '7'}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "rights of a restricted user, of root, and of whoever is left alone",
        "restartPolicy: Never
containers:
- name: restricted
  ACTOR
  securityContext: {runAsUser: 65532, runAsGroup: 65532, runAsNonRoot: true, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
  args: [status, Uid, Gid, Groups, CapInh, CapPrm, CapEff, CapBnd, CapAmb, NoNewPrivs, Seccomp, then, write, /file, x]
- name: root
  ACTOR
  securityContext: {runAsUser: 0, runAsGroup: 0, capabilities: {drop: [ALL], add: [CHOWN]}}
  args: [status, Uid, Gid, Groups, CapPrm, CapEff, CapBnd, NoNewPrivs, Seccomp, then, write, /file, x, then, own, /file, '5', '5', then, stat, /file]
- name: alone
  ACTOR
  args: [status, Uid, Gid, CapPrm, CapEff, CapBnd, NoNewPrivs, Seccomp, then, cwd, then, write, /file, x]
- {name: folder, ACTOR, workingDir: /work/here, args: [cwd, then, stat, /work/here]}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "bytes and streams",
        "restartPolicy: Never
containers:
- {name: bytes, ACTOR, args: [bytes, '68e4fffe0d0a', then, bytes, '0a', then, say, '', ' two ', then, bytes, '6e6f206e65776c696e65']}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "one network, a low port, and who is who",
        "restartPolicy: Never
hostname: here
hostAliases: [{ip: 127.0.0.7, hostnames: [other]}]
initContainers:
- {name: server, ACTOR, restartPolicy: Always, args: [serve, '0.0.0.0:80', then, wait], startupProbe: {httpGet: {port: 80, path: /probe}, periodSeconds: 1, failureThreshold: 60}}
containers:
- {name: client, ACTOR, args: [get, 'localhost:80', /a, then, get, 'other:80', /b, then, connect, 'localhost:81', then, count-processes, then, env, HOSTNAME]}",
        "[[step]]
wait = { pod = 'succeeded' }",
    ),
    (
        "what a probe can reach",
        "containers:
- {name: everywhere, ACTOR, args: [serve, '0.0.0.0:8080', then, wait], readinessProbe: {httpGet: {port: 8080, path: /probe}, periodSeconds: 1, failureThreshold: 60}}
- {name: inside, ACTOR, args: [serve, '127.0.0.1:8081', then, wait], readinessProbe: {httpGet: {port: 8081, path: /probe}, periodSeconds: 1, failureThreshold: 1000}}
- {name: by-hand, ACTOR, args: [serve, '127.0.0.1:8082', then, wait], readinessProbe: {exec: {command: [/actor, connect, '127.0.0.1:8082']}, periodSeconds: 1, failureThreshold: 60}}
- {name: socket, ACTOR, args: [serve, '0.0.0.0:8083', then, wait], readinessProbe: {tcpSocket: {port: 8083}, periodSeconds: 1, failureThreshold: 60}}
- {name: broken, ACTOR, args: [serve, '0.0.0.0:8084', 404 Not Found, then, wait], readinessProbe: {httpGet: {port: 8084}, periodSeconds: 1, failureThreshold: 1000}}
",
        "[[step]]
wait = { container = 'everywhere', state = 'ready' }
[[step]]
wait = { container = 'by-hand', state = 'ready' }
[[step]]
wait = { container = 'socket', state = 'ready' }
[[step]]
wait = { container = 'broken', line = 'GET / HTTP/1.1', times = 2 }",
    ),
    (
        "a probe that fails restarts its container alone",
        // It has time: on a busy machine, a probe that is late would be one that fails.
        "volumes: [{name: data, emptyDir: {}}]
containers:
- {name: sick, ACTOR, args: [say, up, then, wait], livenessProbe: {exec: {command: [/actor, turn, /data/turns, '0', '1']}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}, volumeMounts: [{name: data, mountPath: /data}]}
- {name: well, ACTOR, args: [say, up, then, wait], livenessProbe: {exec: {command: [/actor, exit, '0']}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1}}",
        "[[step]]
wait = { container = 'sick', line = 'up', times = 2 }",
    ),
    (
        "signals, and one container killed among others",
        "terminationGracePeriodSeconds: 4
containers:
- {name: killed, ACTOR, args: [say, up, then, stay]}
- {name: told, ACTOR, args: [say, up, then, wait]}
- {name: other, ACTOR, args: [say, up, then, wait]}",
        "[[step]]
wait = { container = 'killed', line = 'up' }
[[step]]
wait = { container = 'told', line = 'up' }
[[step]]
wait = { container = 'other', line = 'up' }
[[step]]
kill = { container = 'killed', signal = 'SIGKILL' }
wait = { container = 'killed', line = 'up', times = 2 }
[[step]]
kill = { container = 'told', signal = 'SIGTERM' }
wait = { container = 'told', line = 'up', times = 2 }",
    ),
    (
        "a program that is not there",
        "restartPolicy: Never
containers: [{name: app, ACTOR, command: [/none]}]",
        "[[step]]
wait = { container = 'app', state = 'ended', exit-code = 128, reason = 'StartError' }
[[step]]
wait = { pod = 'failed' }",
    ),
    (
        "several pods, and the names of Services",
        "initContainers:
- {name: app, ACTOR, restartPolicy: Always, args: [serve, '0.0.0.0:8081', then, wait], startupProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, failureThreshold: 60}}
containers:
- {name: client, ACTOR, args: [resolve, peers, '1', then, get, 'peers:8080', /a, then, resolve, everyone, '2', then, get, 'pod:8081', /b, then, resolve, peers, '2', then, say, 'two are there', then, resolve, peers, '1', then, say, 'one is deleted', then, resolve, peers, '0', then, say, 'the other is killed', then, wait]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {role: peer}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: everyone}
spec: {clusterIP: None, selector: {role: peer}, publishNotReadyAddresses: true}
---
apiVersion: v1
kind: Service
metadata: {name: pod}
spec: {clusterIP: None, selector: {role: nobody}}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {role: peer}}
spec:
  terminationGracePeriodSeconds: 60
  initContainers: [{name: sidecar, ACTOR, restartPolicy: Always, args: [say, up, then, wait], lifecycle: {preStop: {sleep: {seconds: 1}}}}]
  containers: [{name: app, ACTOR, args: [serve, '0.0.0.0:8080', then, wait], readinessProbe: {httpGet: {port: 8080, path: /probe}, periodSeconds: 1, failureThreshold: 60}}]
---
apiVersion: v1
kind: Pod
metadata: {name: unready, labels: {role: peer}}
spec:
  terminationGracePeriodSeconds: 60
  containers: [{name: app, ACTOR, args: [serve, '0.0.0.0:8080', then, wait], readinessProbe: {exec: {command: [/actor, exit, '1']}, periodSeconds: 1}}]
=== two
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {role: peer}}
spec:
  terminationGracePeriodSeconds: 4
  restartPolicy: Never
  initContainers: [{name: sidecar, ACTOR, restartPolicy: Always, args: [say, up, then, wait], lifecycle: {preStop: {exec: {command: [/actor, exit, '0']}}}}]
  containers: [{name: app, ACTOR, args: [serve, '0.0.0.0:8080', then, stay]}]
",
        "engines = ['docker', 'kind']
[[step]]
wait = { container = 'client', line = 'everyone leads to 2' }
[[step]]
apply = 'two'
wait = { container = 'client', line = 'two are there' }
[[step]]
delete = { pod = 'one' }
wait = { container = 'client', line = 'one is deleted' }
[[step]]
kill = { pod = 'two' }
wait = { container = 'client', line = 'the other is killed' }",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn plan(name: &str, spec: &str, steps: &str, images: &[Image]) -> Plan {
    let mut parts = spec.split("\n=== ");
    let spec = parts.next().unwrap_or_default();
    let (spec, objects) = spec.split_once("\n---").unwrap_or((spec, ""));
    let image = "image: 'sidecar-examples:actor', imagePullPolicy: Never";
    let block = "\n  image: 'sidecar-examples:actor'\n  imagePullPolicy: Never\n";
    let grace = if spec.contains("terminationGracePeriodSeconds") {
        ""
    } else {
        "terminationGracePeriodSeconds: 60\n"
    };
    let spec = spec.replace("\n  ACTOR\n", block).replace("ACTOR", image);
    let objects = objects.replace("ACTOR", image);
    let job = spec
        .strip_prefix("JOB")
        .and_then(|job| job.split_once('\n'));
    let text = match job {
        None => format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod, labels: {{tier: test}}}}\nspec:\n  {}\n---{objects}\n",
            format!("{grace}{spec}").replace('\n', "\n  ")
        ),
        Some((fields, spec)) => format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: pod}}\nspec:\n {}\n  template:\n    spec:\n      {}\n---{objects}\n",
            fields.replace("; ", "\n  "),
            format!("{grace}{spec}").replace('\n', "\n      ")
        ),
    };
    let later = parts.map(|part| {
        let (name, text) = part.split_once('\n').unwrap();
        let manifest = Manifest::parse(name, &text.replace("ACTOR", image));
        let manifest = manifest.unwrap_or_else(|problems| panic!("{problems}"));
        (name.to_owned(), manifest)
    });
    let scenario =
        format!("shows = \"{name}\"\npod-security = 'privileged'\ntimeout = '200s'\n{steps}");
    Plan {
        chapter: Workspace::at(root()).select("2").unwrap().remove(0),
        name: name.to_owned(),
        scenario: Scenario::parse(&scenario).unwrap_or_else(|error| panic!("{name}: {error:#}")),
        manifest: Manifest::parse("pod.yaml", &text)
            .unwrap_or_else(|problems| panic!("{name}: {problems}\n{text}")),
        later: later.collect(),
        images: images.to_vec(),
        discards: false,
    }
}

/// What a case came to, in lines that are the same on every engine.
async fn play(plan: &Plan, engine: &dyn Engine) -> String {
    let (_ask, interrupt) = watch::channel(false);
    let outcome = plan.run(engine, interrupt, &mut |_| {}).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error:#}", plan.name));
    let mut story = String::new();
    if let Some(failure) = &outcome.failure {
        writeln!(story, "failed: {failure}").unwrap();
    }
    for lack in outcome.lost.iter().chain(&outcome.recording.incomplete) {
        writeln!(story, "lacks: {lack}").unwrap();
    }
    let has_probes = plan.manifest.text.contains("readinessProbe");
    let has_probes = has_probes && plan.pods().len() == 1;
    story.push_str(&tell(&outcome.recording, has_probes));
    story
}

/// Whether a container was ready can be told only of one that stays.
fn tell(recording: &Recording, tell_ready: bool) -> String {
    let mut story = String::new();
    let names = recording.containers().into_iter();
    let mut names = Vec::from_iter(names.map(|(pod, name)| format!("{pod}/{name}")));
    names.sort_unstable();
    for name in &names {
        writeln!(story, "{name}").unwrap();
        let mut asked = BTreeSet::new();
        for (_, change) in recording.changes(name) {
            let words = match change {
                Change::Line(line) => format!("| {}", line.0.escape_ascii()),
                Change::Started { .. } | Change::Ended { .. } => in_words(change).unwrap(),
                // How long somebody waits, and for what, is each engine's own affair.
                Change::Waiting { .. } | Change::Ready(_) | Change::Unhealthy { .. } => continue,
            };
            // How often a probe asks, and whether once more at the end, time decides.
            if words.starts_with("| GET ") && !asked.insert(words.clone()) {
                continue;
            }
            // What a program that cannot be started is said to lack is each runtime's own words.
            let words = words.split(" (StartError)").next().unwrap_or_default();
            writeln!(story, "  {words}").unwrap();
        }
        if tell_ready {
            let ready = |(_, change): (_, &Change)| matches!(change, Change::Ready(true));
            let was = recording.changes(name).any(ready);
            writeln!(story, "  was ready: {was}").unwrap();
        }
    }
    let end = recording.events.iter().find_map(|event| match event.what {
        What::Pod(PodChange::Succeeded) => Some("the pod has succeeded"),
        _ => None,
    });
    story.push_str(end.unwrap_or("the pod has failed, or was ended"));
    story
}

#[tokio::test]
async fn every_engine_does_what_a_cluster_does() {
    let images = tokio::task::spawn_blocking(|| {
        harness::image::build(&root(), "actor", &mut |_| {})
            .unwrap_or_else(|error| panic!("{error}"))
    });
    let images = images.await.unwrap();
    let node_image = std::env::var("WORKBOOK_NODE_IMAGE").ok();
    let kind = Kind::new(node_image.as_deref(), &mut |line| eprintln!("{line}"))
        .await
        .unwrap();
    let kind: Arc<dyn Engine> = Arc::new(kind);
    let docker = Docker::new(&root(), |_| {}).await.unwrap();
    let mut others: Vec<Arc<dyn Engine>> = vec![Arc::new(docker)];
    let sandbox = Sandbox::new(PathBuf::from(env!("CARGO_BIN_EXE_pod-supervisor")))
        .await
        .unwrap_or_else(|forbidden| panic!("{forbidden}"));
    if sandbox.ids().is_single() {
        eprintln!("left out: with a single user id the sandbox refuses some of these pods");
    } else {
        others.push(Arc::new(sandbox));
    }
    let (mut cases, turns) = (JoinSet::new(), Arc::new(Semaphore::new(SIDE_BY_SIDE)));
    // `PARITY=several` plays only the cases with that in their names.
    let wanted = std::env::var("PARITY").unwrap_or_default();
    let wanted = CASES.iter().filter(|(name, ..)| name.contains(&wanted));
    for (name, spec, steps) in wanted {
        let plan = plan(name, spec, steps, &images);
        let (kind, others, turns) = (kind.clone(), others.clone(), turns.clone());
        cases.spawn(async move {
            let _turn = turns.acquire().await;
            let there = play(&plan, kind.as_ref()).await;
            let mut differences = String::new();
            for engine in others {
                if !plan.scenario.engines.contains(&engine.kind()) {
                    continue;
                }
                let here = play(&plan, engine.as_ref()).await;
                let diff = TextDiff::from_lines(&there, &here);
                let mut diff = diff.unified_diff();
                let engine = format!("{} on {}", plan.name, engine.kind());
                differences += &diff.header("the cluster", &engine).to_string();
            }
            differences
        });
    }
    let mut differences = String::new();
    while let Some(case) = cases.join_next().await {
        differences += &case.unwrap();
    }
    assert!(differences.is_empty(), "\n{differences}");
}
