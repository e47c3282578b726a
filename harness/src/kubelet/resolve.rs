//! From what a manifest says of a container to what a runtime must know to start it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::runtime::{ContainerSpec, Mount, VolumeFile, VolumeSpec};
use crate::byte_string::ByteString;
use crate::image::Image;
use crate::manifest::pod::{
    Container, EnvVarSource, FieldRef, KeyToPath, Pod, PullPolicy, Quantity, ResourceFieldRef,
    SeccompKind, Volume,
};

/// What is known to the kubelet besides the pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// ConfigMaps and Secrets by kind and name, and their values by key.
    pub(super) objects: HashMap<(ObjectKind, String), BTreeMap<String, ByteString>>,
    /// Images by the name that manifests have for them.
    pub(super) images: HashMap<String, Image>,
}

/// A kind of object that holds values by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ObjectKind {
    ConfigMap,
    Secret,
}

impl ObjectKind {
    /// As in Kubernetes' messages.
    fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// Why a container waits instead of running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

fn config_error(message: impl Into<String>) -> Waiting {
    Waiting {
        reason: "CreateContainerConfigError",
        message: message.into(),
    }
}

/// The pod's name in messages.
pub(super) fn full_name(pod: &Pod) -> String {
    format!("{}_{}", pod.recorded_name(), namespace(pod))
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// Capabilities that container runtimes grant unless a manifest drops them.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Every capability that Linux has.
const ALL_CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most bytes of an emptyDir without `sizeLimit`: it lives in memory here.
const UNLIMITED: u64 = 1 << 30;
/// The bytes of a volume for an object: as much as a ConfigMap can hold, several times, since it is
/// written anew before the old is removed.
const OBJECT: u64 = 8 << 20;
/// How far past its `sizeLimit` an emptyDir on disk can grow until it is noticed.
const SLACK: u64 = 64 << 20;

/// The name of the pod's node.
const NODE: &str = "sandbox";

/// What the runtime must know to start `container`; `id` is this start's own.
pub(super) fn container(
    pod: &Pod,
    container: &Container,
    known: &Known,
    pod_ip: IpAddr,
    id: String,
) -> Result<ContainerSpec, Waiting> {
    let image = image(container, known)?;
    let env = environment(pod, container, known, pod_ip)?;
    let user = user(pod, container, image)?;

    let variables: HashMap<&str, &str> = env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expanded = |words: &[String]| {
        words
            .iter()
            .map(|word| expand(word, &variables))
            .collect::<Vec<_>>()
    };
    let mut command = if container.command.is_empty() {
        image.config.entrypoint.clone()
    } else {
        expanded(&container.command)
    };
    if !container.args.is_empty() {
        command.extend(expanded(&container.args));
    } else if container.command.is_empty() {
        command.extend(image.config.cmd.clone());
    }
    if command.is_empty() {
        return Err(config_error(
            "the image has no entrypoint, and the manifest no command",
        ));
    }

    let security = &container.security_context;
    let limit = |resource: &str| container.resources.limits.get(resource);
    let working_dir = container
        .working_dir
        .clone()
        .unwrap_or_else(|| image.config.working_dir.clone());
    Ok(ContainerSpec {
        id,
        image: image.clone(),
        command,
        env: with_image_environment(env, pod, image),
        working_dir: if working_dir.is_empty() {
            "/".into()
        } else {
            working_dir.into()
        },
        uid: user.0,
        gid: user.1,
        groups: groups(pod, user.1),
        capabilities: capabilities(&security.capabilities.add, &security.capabilities.drop),
        allow_privilege_escalation: security.allow_privilege_escalation.unwrap_or(true),
        read_only_root: security.read_only_root_filesystem,
        seccomp: security
            .seccomp_profile
            .as_ref()
            .or(pod.spec.security_context.seccomp_profile.as_ref())
            .is_some_and(|profile| profile.kind == SeccompKind::RuntimeDefault),
        mounts: mounts(pod, container),
        memory_limit: limit("memory").and_then(Quantity::whole),
        cpu_limit: limit("cpu")
            .and_then(Quantity::milli)
            .and_then(|milli| u64::try_from(milli).ok()),
    })
}

fn image<'k>(container: &Container, known: &'k Known) -> Result<&'k Image, Waiting> {
    let name = &container.image;
    let pull_failed = || Waiting {
        reason: "ErrImagePull",
        message: format!("failed to pull image \"{name}\": there is no registry here"),
    };
    // That it is there already would not keep a cluster from asking for it.
    if container.image_pull_policy == Some(PullPolicy::Always) {
        return Err(pull_failed());
    }
    let found = known
        .images
        .get(name)
        .or_else(|| known.images.get(name.strip_prefix("docker.io/library/")?));
    found.ok_or_else(|| match container.image_pull_policy {
        Some(PullPolicy::Never) => Waiting {
            reason: "ErrImageNeverPull",
            message: format!("Container image \"{name}\" is not present with pull policy of Never"),
        },
        _ => pull_failed(),
    })
}

/// The user and group that the container runs as.
fn user(pod: &Pod, container: &Container, image: &Image) -> Result<(u32, u32), Waiting> {
    let (of_pod, of_container) = (&pod.spec.security_context, &container.security_context);
    let wanted = of_container.run_as_user.or(of_pod.run_as_user);
    let wanted_group = of_container.run_as_group.or(of_pod.run_as_group);
    let non_root = of_container
        .run_as_non_root
        .or(of_pod.run_as_non_root)
        .unwrap_or(false);
    let place = format!(
        "(pod: \"{}\", container: {})",
        full_name(pod),
        container.name
    );

    let image_user = image.config.user.split(':').next().unwrap_or_default();
    let image_uid = if image_user.is_empty() {
        Some(0)
    } else {
        image_user.parse().ok()
    };
    let uid = match (wanted, image_uid) {
        (Some(uid), _) | (None, Some(uid)) => uid,
        (None, None) if non_root => {
            return Err(config_error(format!(
                "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {place}"
            )));
        }
        (None, None) => {
            return Err(config_error(format!(
                "the image's user {image_user} has no number {place}"
            )));
        }
    };
    if non_root && uid == 0 {
        return Err(config_error(if wanted.is_some() {
            format!("container's runAsUser breaks non-root policy {place}")
        } else {
            format!("container has runAsNonRoot and image will run as root {place}")
        }));
    }
    // The kubelet tells the runtime the user of the image and not its group, and without a group
    // the runtime takes root's.
    Ok((uid, wanted_group.unwrap_or(0)))
}

/// The groups of a container's first process, its own among them, as container runtimes set them.
fn groups(pod: &Pod, own: u32) -> Vec<u32> {
    let context = &pod.spec.security_context;
    let mut groups = vec![own];
    groups.extend(&context.supplemental_groups);
    groups.extend(context.fs_group);
    groups
}

/// As containerd does it: `ALL` first, then what is added, then what is dropped by its name.
fn capabilities(add: &[String], drop: &[String]) -> Vec<String> {
    let names = |list: &[String]| -> Vec<String> {
        let name = |name: &String| {
            name.to_ascii_uppercase()
                .trim_start_matches("CAP_")
                .to_owned()
        };
        list.iter().map(name).collect()
    };
    let (add, drop) = (names(add), names(drop));
    let all = |names: &[String]| names.iter().any(|name| name == "ALL");
    let base = match (all(&drop), all(&add)) {
        (true, _) => &[][..],
        (false, true) => ALL_CAPABILITIES,
        (false, false) => DEFAULT_CAPABILITIES,
    };
    let mut kept: Vec<String> = base.iter().map(ToString::to_string).chain(add).collect();
    kept.retain(|name| name != "ALL" && !drop.contains(name));
    kept.sort();
    kept.dedup();
    kept
}

fn mounts(pod: &Pod, container: &Container) -> Vec<Mount> {
    let files = |name: &str| {
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == name);
        volume.is_some_and(|volume| volume.empty_dir.is_none())
    };
    let mount = |mount: &crate::manifest::pod::VolumeMount| Mount {
        volume: mount.name.clone(),
        sub_path: PathBuf::from(&mount.sub_path),
        path: PathBuf::from(&mount.mount_path),
        // What the kubelet writes, nobody else may.
        read_only: mount.read_only || files(&mount.name),
    };
    container.volume_mounts.iter().map(mount).collect()
}

/// The variables that the manifest sets, in order.
fn environment(
    pod: &Pod,
    container: &Container,
    known: &Known,
    pod_ip: IpAddr,
) -> Result<Vec<(String, String)>, Waiting> {
    let mut env: Vec<(String, String)> = Vec::new();
    let set = |env: &mut Vec<(String, String)>, name: String, value: String| {
        env.retain(|(other, _)| *other != name);
        env.push((name, value));
    };
    for source in &container.env_from {
        let objects = [
            (ObjectKind::ConfigMap, &source.config_map_ref),
            (ObjectKind::Secret, &source.secret_ref),
        ];
        for (kind, reference) in objects
            .into_iter()
            .filter_map(|(kind, reference)| Some((kind, reference.as_ref()?)))
        {
            match known.objects.get(&(kind, reference.name.clone())) {
                Some(values) => {
                    for (key, value) in values {
                        set(&mut env, format!("{}{key}", source.prefix), value.text());
                    }
                }
                None if reference.optional => {}
                None => {
                    return Err(config_error(format!(
                        "{} \"{}\" not found",
                        kind.name(),
                        reference.name
                    )));
                }
            }
        }
    }
    for variable in &container.env {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => {
                let variables = env
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                Some(expand(value, &variables))
            }
            (None, Some(source)) => from_source(source, pod, container, known, pod_ip)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut env, variable.name.clone(), value);
        }
    }
    Ok(env)
}

/// The value of `valueFrom`, or `None` where it is optional and not there.
fn from_source(
    source: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    known: &Known,
    pod_ip: IpAddr,
) -> Result<Option<String>, Waiting> {
    if let Some(field) = &source.field_ref {
        return self::field(field, pod, pod_ip).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return self::resource(resource, pod, container).map(Some);
    }
    let keys = [
        (ObjectKind::ConfigMap, &source.config_map_key_ref),
        (ObjectKind::Secret, &source.secret_key_ref),
    ];
    let named = keys
        .into_iter()
        .find_map(|(kind, key)| Some((kind, key.as_ref()?)));
    let Some((kind, key)) = named else {
        return Ok(Some(String::new()));
    };
    let object = known.objects.get(&(kind, key.name.clone()));
    match object.map(|values| values.get(&key.key)) {
        Some(Some(value)) => Ok(Some(value.text())),
        _ if key.optional => Ok(None),
        None => Err(config_error(format!(
            "{} \"{}\" not found",
            kind.name(),
            key.name
        ))),
        Some(None) => Err(config_error(format!(
            "couldn't find key {} in {kind:?} {}/{}",
            key.key,
            namespace(pod),
            key.name
        ))),
    }
}

fn field(field: &FieldRef, pod: &Pod, pod_ip: IpAddr) -> Result<String, Waiting> {
    let entry =
        |map: &BTreeMap<String, String>, key: &str| map.get(key).cloned().unwrap_or_default();
    let quoted = |prefix: &str| field.field_path.strip_prefix(prefix)?.strip_suffix("']");
    if let Some(key) = quoted("metadata.labels['") {
        return Ok(entry(&pod.metadata.labels, key));
    }
    if let Some(key) = quoted("metadata.annotations['") {
        return Ok(entry(&pod.metadata.annotations, key));
    }
    Ok(match field.field_path.as_str() {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => namespace(pod).to_owned(),
        "spec.nodeName" => NODE.to_owned(),
        "spec.serviceAccountName" => "default".to_owned(),
        "status.podIP" | "status.podIPs" => pod_ip.to_string(),
        other => return Err(config_error(format!("unsupported fieldPath: {other}"))),
    })
}

fn resource(
    reference: &ResourceFieldRef,
    pod: &Pod,
    container: &Container,
) -> Result<String, Waiting> {
    let unknown = || {
        config_error(format!(
            "invalid resource field reference {}",
            reference.resource
        ))
    };
    let all = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let container = match &reference.container_name {
        Some(name) => all
            .into_iter()
            .find(|other| other.name == *name)
            .ok_or_else(unknown)?,
        None => container,
    };
    let (of, name) = reference.resource.split_once('.').ok_or_else(unknown)?;
    let amounts = match of {
        "limits" => &container.resources.limits,
        "requests" => &container.resources.requests,
        _ => return Err(unknown()),
    };
    let milli = |quantity: &Quantity| quantity.milli().ok_or_else(unknown);
    // Whoever sets a limit only asks for as much, and whoever asks for nothing for 0.
    let amount = match (amounts.get(name), of) {
        (Some(amount), _) => milli(amount)?,
        (None, "requests") => container.resources.limits.get(name).map_or(Ok(0), milli)?,
        (None, _) => return Err(unknown()),
    };
    let divisor = reference
        .divisor
        .as_ref()
        .map(milli)
        .transpose()?
        .filter(|milli| *milli > 0)
        .unwrap_or(1000);
    Ok(amount.div_ceil(divisor).to_string())
}

/// What the image and the runtime set, where the manifest does not.
fn with_image_environment(
    env: Vec<(String, String)>,
    pod: &Pod,
    image: &Image,
) -> Vec<(String, String)> {
    let hostname = pod.spec.hostname.as_ref().unwrap_or(&pod.metadata.name);
    let defaults = [
        ("PATH", DEFAULT_PATH),
        ("HOME", "/"),
        ("HOSTNAME", hostname),
    ];
    let of_image = image
        .config
        .env
        .iter()
        .filter_map(|variable| variable.split_once('='));
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in defaults
        .into_iter()
        .chain(of_image)
        .chain(env.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    {
        all.retain(|(other, _)| other != name);
        all.push((name.to_owned(), value.to_owned()));
    }
    all
}

/// Replaces `$(NAME)` by the variable's value; `$$` stands for `$`, and a name that is not known
/// stays as it is.
///
/// Source: <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>.
fn expand(text: &str, variables: &HashMap<&str, &str>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// What the runtime must know to make a volume.
pub(super) fn volume_spec(pod: &Pod, volume: &Volume) -> VolumeSpec {
    let group = pod.spec.security_context.fs_group;
    let directory = volume.empty_dir.as_ref();
    let in_memory = directory.is_some_and(|directory| directory.medium == "Memory");
    let limit = directory.and_then(|directory| directory.size_limit.as_ref()?.whole());
    // A filesystem in memory is made with the bit that keeps users from each other's files.
    let mode = if in_memory { 0o1777 } else { 0o777 };
    let is_of_object = volume.config_map.is_some() || volume.secret.is_some();
    VolumeSpec {
        name: volume.name.clone(),
        // The other bit passes the group on to what is made in it.
        mode: if group.is_some() { mode | 0o2000 } else { mode },
        group,
        capacity: match (limit, in_memory) {
            (Some(limit), true) => limit,
            (Some(limit), _) => limit.saturating_add(SLACK),
            (None, _) if is_of_object => OBJECT,
            (None, _) => UNLIMITED,
        },
        in_memory,
    }
}

/// The files that belong in a volume that is made from a ConfigMap or Secret.
pub(super) fn volume_files(
    pod: &Pod,
    volume: &Volume,
    known: &Known,
) -> Result<Option<Vec<VolumeFile>>, Waiting> {
    let group = pod.spec.security_context.fs_group;
    let (kind, name, items, mode, optional) = match (&volume.config_map, &volume.secret) {
        (Some(source), _) => (
            ObjectKind::ConfigMap,
            &source.name,
            &source.items,
            source.default_mode,
            source.optional,
        ),
        (None, Some(source)) => (
            ObjectKind::Secret,
            &source.secret_name,
            &source.items,
            source.default_mode,
            source.optional,
        ),
        (None, None) => return Ok(None),
    };
    let files = match known.objects.get(&(kind, name.clone())) {
        Some(values) => files(values, items, mode.unwrap_or(0o644), group, optional).map_err(|key| Waiting {
            reason: "FailedMount",
            message: format!("MountVolume.SetUp failed for volume \"{}\" : references non-existent config key: {key}", volume.name),
        })?,
        None if optional => Vec::new(),
        None => {
            return Err(Waiting {
                reason: "FailedMount",
                message: format!("MountVolume.SetUp failed for volume \"{}\" : {} \"{name}\" not found", volume.name, kind.name()),
            });
        }
    };
    Ok(Some(files))
}

fn files(
    values: &BTreeMap<String, ByteString>,
    items: &[KeyToPath],
    default_mode: u32,
    group: Option<u32>,
    optional: bool,
) -> Result<Vec<VolumeFile>, String> {
    let file = |path: &str, mode: Option<u32>, content: &ByteString| VolumeFile {
        path: path.into(),
        // With `fsGroup`, the group can read everything.
        mode: mode.unwrap_or(default_mode) | if group.is_some() { 0o440 } else { 0 },
        group,
        content: content.clone(),
    };
    if items.is_empty() {
        return Ok(values
            .iter()
            .map(|(key, content)| file(key, None, content))
            .collect());
    }
    let mut files = Vec::new();
    for item in items {
        match values.get(&item.key) {
            Some(content) => files.push(file(&item.path, item.mode, content)),
            None if optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(files)
}

/// The values of a ConfigMap or Secret: text as it stands, and what is base64 decoded.
///
/// # Errors
///
/// Names the key whose value is not base64.
pub(super) fn values(
    text: &BTreeMap<String, String>,
    base64: &BTreeMap<String, String>,
) -> anyhow::Result<BTreeMap<String, ByteString>> {
    let mut values = BTreeMap::new();
    for (key, value) in base64 {
        let decoded = BASE64_STANDARD
            .decode(value)
            .map_err(|error| anyhow::anyhow!("the value of {key} is not base64: {error}"))?;
        values.insert(key.clone(), ByteString(decoded));
    }
    values.extend(
        text.iter()
            .map(|(key, value)| (key.clone(), ByteString::from(value.as_str()))),
    );
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_kubernetes_does_it() {
        let variables = HashMap::from([("A", "1"), ("B", "$(A)")]);
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$A", "$A"),
            ("$", "$"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &variables), expanded, "{text}");
        }
    }
}
