//! What a container is given: its command, its environment, its rights, its volumes; and what
//! happens when an object that it needs is not there, comes, and changes.

use harness::kubelet::runtime::ContainerSpec;
use harness::manifest::pod::{ConfigMap, Metadata};

use crate::kit::pod;

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    ConfigMap {
        metadata: Metadata {
            name: name.to_owned(),
            ..Metadata::default()
        },
        data: data
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        ..ConfigMap::default()
    }
}

/// How the one container of a pod is started.
async fn started(spec: &str) -> ContainerSpec {
    let life = pod(spec).after(0).await;
    life.started()
        .pop()
        .unwrap_or_else(|| panic!("it was not started: {:?}", life.told_of("app")))
}

/// Why the one container of a pod is not started.
async fn refused(spec: &str) -> String {
    let life = pod(spec).after(0).await;
    life.told_of("app").join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_container_waits_for_what_its_environment_needs() {
    let mut life = pod(
        "containers: [{name: app, image: app:1, envFrom: [{configMapRef: {name: settings}}]}, {name: log, image: app:1}]",
    )
    .after(3)
    .await;
    life.kubelet
        .update_config_map(&config_map("settings", &[("COLOUR", "green")]))
        .await
        .unwrap();
    life.goes_on_for(1).await;
    life.was(
        "0.0 pod initialized
         0.0 app waits (CreateContainerConfigError): configmap \"settings\" not found
         0.0 log started
         0.0 log ready
         3.0 app started
         3.0 app ready
         3.0 pod ready",
    );
    assert!(
        life.started()[1]
            .env
            .contains(&("COLOUR".into(), "green".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_what_its_volumes_need() {
    let mut life = pod(
        "volumes: [{name: conf, configMap: {name: settings}}, {name: data, emptyDir: {}}]
initContainers: [{name: prepare, image: app:1}]
containers: [{name: app, image: app:1}]",
    )
    .plays("prepare", [crate::kit::ends(0, 0)])
    .after(13)
    .await;
    life.kubelet
        .update_config_map(&config_map("settings", &[("colour", "green")]))
        .await
        .unwrap();
    life.goes_on_for(1).await;
    let wait = "waits (FailedMount): MountVolume.SetUp failed for volume \"conf\" : configmap \"settings\" not found";
    life.was(&format!(
        "0.0 prepare {wait}
         0.0 app {wait}
         10.0 prepare {wait}
         10.0 app {wait}
         13.0 prepare started
         13.0 prepare ended with exit code 0 (Completed)
         13.0 pod initialized
         13.0 app started
         13.0 app ready
         13.0 pod ready"
    ));
    assert_eq!(life.files("conf"), ["colour 644 green"]);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_changes_reaches_volumes_at_once_and_variables_at_the_next_start() {
    let mut life = pod(
        "volumes: [{name: conf, configMap: {name: settings}}]
containers: [{name: app, image: app:1, env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red, size: big}",
    )
    .after(1)
    .await;
    assert_eq!(life.files("conf"), ["colour 644 red", "size 644 big"]);
    life.kubelet
        .update_config_map(&config_map("settings", &[("colour", "blue")]))
        .await
        .unwrap();
    life.goes_on_for(1).await;
    assert_eq!(life.files("conf"), ["colour 644 blue"]);
    assert_eq!(life.started().len(), 1, "nobody is restarted for it");
    life.kill("app.0", 9);
    life.goes_on_for(1).await;
    let colours: Vec<_> = life
        .started()
        .into_iter()
        .map(|spec| value(&spec, "COLOUR").unwrap().to_owned())
        .collect();
    assert_eq!(colours, ["red", "blue"]);
}

fn value<'s>(spec: &'s ContainerSpec, name: &str) -> Option<&'s str> {
    spec.env
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.as_str())
}

#[tokio::test(start_paused = true)]
async fn files_of_a_volume_have_the_modes_and_paths_that_the_manifest_says() {
    let life = pod(
        "volumes:
- {name: all, configMap: {name: settings}}
- {name: some, configMap: {name: settings, defaultMode: 0400, items: [{key: a, path: deep/er/a}, {key: b, path: b, mode: 0755}]}}
- {name: secret, secret: {secretName: keys, defaultMode: 0440}}
- {name: perhaps, configMap: {name: nowhere, optional: true}}
- {name: partly, configMap: {name: settings, optional: true, items: [{key: a, path: a}, {key: z, path: z}]}}
containers: [{name: app, image: app:1}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: one, b: two}
binaryData: {c: /w==}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {door: b3Blbg==}
stringData: {gate: shut}",
    )
    .after(0)
    .await;
    assert_eq!(life.files("all"), ["a 644 one", "b 644 two", "c 644 \\xff"]);
    assert_eq!(life.files("some"), ["deep/er/a 400 one", "b 755 two"]);
    assert_eq!(life.files("secret"), ["door 440 open", "gate 440 shut"]);
    assert!(life.files("perhaps").is_empty());
    assert_eq!(life.files("partly"), ["a 644 one"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_there_is_named() {
    let spec = |container: &str, volumes: &str| {
        format!(
            "volumes: [{volumes}]\ncontainers: [{{name: app, image: app:1{container}}}]\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{a: one}}"
        )
    };
    let variable = ", env: [{name: X, valueFrom: {configMapKeyRef: {name: settings, key: z}}}]";
    assert_eq!(
        refused(&spec(variable, "")).await,
        "0.0 app waits (CreateContainerConfigError): couldn't find key z in ConfigMap default/settings"
    );
    let volume = "{name: conf, configMap: {name: settings, items: [{key: z, path: z}]}}";
    assert_eq!(
        refused(&spec("", volume)).await,
        "0.0 app waits (FailedMount): MountVolume.SetUp failed for volume \"conf\" : references non-existent config key: z"
    );
    let optional = ", env: [{name: X, valueFrom: {configMapKeyRef: {name: settings, key: z, optional: true}}}]";
    assert_eq!(value(&started(&spec(optional, "")).await, "X"), None);
}

#[tokio::test(start_paused = true)]
async fn volumes_are_as_large_as_they_may_be() {
    let life = pod("securityContext: {fsGroup: 2000}
volumes:
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 2Mi}}
- {name: disk, emptyDir: {sizeLimit: 2Mi}}
containers: [{name: app, image: app:1}]")
    .after(0)
    .await;
    let [memory, disk] = &life.volumes()[..] else {
        panic!()
    };
    assert_eq!(
        (memory.capacity, memory.mode, memory.group),
        (2 << 20, 0o3777, Some(2000))
    );
    assert!(
        disk.capacity > 2 << 20,
        "who writes too much to disk is evicted; the write succeeds"
    );
}

#[tokio::test(start_paused = true)]
async fn variables_are_expanded_in_values_commands_and_arguments() {
    let spec = started(
        "containers:
- name: app
  image: app:1
  command: [/app, $(GREETING)]
  args: [$(LATER), $$(GREETING), $(NAME)]
  env:
  - {name: NAME, value: Ada}
  - {name: GREETING, value: Hello $(NAME) $(LATER)}
  - {name: LATER, value: later}
  - {name: NAME, value: Bob}",
    )
    .await;
    assert_eq!(
        spec.command,
        ["/app", "Hello Ada $(LATER)", "later", "$(GREETING)", "Bob"]
    );
    assert_eq!(value(&spec, "NAME"), Some("Bob"));
}

#[tokio::test(start_paused = true)]
async fn command_replaces_the_entrypoint_and_args_the_arguments() {
    for (fields, command) in [
        ("", &["/app"][..]),
        (", args: [one]", &["/app", "one"]),
        (", command: [/x]", &["/x"]),
        (", command: [/x], args: [one]", &["/x", "one"]),
    ] {
        let spec = started(&format!(
            "containers: [{{name: app, image: app:1{fields}}}]"
        ))
        .await;
        assert_eq!(spec.command, command, "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_downward_api_tells() {
    let spec = started(
        "containers:
- name: app
  image: app:1
  resources: {requests: {cpu: 10m}, limits: {cpu: 1500m, memory: 64Mi}}
  env:
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
  - {name: NONE, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['none']\"}}}
  - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
  - {name: MILLI, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
  - {name: ASKED, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
  - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
  - {name: MEBI, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - {name: IMPLIED, valueFrom: {resourceFieldRef: {resource: requests.memory}}}",
    )
    .await;
    for (name, expected) in [
        ("POD", "pod"),
        ("NAMESPACE", "default"),
        ("IP", "10.244.0.10"),
        ("ACCOUNT", "default"),
        ("NONE", ""),
        ("CPU", "2"),
        ("MILLI", "1500"),
        ("ASKED", "10"),
        ("MEMORY", "67108864"),
        ("MEBI", "64"),
        // Whoever sets a limit only asks for as much.
        ("IMPLIED", "67108864"),
        ("HOSTNAME", "pod"),
        ("HOME", "/"),
    ] {
        assert_eq!(value(&spec, name), Some(expected), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn variables_of_an_object_come_before_those_of_the_container() {
    let spec = started(
        "containers:
- name: app
  image: app:1
  envFrom: [{prefix: P_, configMapRef: {name: settings}}, {secretRef: {name: keys}}, {secretRef: {name: none, optional: true}}]
  env: [{name: B, value: mine}, {name: C, value: $(P_A)}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {A: a}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {B: Yg==}",
    )
    .await;
    assert_eq!(value(&spec, "P_A"), Some("a"));
    assert_eq!(value(&spec, "B"), Some("mine"));
    assert_eq!(value(&spec, "C"), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn the_container_s_user_goes_before_the_pod_s_and_that_before_the_image_s() {
    for (of_pod, of_container, ids) in [
        // The image says which group too; the kubelet does not pass that on.
        ("", "", (65532, 0)),
        ("runAsUser: 1000", "", (1000, 0)),
        ("runAsUser: 1000, runAsGroup: 3000", "", (1000, 3000)),
        (
            "runAsUser: 1000, runAsGroup: 3000",
            "runAsUser: 2000",
            (2000, 3000),
        ),
        (
            "runAsUser: 1000",
            "runAsUser: 2000, runAsGroup: 4000",
            (2000, 4000),
        ),
        ("runAsGroup: 3000", "", (65532, 3000)),
        (
            "runAsNonRoot: true",
            "runAsNonRoot: false, runAsUser: 0",
            (0, 0),
        ),
    ] {
        let spec = format!(
            "securityContext: {{{of_pod}}}\ncontainers: [{{name: app, image: app:1, securityContext: {{{of_container}}}}}]"
        );
        let spec = started(&spec).await;
        assert_eq!(
            (spec.uid, spec.gid),
            ids,
            "pod {of_pod}, container {of_container}"
        );
    }
    let root = "containers: [{name: app, image: app:1, securityContext: {runAsNonRoot: true, runAsUser: 0}}]";
    assert_eq!(
        refused(root).await,
        "0.0 app waits (CreateContainerConfigError): container's runAsUser breaks non-root policy (pod: \"pod_default\", container: app)"
    );
}

#[tokio::test(start_paused = true)]
async fn groups_are_the_supplemental_ones_and_that_of_the_volumes() {
    let spec =
        started("securityContext: {supplementalGroups: [5, 6], fsGroup: 7}\ncontainers: [{name: app, image: app:1}]").await;
    assert_eq!(spec.groups, [0, 5, 6, 7], "its own is among them");
}

/// As containerd does it: ALL first, then what is added, then what is dropped by name.
#[tokio::test(start_paused = true)]
async fn capabilities_are_added_and_dropped() {
    let of = async |lists: &str| {
        started(&format!("containers: [{{name: app, image: app:1, securityContext: {{capabilities: {{{lists}}}}}}}]")).await.capabilities
    };
    let default = of("").await;
    assert!(
        default.contains(&"CHOWN".to_owned()) && !default.contains(&"SYS_ADMIN".to_owned()),
        "{default:?}"
    );
    assert_eq!(of("drop: [ALL]").await, [""; 0]);
    assert_eq!(
        of("drop: [ALL], add: [NET_ADMIN, chown]").await,
        ["CHOWN", "NET_ADMIN"]
    );
    assert_eq!(
        of("drop: [CHOWN], add: [SYS_TIME]").await.len(),
        default.len()
    );
    assert!(
        !of("drop: [CHOWN], add: [CHOWN]")
            .await
            .contains(&"CHOWN".to_owned())
    );
    let all = of("add: [ALL], drop: [CHOWN]").await;
    assert!(
        all.contains(&"SYS_ADMIN".to_owned()) && !all.contains(&"CHOWN".to_owned()),
        "{all:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_kubelet_writes_is_read_only() {
    let spec = started(
        "volumes: [{name: conf, configMap: {name: settings, optional: true}}, {name: data, emptyDir: {}}]
containers:
- name: app
  image: app:1
  volumeMounts: [{name: conf, mountPath: /conf}, {name: data, mountPath: /data}, {name: data, mountPath: /seen, readOnly: true}]",
    )
    .await;
    assert_eq!(
        spec.mounts
            .iter()
            .map(|mount| mount.read_only)
            .collect::<Vec<_>>(),
        [true, false, true]
    );
}

#[tokio::test(start_paused = true)]
async fn an_image_is_found_by_its_full_name_too() {
    assert_eq!(
        started("containers: [{name: app, image: docker.io/library/app:1}]")
            .await
            .image
            .name,
        "app:1"
    );
    assert_eq!(
        refused("containers: [{name: app, image: ap:1, imagePullPolicy: Never}]").await,
        "0.0 app waits (ErrImageNeverPull): Container image \"ap:1\" is not present with pull policy of Never"
    );
    // A pull would fail for want of a registry, whatever is there already.
    assert_eq!(
        refused("containers: [{name: app, image: app:1, imagePullPolicy: Always}]").await,
        "0.0 app waits (ErrImagePull): failed to pull image \"app:1\": there is no registry here"
    );
}
