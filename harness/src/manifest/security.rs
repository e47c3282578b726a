//! The Pod Security Standards, as the admission plugin of a cluster enforces them on a namespace.
//!
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, for 1.37.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::yaml::{Node, Value};

/// A level of the Pod Security Standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Everything is allowed.
    Privileged,
    /// What is known to give rights on the node is refused.
    Baseline,
    /// What a pod does not need is refused too.
    #[default]
    Restricted,
}

impl fmt::Display for PodSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// Capabilities that `baseline` lets a container add.
const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Kernel settings of a pod that concern nobody else.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// Kinds of volumes that `restricted` allows.
const RESTRICTED_VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Finds what a namespace of this level would refuse of a pod.
pub(super) fn check(pod: &Node, level: PodSecurity) -> Vec<Problem> {
    let mut checker = Checker {
        level,
        problems: Vec::new(),
    };
    if let Some(spec) = pod.get("spec") {
        if level >= PodSecurity::Baseline {
            checker.baseline(spec);
        }
        if level >= PodSecurity::Restricted {
            checker.restricted(spec);
        }
    }
    checker.problems
}

struct Checker {
    level: PodSecurity,
    problems: Vec<Problem>,
}

fn list<'n>(node: &'n Node, field: &str) -> &'n [Node] {
    match node.get(field).map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

fn path<'n>(node: &'n Node, fields: &[&str]) -> Option<&'n Node> {
    fields.iter().try_fold(node, |node, field| node.get(field))
}

fn is(node: Option<&Node>, wanted: bool) -> bool {
    matches!(node.map(|node| &node.value), Some(Value::Bool(value)) if *value == wanted)
}

fn name(node: &Node) -> &str {
    node.get("name").and_then(Node::text).unwrap_or_default()
}

/// Every container with its path.
fn containers(spec: &Node) -> impl Iterator<Item = (String, &Node)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |field| {
            let item = move |(index, node)| (format!("spec.{field}[{index}]"), node);
            list(spec, field).iter().enumerate().map(item)
        })
}

impl Checker {
    fn say(&mut self, at: &Node, path: String, rule: &str, must: &str) {
        let what = format!(
            "violates PodSecurity \"{}:latest\": {rule} ({must})",
            self.level
        );
        self.problems.push(Problem {
            place: at.place,
            path,
            what,
            help: None,
        });
    }

    fn baseline(&mut self, spec: &Node) {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            if let Some(node) = spec.get(field).filter(|node| is(Some(node), true)) {
                self.say(
                    node,
                    format!("spec.{field}"),
                    "host namespaces",
                    &format!("{field}=true"),
                );
            }
        }
        for volume in list(spec, "volumes") {
            if let Some(node) = volume.get("hostPath") {
                let must = format!("volume \"{}\"", name(volume));
                self.say(node, "spec.volumes".to_owned(), "hostPath volumes", &must);
            }
        }
        for sysctl in path(spec, &["securityContext", "sysctls"]).map_or(&[][..], |_| {
            list(spec.get("securityContext").unwrap_or(spec), "sysctls")
        }) {
            if !SAFE_SYSCTLS.contains(&name(sysctl)) {
                self.say(
                    sysctl,
                    "spec.securityContext.sysctls".to_owned(),
                    "forbidden sysctls",
                    name(sysctl),
                );
            }
        }
        self.profile(spec, "spec", "pod");
        for (at, container) in containers(spec) {
            let who = format!("container \"{}\"", name(container));
            if is(path(container, &["securityContext", "privileged"]), true) {
                let must = format!("{who} must not set securityContext.privileged=true");
                self.say(
                    container,
                    format!("{at}.securityContext.privileged"),
                    "privileged",
                    &must,
                );
            }
            if let Some(add) = path(container, &["securityContext", "capabilities"]) {
                for capability in list(add, "add") {
                    let text = capability.text().unwrap_or_default();
                    if !BASELINE_CAPABILITIES.contains(&text) {
                        let must = format!(
                            "{who} must not include \"{text}\" in securityContext.capabilities.add"
                        );
                        self.say(
                            capability,
                            format!("{at}.securityContext.capabilities.add"),
                            "non-default capabilities",
                            &must,
                        );
                    }
                }
            }
            for port in list(container, "ports") {
                if let Some(node) = port
                    .get("hostPort")
                    .filter(|node| !matches!(node.value, Value::Int(0) | Value::Null))
                {
                    self.say(
                        node,
                        format!("{at}.ports"),
                        "hostPort",
                        &format!("{who} uses a hostPort"),
                    );
                }
            }
            if let Some(node) = path(container, &["securityContext", "procMount"])
                .filter(|node| node.text() != Some("Default"))
            {
                self.say(
                    node,
                    format!("{at}.securityContext.procMount"),
                    "procMount",
                    &format!("{who} must not set it"),
                );
            }
            self.profile(container, &at, &who);
            let probes = ["startupProbe", "livenessProbe", "readinessProbe"]
                .map(|probe| (probe.to_owned(), container.get(probe)));
            let hooks = ["postStart", "preStop"].map(|hook| {
                (
                    format!("lifecycle.{hook}"),
                    path(container, &["lifecycle", hook]),
                )
            });
            for (field, handler) in probes.into_iter().chain(hooks) {
                for action in ["httpGet", "tcpSocket"] {
                    let host = handler.and_then(|handler| path(handler, &[action, "host"]));
                    if let Some(node) =
                        host.filter(|host| host.text().is_some_and(|text| !text.is_empty()))
                    {
                        let must =
                            format!("{who} must not set host in probes or lifecycle handlers");
                        self.say(
                            node,
                            format!("{at}.{field}.{action}.host"),
                            "probe or lifecycle host",
                            &must,
                        );
                    }
                }
            }
        }
    }

    /// Profiles of seccomp, AppArmor and SELinux that take protection away.
    fn profile(&mut self, at: &Node, place: &str, who: &str) {
        for (field, rule) in [
            ("seccompProfile", "seccompProfile"),
            ("appArmorProfile", "forbidden AppArmor profile"),
        ] {
            let kind = path(at, &["securityContext", field, "type"]);
            if let Some(node) = kind.filter(|node| node.text() == Some("Unconfined")) {
                let must = format!("{who} must not set {field}.type to \"Unconfined\"");
                self.say(
                    node,
                    format!("{place}.securityContext.{field}.type"),
                    rule,
                    &must,
                );
            }
        }
        if let Some(node) = path(at, &["securityContext", "seLinuxOptions"]) {
            for field in ["user", "role"] {
                if node
                    .get(field)
                    .is_some_and(|value| value.text().is_some_and(|text| !text.is_empty()))
                {
                    let must = format!("{who} must not set seLinuxOptions.{field}");
                    self.say(
                        node,
                        format!("{place}.securityContext.seLinuxOptions"),
                        "seLinuxOptions",
                        &must,
                    );
                }
            }
        }
    }

    fn restricted(&mut self, spec: &Node) {
        for volume in list(spec, "volumes") {
            let Value::Map(entries) = &volume.value else {
                continue;
            };
            for (key, node) in entries.iter().filter(|(key, _)| key.name != "name") {
                if !RESTRICTED_VOLUMES.contains(&key.name.as_str()) {
                    let must = format!(
                        "volume \"{}\" uses restricted volume type \"{}\"",
                        name(volume),
                        key.name
                    );
                    self.say(
                        node,
                        "spec.volumes".to_owned(),
                        "restricted volume types",
                        &must,
                    );
                }
            }
        }
        let of_pod = spec.get("securityContext");
        let either = |container: &Node, field: &[&str]| {
            let own = container
                .get("securityContext")
                .and_then(|context| path(context, field))
                .cloned();
            own.or_else(|| of_pod.and_then(|context| path(context, field)).cloned())
        };
        for (at, container) in containers(spec) {
            let who = format!("container \"{}\"", name(container));
            let context = |field: &str| format!("{at}.securityContext.{field}");
            if !is(
                path(container, &["securityContext", "allowPrivilegeEscalation"]),
                false,
            ) {
                let must = format!("{who} must set securityContext.allowPrivilegeEscalation=false");
                self.say(
                    container,
                    context("allowPrivilegeEscalation"),
                    "allowPrivilegeEscalation != false",
                    &must,
                );
            }
            let capabilities = path(container, &["securityContext", "capabilities"]);
            let drops_all = capabilities.is_some_and(|node| {
                list(node, "drop")
                    .iter()
                    .any(|item| item.text() == Some("ALL"))
            });
            let added = capabilities.map_or(&[][..], |node| list(node, "add"));
            let adds_more = added
                .iter()
                .any(|item| item.text() != Some("NET_BIND_SERVICE"));
            if !drops_all {
                let must = format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]");
                self.say(
                    container,
                    context("capabilities.drop"),
                    "unrestricted capabilities",
                    &must,
                );
            }
            if adds_more {
                let must = format!(
                    "{who} must not include anything but \"NET_BIND_SERVICE\" in securityContext.capabilities.add"
                );
                self.say(
                    container,
                    context("capabilities.add"),
                    "unrestricted capabilities",
                    &must,
                );
            }
            if !is(either(container, &["runAsNonRoot"]).as_ref(), true) {
                let must = format!("pod or {who} must set securityContext.runAsNonRoot=true");
                self.say(
                    container,
                    context("runAsNonRoot"),
                    "runAsNonRoot != true",
                    &must,
                );
            }
            if matches!(
                either(container, &["runAsUser"]).map(|node| node.value),
                Some(Value::Int(0))
            ) {
                let must = format!("pod or {who} must not set runAsUser=0");
                self.say(container, context("runAsUser"), "runAsUser=0", &must);
            }
            let seccomp = either(container, &["seccompProfile", "type"]);
            if !seccomp
                .is_some_and(|node| matches!(node.text(), Some("RuntimeDefault" | "Localhost")))
            {
                let must = format!(
                    "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
                );
                self.say(
                    container,
                    context("seccompProfile"),
                    "seccompProfile",
                    &must,
                );
            }
        }
    }
}
