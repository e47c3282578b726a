//! Manifests: what is wrong is told by place, path and mend; what an engine cannot do is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use harness::engine::EngineKind::{self, Docker, Kind, Sandbox};
use harness::manifest::{Manifest, PodSecurity};

/// A pod that every engine runs and every level lets in. `{…}` marks the places that tests fill.
const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  volumes:
    - name: shared-logs
      emptyDir: {}
  containers:
    - name: app
      image: sidecar-examples:app
      imagePullPolicy: Never
      volumeMounts:
        - {name: shared-logs, mountPath: /logs}
      resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {cpu: 100m, memory: 32Mi}}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
";

/// `POD` with more lines at its end: further fields of its container.
fn with(container_fields: &str) -> String {
    let mut text = POD.to_owned();
    for line in container_fields.lines() {
        text.push_str(&format!("      {line}\n"));
    }
    text
}

/// `POD` with one part replaced by another.
fn replaced(part: &str, other: &str) -> String {
    assert!(POD.contains(part), "{part}");
    POD.replacen(part, other, 1)
}

/// What is said of a manifest that no cluster would take.
fn wrong(text: &str) -> String {
    match Manifest::parse("pod.yaml", text) {
        Ok(_) => panic!("this was taken:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

/// What an engine, or a namespace of a level, says of a manifest.
fn refused(text: &str, engine: EngineKind, level: PodSecurity) -> String {
    let manifest =
        Manifest::parse("pod.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    match manifest.check(engine, level) {
        Ok(()) => panic!("this was not refused:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

#[track_caller]
fn assert_says(said: &str, signs: &[&str]) {
    for sign in signs {
        assert!(said.contains(sign), "it does not say {sign:?}:\n{said}");
    }
}

#[test]
fn a_good_pod_is_good_everywhere() {
    let manifest = Manifest::parse("pod.yaml", POD).unwrap();
    assert_eq!(
        manifest.pods[0].spec.containers[0].volume_mounts[0].mount_path,
        "/logs"
    );
    assert_eq!(manifest.objects[0].value["metadata"]["name"], "web");
    assert_eq!(manifest.text, POD);
    for engine in EngineKind::ALL {
        manifest.check(engine, PodSecurity::Restricted).unwrap();
    }
}

#[test]
fn a_problem_is_shown_with_its_place() {
    let said = wrong(&replaced("volumeMounts", "volumeMount"));
    insta::assert_snapshot!(said, @r"
    pod.yaml:14:7: spec.containers[0].volumeMount: unknown field
        |
     14 |       volumeMount:
        |       ^
      help: did you mean `volumeMounts`?
    ");
}

#[test]
fn what_a_cluster_would_not_take() {
    let cases: &[(String, &[&str])] = &[
        ("a: [1\nb: 2".to_owned(), &["pod.yaml:2:", "not YAML"]),
        (String::new(), &["the manifest has no Pod; it has nothing"]),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n".to_owned(),
            &["it has ConfigMap"],
        ),
        (
            "apiVersion: v1\nkind: Pob\nmetadata: {name: a}\n".to_owned(),
            &["there is no kind `Pob`", "`Pod`"],
        ),
        (
            replaced("apiVersion: v1", "apiVersion: v2"),
            &["pod.yaml:1:13", "of apiVersion v1, not `v2`"],
        ),
        (
            replaced("  name: web", "  name: Web"),
            &["metadata.name", "DNS"],
        ),
        (
            replaced("  name: web", "  labels: {a: b}"),
            &["it has no name"],
        ),
        (
            replaced("name: app\n", "name: my_app\n"),
            &["spec.containers[0].name", "DNS label"],
        ),
        (
            replaced("imagePullPolicy: Never", "imagePullPolicy: never"),
            &["unsupported value `never`", "did you mean `Never`?"],
        ),
        (
            replaced("{name: shared-logs, ", "{name: shared-log, "),
            &[
                "volumeMounts[0].name",
                "not found: \"shared-log\"",
                "`shared-logs`",
            ],
        ),
        (
            replaced("mountPath: /logs", "mountPath: /logs, subPath: ../x"),
            &["without `..`"],
        ),
        (
            replaced("emptyDir: {}", "emptyDir: {}\n      configMap: {name: a}"),
            &["more than 1 volume type"],
        ),
        (
            replaced("emptyDir: {}", "emptyDir: {sizeLimit: 1 Mi}"),
            &["`1 Mi` is not a quantity"],
        ),
        (
            replaced("memory: 8Mi", "memory: 64Mi"),
            &["less than or equal to the memory limit"],
        ),
        (
            replaced("runAsUser: 65532", "runAsUser: nobody"),
            &["expected a whole number, found a string"],
        ),
        (
            replaced("runAsUser: 65532", "runAsUser: -1"),
            &["between 0 and 2147483647"],
        ),
        (
            replaced("spec:\n", "spec:\n  volumeMounts: []\n"),
            &["`volumeMounts` belongs to spec.containers[]"],
        ),
        (
            replaced("spec:\n", "spec:\n  restartPolicy: Sometimes\n"),
            &["`Always`, `OnFailure`, `Never`"],
        ),
        (
            replaced("spec:\n", "spec:\n  terminationGracePeriodSeconds: -1\n"),
            &["greater than or equal to 0"],
        ),
        (
            replaced(
                "spec:\n",
                "spec:\n  hostAliases: [{ip: here, hostnames: [a]}]\n",
            ),
            &["valid IP address"],
        ),
        (
            replaced(
                "spec:\n",
                "spec:\n  initContainers: [{name: app, image: a}]\n",
            ),
            &["duplicate value: `app`"],
        ),
        (
            replaced(
                "spec:\n",
                "spec:\n  initContainers: [{name: init, image: a, livenessProbe: {tcpSocket: {port: 1}}}]\n",
            ),
            &[
                "initContainers[0].livenessProbe",
                "without restartPolicy=Always",
            ],
        ),
        (
            with("env: [{name: A, value: 1}]"),
            &[
                "env[0].value",
                "expected a string, found a number",
                "in quotes",
            ],
        ),
        (
            with("env: [{name: A, value: yes}]"),
            &["expected a string, found a boolean"],
        ),
        (
            with("env: [{name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
            &["may not be specified when `value`"],
        ),
        (
            with("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.nam}}}]"),
            &["did you mean `metadata.name`?"],
        ),
        (
            with("env: [{name: A, valueFrom: {}}]"),
            &["must specify one of its fields"],
        ),
        (
            with("envFrom: [{prefix: A}]"),
            &["must specify one of its fields"],
        ),
        (
            with("ports: [{containerPort: 0}]"),
            &["between 1 and 65535"],
        ),
        (
            with("ports: [{containerPort: 1, name: Web}]"),
            &["no port name"],
        ),
        (
            with("livenessProbe: {periodSeconds: 1}"),
            &["must specify one of its fields", "exec, httpGet"],
        ),
        (
            with("livenessProbe: {exec: {command: [/a]}, tcpSocket: {port: 1}}"),
            &["may not specify more than one"],
        ),
        (
            with("livenessProbe: {exec: {command: [/a]}, successThreshold: 2}"),
            &["must be 1"],
        ),
        (
            with("livenessProbe: {exec: {command: [/a]}, periodSeconds: 0}"),
            &["greater than or equal to 1"],
        ),
        (
            with("lifecycle: {preStop: {sleep: {seconds: 31}}}"),
            &["terminationGracePeriodSeconds (30)"],
        ),
        (
            with("lifecycle: {preStop: {}}"),
            &["must specify one of its fields"],
        ),
        (
            with("args: hello"),
            &["args", "expected a list, found a string"],
        ),
        (
            with("args: [1]"),
            &["args[0]", "expected a string, found a number"],
        ),
        (with("stdin: \"no\""), &["expected true or false"]),
        (
            with("imagePullPolicy: Always"),
            &["`imagePullPolicy` stands here a second time"],
        ),
        (
            format!(
                "{POD}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\ndata: {{k: '%'}}\n"
            ),
            &["not base64", "stringData"],
        ),
        (
            format!(
                "{POD}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{'a b': c}}\n"
            ),
            &["no valid key"],
        ),
        (
            format!(
                "{POD}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{a: 1}}\n"
            ),
            &["expected a string, found a number"],
        ),
    ];
    for (text, signs) in cases {
        assert_says(&wrong(text), signs);
    }
}

#[test]
fn all_problems_are_told_at_once_in_their_order() {
    let said = wrong(
        &replaced("mountPath: /logs", "mountPaht: /logs").replace("  name: web", "  name: Web"),
    );
    let places: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("pod.yaml:")?.split(':').next())
        .collect();
    assert_eq!(places, ["4", "15", "15"], "{said}");
}

#[test]
fn fields_that_only_a_cluster_supports() {
    let cases: &[(String, &[&str])] = &[
        (
            with("livenessProbe: {grpc: {port: 9000}}"),
            &[
                "spec.containers[0].livenessProbe.grpc",
                "{\"port\":9000}",
                "--engine kind",
            ],
        ),
        (
            with("livenessProbe: {httpGet: {port: 1, scheme: HTTPS}}"),
            &["httpGet.scheme: HTTPS"],
        ),
        (
            with("livenessProbe: {httpGet: {port: 1, host: example.org}}"),
            &["httpGet.host: example.org"],
        ),
        (
            with("restartPolicy: OnFailure"),
            &["spec.containers[0].restartPolicy: OnFailure"],
        ),
        (with("tty: true"), &["spec.containers[0].tty: true"]),
        (
            with("terminationMessagePath: /x"),
            &["terminationMessagePath"],
        ),
        (
            with("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]"),
            &["fieldPath: status.hostIP"],
        ),
        (replaced("Never", "Always"), &["imagePullPolicy: Always"]),
        (
            replaced("emptyDir: {}", "hostPath: {path: /}"),
            &["spec.volumes[0].hostPath"],
        ),
        (
            replaced("emptyDir: {}", "emptyDir: {medium: HugePages}"),
            &["emptyDir.medium: HugePages"],
        ),
        (
            replaced("spec:\n", "spec:\n  hostNetwork: true\n"),
            &["spec.hostNetwork: true"],
        ),
        (
            replaced("spec:\n", "spec:\n  nodeName: here\n"),
            &["spec.nodeName"],
        ),
        (
            replaced(
                "limits: {cpu: 100m,",
                "limits: {cpu: 100m, ephemeral-storage: 1Gi,",
            ),
            &["limits.ephemeral-storage"],
        ),
        (
            format!("{POD}---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: a}}\n"),
            &["kind: Job"],
        ),
    ];
    for (text, signs) in cases {
        for engine in [Sandbox, Docker] {
            assert_says(&refused(text, engine, PodSecurity::Privileged), signs);
        }
        let manifest = Manifest::parse("pod.yaml", text).unwrap();
        manifest.check(Kind, PodSecurity::Privileged).unwrap();
    }
    let two = format!("{POD}---\n{}", POD.replace("name: web", "name: other"));
    assert_says(
        &refused(&two, Sandbox, PodSecurity::Restricted),
        &["a second Pod, other"],
    );
}

#[test]
fn defaults_written_out_are_supported() {
    let spelled = with("stdin: false\ntty: false\nenv: [{name: A, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: \"metadata.labels['a']\"}}}]")
        .replace("spec:\n", "spec:\n  hostNetwork: false\n  dnsPolicy: ClusterFirst\n  restartPolicy: Always\n  nodeSelector:\n");
    Manifest::parse("pod.yaml", &spelled)
        .unwrap()
        .check(Sandbox, PodSecurity::Restricted)
        .unwrap();
}

#[test]
fn what_pod_security_refuses() {
    let baseline: &[(String, &str)] = &[
        (
            replaced("spec:\n", "spec:\n  hostNetwork: true\n"),
            "hostNetwork=true",
        ),
        (
            replaced("emptyDir: {}", "hostPath: {path: /}"),
            "hostPath volumes",
        ),
        (
            replaced("allowPrivilegeEscalation: false", "privileged: true"),
            "privileged",
        ),
        (replaced("drop: [ALL]", "add: [SYS_ADMIN]"), "\"SYS_ADMIN\""),
        (
            replaced("type: RuntimeDefault", "type: Unconfined"),
            "seccompProfile",
        ),
        (with("ports: [{containerPort: 1, hostPort: 1}]"), "hostPort"),
        (
            with("livenessProbe: {httpGet: {port: 1, host: example.org}}"),
            "probe or lifecycle host",
        ),
        (
            with("lifecycle: {preStop: {httpGet: {port: 1, host: example.org}}}"),
            "probe or lifecycle host",
        ),
    ];
    for (text, sign) in baseline {
        assert_says(
            &refused(text, Kind, PodSecurity::Baseline),
            &["violates PodSecurity \"baseline:latest\"", sign],
        );
        Manifest::parse("pod.yaml", text)
            .unwrap()
            .check(Kind, PodSecurity::Privileged)
            .unwrap();
    }
    let restricted: &[(String, &str)] = &[
        (
            replaced("allowPrivilegeEscalation: false, ", ""),
            "must set securityContext.allowPrivilegeEscalation=false",
        ),
        (
            replaced("drop: [ALL]", "drop: [CHOWN]"),
            "capabilities.drop=[\"ALL\"]",
        ),
        (
            replaced("drop: [ALL]", "drop: [ALL], add: [CHOWN]"),
            "NET_BIND_SERVICE",
        ),
        (replaced("runAsNonRoot: true, ", ""), "runAsNonRoot=true"),
        (replaced("runAsUser: 65532", "runAsUser: 0"), "runAsUser=0"),
        (
            replaced(", seccompProfile: {type: RuntimeDefault}", ""),
            "seccompProfile.type to \"RuntimeDefault\"",
        ),
    ];
    for (text, sign) in restricted {
        assert_says(
            &refused(text, Sandbox, PodSecurity::Restricted),
            &["violates PodSecurity \"restricted:latest\"", sign],
        );
        Manifest::parse("pod.yaml", text)
            .unwrap()
            .check(Sandbox, PodSecurity::Baseline)
            .unwrap();
    }
}

#[test]
fn no_text_makes_it_panic() {
    // Every prefix, and every pod with one character changed to another that means something.
    for end in 0..POD.len() {
        let _ = Manifest::parse("pod.yaml", &POD[..end]);
    }
    for place in 0..POD.len() {
        for other in ["\"", "[", "{", ":", "-", "*", "&", "\t", "\n", "é", "0"] {
            let mut text = POD.to_owned();
            text.replace_range(place..=place, other);
            if let Ok(manifest) = Manifest::parse("pod.yaml", &text) {
                let _ = manifest.check(Sandbox, PodSecurity::Restricted);
            }
        }
    }
}
