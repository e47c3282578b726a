//! Manifests: what is wrong is told by place, path and mend; what an engine cannot do is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use harness::engine::EngineKind::{self, Docker, Kind, Sandbox};
use harness::manifest::pod::Metadata;
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
fn a_cluster_is_not_advised_to_who_cannot_take_one() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: job}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: x}]}}}";
    let second = format!("{POD}---\n{}", POD.replace("name: web", "name: other"));
    for (text, help) in [
        (with("tty: true"), ""),
        (job.to_owned(), "starts containers again in the same pod"),
        (second, "`--engine docker` can"),
    ] {
        let manifest = Manifest::parse("pod.yaml", &text).unwrap();
        let problems = manifest
            .check(Sandbox, PodSecurity::Privileged)
            .unwrap_err();
        assert!(problems.to_string().contains("--engine kind"), "{problems}");
        let problems = problems.without_cluster();
        assert!(
            !problems.to_string().contains("--engine kind"),
            "{problems}"
        );
        let said = problems.problems[0].help.clone().unwrap_or_default();
        assert!(
            said.ends_with(help) && said.is_empty() == help.is_empty(),
            "{said}"
        );
    }
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
            format!("{POD}---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: a}}\n"),
            &["kind: CronJob"],
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
        &["a second Pod, other", "`--engine docker` can"],
    );
    let two = Manifest::parse("pod.yaml", &two).unwrap();
    two.check(Docker, PodSecurity::Restricted).unwrap();
    let late = Manifest::parse("late.yaml", POD).unwrap();
    let beside = |engine| late.check_beside(&[&two], engine, PodSecurity::Restricted);
    for (engine, sign) in [
        (Sandbox, "a second Pod, web"),
        (Docker, "a Pod named web runs already"),
    ] {
        assert_says(&beside(engine).unwrap_err().to_string(), &[sign]);
    }
}

fn service(spec: &str) -> String {
    format!(
        "{POD}---\napiVersion: v1\nkind: Service\nmetadata: {{name: peers}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn docker_stands_for_services_that_are_names_and_for_no_others() {
    let headless =
        "clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]";
    let good = Manifest::parse("pod.yaml", &service(headless)).unwrap();
    for engine in [Docker, Kind] {
        good.check(engine, PodSecurity::Restricted).unwrap();
    }
    let selects = |labels: &[(&str, &str)]| {
        let labels = labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        good.services[0].selects(&Metadata {
            labels: labels.collect(),
            ..Metadata::default()
        })
    };
    assert!(selects(&[("app", "web"), ("tier", "front")]));
    assert!(!selects(&[("app", "other")]) && !selects(&[]));
    assert_says(
        &refused(&service(headless), Sandbox, PodSecurity::Restricted),
        &["kind: Service peers", "`--engine docker` can"],
    );
    for (spec, sign) in [
        (
            "selector: {app: web}, ports: [{port: 80}]",
            "spec.clusterIP: a Service without",
        ),
        (
            "clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80}]",
            "spec.clusterIP: 10.0.0.1",
        ),
        (
            "clusterIP: None, ports: [{port: 80}]",
            "spec.selector: a Service without a selector",
        ),
        (
            "clusterIP: None, selector: {}",
            "spec.selector: a Service without a selector",
        ),
        (
            "clusterIP: None, selector: {a: b}, sessionAffinity: ClientIP",
            "spec.sessionAffinity: ClientIP",
        ),
        (
            "clusterIP: None, selector: {a: b}, ipFamilies: [IPv6]",
            "spec.ipFamilies",
        ),
        (
            "type: NodePort, selector: {a: b}, ports: [{port: 80, nodePort: 30080}]",
            "spec.type: NodePort",
        ),
    ] {
        assert_says(
            &refused(&service(spec), Docker, PodSecurity::Restricted),
            &[sign],
        );
        let manifest = Manifest::parse("pod.yaml", &service(spec)).unwrap();
        manifest.check(Kind, PodSecurity::Restricted).unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_service_is_said() {
    for (spec, sign) in [
        ("selector: {a: b}", "required value: ports"),
        ("clusterIP: None, ports: [{port: 0}]", "between 1 and 65535"),
        (
            "clusterIP: None, ports: [{port: 1}, {port: 2}]",
            "required value: name",
        ),
        (
            "clusterIP: None, ports: [{port: 1, targetPort: A_B}]",
            "no port name",
        ),
        ("clusterIP: None, port: 1", "unknown field"),
    ] {
        let problems = Manifest::parse("pod.yaml", &service(spec)).unwrap_err();
        assert_says(&problems.to_string(), &[sign]);
    }
    let twice = format!("{POD}---\n{POD}");
    let problems = Manifest::parse("pod.yaml", &twice).unwrap_err();
    assert_says(
        &problems.to_string(),
        &["a second Pod is named web; the first begins in line 1"],
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

/// `POD` as the pod of a Job, with these fields of the Job's own.
fn job(fields: &str, restart_policy: &str) -> String {
    let (_, spec) = POD.split_once("spec:\n").unwrap();
    let spec: String = spec.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: count\nspec:\n{fields}  template:\n    spec:\n{restart_policy}{spec}"
    )
}

const NEVER: &str = "      restartPolicy: Never\n";
const ON_FAILURE: &str = "      restartPolicy: OnFailure\n";

#[test]
fn a_job_is_read_as_the_pod_that_it_makes() {
    let text = job("  backoffLimit: 0\n  activeDeadlineSeconds: 5\n", NEVER);
    let manifest = Manifest::parse("job.yaml", &text).unwrap();
    let [pod] = manifest.pods.as_slice() else {
        panic!("{manifest:?}");
    };
    assert_eq!(pod.recorded_name(), "count");
    assert_eq!(pod.spec.containers[0].name, "app");
    let of_job = pod.job.as_ref().unwrap();
    assert_eq!(of_job.backoff_limit, 0);
    assert_eq!(of_job.active_deadline, Some(Duration::from_secs(5)));
    for engine in EngineKind::ALL {
        manifest.check(engine, PodSecurity::Restricted).unwrap();
    }
    let again = Manifest::parse("job.yaml", &job("", ON_FAILURE)).unwrap();
    assert_eq!(again.pods[0].job.as_ref().unwrap().backoff_limit, 6);
    again.check(Sandbox, PodSecurity::Restricted).unwrap();
}

#[test]
fn what_is_wrong_with_a_job_is_told_by_its_own_paths() {
    for (text, signs) in [
        (
            job("", NEVER).replace("batch/v1", "v1"),
            &["apiVersion: Job is of apiVersion batch/v1, not `v1`"][..],
        ),
        (
            job("", ""),
            &["job.yaml:8:7: spec.template.spec: required value in a Job: restartPolicy"],
        ),
        (
            job("", "      restartPolicy: Always\n"),
            &["spec.template.spec.restartPolicy: unsupported value `Always` in a Job"],
        ),
        (
            job("  backoffLimit: -1\n", NEVER),
            &["spec.backoffLimit: must be greater than or equal to 0"],
        ),
        (
            job("  restartPolicy: Never\n", NEVER),
            &[
                "spec.restartPolicy: unknown field",
                "belongs to spec.template.spec",
            ],
        ),
        (
            job("", NEVER).replace("{name: shared-logs, ", "{name: logs, "),
            &["spec.template.spec.containers[0].volumeMounts[0].name: not found"],
        ),
    ] {
        let Err(problems) = Manifest::parse("job.yaml", &text) else {
            panic!("this was taken:\n{text}");
        };
        assert_says(&problems.to_string(), signs);
    }
    let root = job("  backoffLimit: 0\n", NEVER).replace("runAsUser: 65532", "runAsUser: 0");
    let said = refused(&root, Kind, PodSecurity::Restricted);
    assert_says(
        &said,
        &["spec.template.spec.containers[0].securityContext.runAsUser: violates PodSecurity"],
    );
}

#[test]
fn what_only_a_cluster_does_with_a_job_is_refused() {
    for (fields, policy, signs) in [
        (
            "  completions: 3\n",
            ON_FAILURE,
            "spec.completions: 3: the sandbox",
        ),
        (
            "  parallelism: 2\n",
            ON_FAILURE,
            "spec.parallelism: 2: the sandbox",
        ),
        ("  suspend: true\n", ON_FAILURE, "spec.suspend: true"),
        (
            "  ttlSecondsAfterFinished: 1\n",
            ON_FAILURE,
            "spec.ttlSecondsAfterFinished: 1",
        ),
        ("", NEVER, "spec.backoffLimit: 6, with restartPolicy Never"),
        (
            "  backoffLimit: 1\n",
            NEVER,
            "job.yaml:6:17: spec.backoffLimit: 1, with",
        ),
        (
            "",
            "      restartPolicy: OnFailure\n      nodeName: here\n",
            "spec.template.spec.nodeName: here",
        ),
    ] {
        let manifest = Manifest::parse("job.yaml", &job(fields, policy)).unwrap();
        let problems = manifest.check(Sandbox, PodSecurity::Restricted);
        assert_says(&problems.unwrap_err().to_string(), &[signs]);
        manifest.check(Kind, PodSecurity::Restricted).unwrap();
    }
    let two = format!("{POD}---\n{}", job("  backoffLimit: 0\n", NEVER));
    assert_says(
        &refused(&two, Sandbox, PodSecurity::Restricted),
        &["a second Pod, count"],
    );
}
