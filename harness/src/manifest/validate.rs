//! What a cluster's API server checks beyond types: a sandbox that took what a cluster refuses
//! would teach falsehoods.
//!
//! Source: `pkg/apis/core/validation` of Kubernetes 1.37, and the API reference.

use std::collections::HashMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::fields::nearest;
use super::pod::Quantity;
use super::problem::Problem;
use super::yaml::{Node, Value};

/// Checks one object of a kind that is known.
pub(super) fn object(node: &Node, kind: &str) -> Vec<Problem> {
    let mut checker = Checker {
        problems: Vec::new(),
    };
    if let Some(metadata) = At::root(node).field("metadata") {
        match metadata.field("name") {
            Some(name) => checker.subdomain(&name),
            None => checker.say(&metadata, "it has no name", Some("give it a `name`")),
        }
    }
    match kind {
        "Pod" => {
            if let Some(spec) = At::root(node).field("spec") {
                checker.pod(&spec);
            }
        }
        "Job" => {
            if let Some(spec) = At::root(node).field("spec") {
                checker.job(&spec);
            }
        }
        "Secret" => {
            for (_, value) in At::root(node).field("data").iter().flat_map(At::entries) {
                if value
                    .text()
                    .is_some_and(|text| BASE64_STANDARD.decode(text).is_err())
                {
                    checker.say(
                        &value,
                        "this is not base64",
                        Some("write plain text under `stringData` instead"),
                    );
                }
            }
            checker.keys(node, &["data", "stringData"]);
        }
        "ConfigMap" => checker.keys(node, &["data", "binaryData"]),
        "Service" => {
            let root = At::root(node);
            if let Some(name) = root.field("metadata").and_then(|of| of.field("name")) {
                checker.label(&name);
            }
            if let Some(spec) = root.field("spec") {
                checker.service(&spec);
            }
        }
        _ => {}
    }
    checker.problems
}

/// A node and its path.
#[derive(Clone)]
struct At<'n> {
    node: &'n Node,
    path: String,
}

impl<'n> At<'n> {
    fn root(node: &'n Node) -> Self {
        Self {
            node,
            path: String::new(),
        }
    }

    /// A field that is there and is not null.
    fn field(&self, name: &str) -> Option<Self> {
        let node = self
            .node
            .get(name)
            .filter(|node| !matches!(node.value, Value::Null))?;
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Some(Self { node, path })
    }

    fn items(&self) -> Vec<Self> {
        let Value::List(nodes) = &self.node.value else {
            return Vec::new();
        };
        let item = |(index, node)| Self {
            node,
            path: format!("{}[{index}]", self.path),
        };
        nodes.iter().enumerate().map(item).collect()
    }

    fn list(&self, name: &str) -> Vec<Self> {
        self.field(name)
            .map(|list| list.items())
            .unwrap_or_default()
    }

    fn entries(&self) -> Vec<(&'n str, Self)> {
        let Value::Map(entries) = &self.node.value else {
            return Vec::new();
        };
        let entry = |(key, node): &'n (super::yaml::Key, Node)| {
            (
                key.name.as_str(),
                Self {
                    node,
                    path: format!("{}.{}", self.path, key.name),
                },
            )
        };
        entries.iter().map(entry).collect()
    }

    fn text(&self) -> Option<&'n str> {
        self.node.text()
    }

    fn text_of(&self, name: &str) -> Option<&'n str> {
        self.node.get(name)?.text()
    }

    fn int(&self) -> Option<i64> {
        match self.node.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }
}

struct Checker {
    problems: Vec<Problem>,
}

impl Checker {
    fn say(&mut self, at: &At<'_>, what: impl Into<String>, help: Option<&str>) {
        self.problems.push(Problem {
            place: at.node.place,
            path: at.path.clone(),
            what: what.into(),
            help: help.map(ToOwned::to_owned),
        });
    }

    fn label(&mut self, at: &At<'_>) {
        if at.text().is_some_and(|name| !is_label(name)) {
            self.say(
                at,
                "this is no DNS label (RFC 1123)",
                Some("lower-case letters, digits and `-`, at most 63, beginning and ending with a letter or digit"),
            );
        }
    }

    fn subdomain(&mut self, at: &At<'_>) {
        if at
            .text()
            .is_some_and(|name| name.len() > 253 || !name.split('.').all(is_label))
        {
            self.say(
                at,
                "this is no DNS subdomain (RFC 1123)",
                Some("lower-case letters, digits, `-` and `.`"),
            );
        }
    }

    fn unique(&mut self, items: &[At<'_>], field: &str) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for item in items.iter().filter_map(|item| item.field(field)) {
            let name = item
                .text()
                .map_or_else(|| item.node.to_json().to_string(), ToOwned::to_owned);
            match seen.get(&name) {
                Some(line) => self.say(
                    &item,
                    format!("duplicate value: `{name}`; the first is in line {line}"),
                    None,
                ),
                None => {
                    seen.insert(name, item.node.place.line);
                }
            }
        }
    }

    /// Exactly one of some fields must be there.
    fn exactly_one(&mut self, at: &At<'_>, fields: &[&str]) {
        let there: Vec<_> = fields
            .iter()
            .filter(|field| at.has(field))
            .copied()
            .collect();
        match there.as_slice() {
            [_] => {}
            [] => self.say(
                at,
                "must specify one of its fields",
                Some(&format!("one of {}", fields.join(", "))),
            ),
            several => self.say(
                at,
                format!("may not specify more than one: {}", several.join(", ")),
                Some("keep one of them"),
            ),
        }
    }

    fn at_least(&mut self, at: &At<'_>, field: &str, least: i64) {
        if let Some(value) = at.field(field)
            && value.int().is_some_and(|number| number < least)
        {
            self.say(
                &value,
                format!("must be greater than or equal to {least}"),
                None,
            );
        }
    }

    fn relative_path(&mut self, at: &At<'_>) {
        if at
            .text()
            .is_some_and(|path| path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            self.say(at, "must be a relative path without `..`", None);
        }
    }

    fn keys(&mut self, node: &Node, fields: &[&str]) {
        for (key, value) in fields
            .iter()
            .filter_map(|field| At::root(node).field(field))
            .flat_map(|map| map.entries())
        {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if key.is_empty()
                || key.len() > 253
                || key == "."
                || key == ".."
                || !key.bytes().all(plain)
            {
                self.say(
                    &value,
                    format!("`{key}` is no valid key"),
                    Some("letters, digits, `-`, `_` and `.`"),
                );
            }
        }
    }

    fn job(&mut self, spec: &At<'_>) {
        for field in [
            "activeDeadlineSeconds",
            "backoffLimit",
            "backoffLimitPerIndex",
            "completions",
            "maxFailedIndexes",
            "parallelism",
            "ttlSecondsAfterFinished",
        ] {
            self.at_least(spec, field, 0);
        }
        let Some(pod) = spec
            .field("template")
            .and_then(|template| template.field("spec"))
        else {
            return;
        };
        self.pod(&pod);
        let help = Some("`OnFailure` or `Never`: the pod of a Job is to end");
        match pod.field("restartPolicy") {
            Some(policy) if policy.text() == Some("Always") => {
                self.say(&policy, "unsupported value `Always` in a Job", help);
            }
            Some(_) => {}
            None => self.say(&pod, "required value in a Job: restartPolicy", help),
        }
    }

    fn pod(&mut self, spec: &At<'_>) {
        let (init, main) = (spec.list("initContainers"), spec.list("containers"));
        if let Some(containers) = spec.field("containers")
            && main.is_empty()
        {
            self.say(&containers, "a pod has at least one container", None);
        }
        self.at_least(spec, "terminationGracePeriodSeconds", 0);
        let volumes = spec.list("volumes");
        self.unique(&volumes, "name");
        for volume in &volumes {
            self.volume(volume);
        }
        let names: Vec<&str> = volumes
            .iter()
            .filter_map(|volume| volume.text_of("name"))
            .collect();
        let all: Vec<_> = init.iter().chain(&main).cloned().collect();
        self.unique(&all, "name");
        let grace = spec
            .field("terminationGracePeriodSeconds")
            .and_then(|at| at.int())
            .unwrap_or(30);
        for container in &all {
            self.container(container, &names, grace);
        }
        for container in &init {
            match container.text_of("restartPolicy") {
                Some("Always") => {}
                _ => {
                    for field in [
                        "lifecycle",
                        "livenessProbe",
                        "readinessProbe",
                        "startupProbe",
                    ] {
                        if let Some(field) = container.field(field) {
                            let help = "`restartPolicy: Always` makes it a native sidecar, which may have it";
                            self.say(
                                &field,
                                "may not be set for init containers without restartPolicy=Always",
                                Some(help),
                            );
                        }
                    }
                }
            }
        }
        for alias in spec.list("hostAliases") {
            if let Some(ip) = alias.field("ip")
                && ip
                    .text()
                    .is_some_and(|text| text.parse::<IpAddr>().is_err())
            {
                self.say(
                    &ip,
                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    None,
                );
            }
        }
        if let Some(hostname) = spec.field("hostname") {
            self.label(&hostname);
        }
        if let Some(context) = spec.field("securityContext") {
            self.users(&context);
        }
    }

    fn users(&mut self, context: &At<'_>) {
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            if let Some(id) = context.field(field)
                && id
                    .int()
                    .is_some_and(|id| !(0..=2_147_483_647).contains(&id))
            {
                self.say(&id, "must be between 0 and 2147483647, inclusive", None);
            }
        }
    }

    fn volume(&mut self, volume: &At<'_>) {
        if let Some(name) = volume.field("name") {
            self.label(&name);
        }
        let sources: Vec<_> = volume
            .entries()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| *name != "name")
            .collect();
        match sources.as_slice() {
            [_] => {}
            [] => self.say(
                volume,
                "must specify a volume type",
                Some("as `emptyDir: {}`"),
            ),
            several => self.say(
                volume,
                format!(
                    "may not specify more than 1 volume type: {}",
                    several.join(", ")
                ),
                None,
            ),
        }
        if let Some(directory) = volume.field("emptyDir")
            && let Some(limit) = directory.field("sizeLimit")
            && quantity(&limit) == Some(0)
        {
            self.say(&limit, "a limit of nothing leaves no room", None);
        }
        for source in ["configMap", "secret"]
            .iter()
            .filter_map(|source| volume.field(source))
        {
            for item in source.list("items") {
                if let Some(path) = item.field("path") {
                    self.relative_path(&path);
                }
                self.mode(&item, "mode");
            }
            self.mode(&source, "defaultMode");
        }
    }

    fn mode(&mut self, at: &At<'_>, field: &str) {
        if let Some(mode) = at.field(field)
            && mode.int().is_some_and(|mode| !(0..=0o777).contains(&mode))
        {
            self.say(
                &mode,
                "must be a number between 0 and 0777 (octal), both inclusive",
                Some("write it in octal, as 0644"),
            );
        }
    }

    fn container(&mut self, container: &At<'_>, volumes: &[&str], grace: i64) {
        if let Some(name) = container.field("name") {
            self.label(&name);
        }
        if container.text_of("image").is_none_or(str::is_empty) {
            self.say(container, "required value: image", None);
        }
        let mounts = container.list("volumeMounts");
        self.unique(&mounts, "mountPath");
        for mount in &mounts {
            if let Some(name) = mount.field("name")
                && let Some(text) = name.text()
                && !volumes.contains(&text)
            {
                let help = match nearest(text, volumes.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "add a volume of that name under the pod's `volumes`; it has: {}",
                        volumes.join(", ")
                    ),
                };
                self.say(&name, format!("not found: \"{text}\""), Some(&help));
            }
            if let Some(path) = mount.field("mountPath")
                && path
                    .text()
                    .is_some_and(|path| path.is_empty() || path.contains(':'))
            {
                self.say(&path, "must be a path without `:`", None);
            }
            if let Some(path) = mount.field("subPath") {
                self.relative_path(&path);
            }
        }
        self.environment(container);
        self.ports(container);
        for name in ["startupProbe", "livenessProbe", "readinessProbe"] {
            if let Some(probe) = container.field(name) {
                self.probe(&probe, name != "readinessProbe");
            }
        }
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = container
                .field("lifecycle")
                .and_then(|lifecycle| lifecycle.field(hook))
            {
                self.exactly_one(&handler, &["exec", "httpGet", "sleep", "tcpSocket"]);
                self.action(&handler);
                if let Some(seconds) = handler
                    .field("sleep")
                    .and_then(|sleep| sleep.field("seconds"))
                    && seconds
                        .int()
                        .is_some_and(|seconds| seconds < 0 || seconds > grace)
                {
                    self.say(
                        &seconds,
                        format!("must be between 0 and terminationGracePeriodSeconds ({grace})"),
                        None,
                    );
                }
            }
        }
        self.resources(container);
        if let Some(context) = container.field("securityContext") {
            self.users(&context);
        }
    }

    fn environment(&mut self, container: &At<'_>) {
        for variable in container.list("env") {
            if let Some(name) = variable.field("name")
                && name
                    .text()
                    .is_some_and(|name| name.is_empty() || name.contains('='))
            {
                self.say(&name, "a variable's name is not empty and has no `=`", None);
            }
            if let Some(source) = variable.field("valueFrom") {
                if variable
                    .text_of("value")
                    .is_some_and(|value| !value.is_empty())
                {
                    self.say(
                        &source,
                        "may not be specified when `value` is not empty",
                        None,
                    );
                }
                self.exactly_one(
                    &source,
                    &[
                        "configMapKeyRef",
                        "fieldRef",
                        "fileKeyRef",
                        "resourceFieldRef",
                        "secretKeyRef",
                    ],
                );
                if let Some(path) = source
                    .field("fieldRef")
                    .and_then(|field| field.field("fieldPath"))
                {
                    self.field_path(&path);
                }
            }
        }
        for source in container.list("envFrom") {
            self.exactly_one(&source, &["configMapRef", "secretRef"]);
        }
    }

    fn field_path(&mut self, path: &At<'_>) {
        const KNOWN: [&str; 9] = [
            "metadata.name",
            "metadata.namespace",
            "metadata.uid",
            "spec.nodeName",
            "spec.serviceAccountName",
            "status.hostIP",
            "status.hostIPs",
            "status.podIP",
            "status.podIPs",
        ];
        let Some(text) = path.text() else { return };
        let map = ["metadata.labels['", "metadata.annotations['"]
            .iter()
            .any(|start| text.starts_with(start))
            && text.ends_with("']");
        if !map && !KNOWN.contains(&text) {
            let near =
                nearest(text, KNOWN.into_iter()).map(|near| format!("did you mean `{near}`?"));
            self.say(
                path,
                format!("unsupported value: \"{text}\""),
                near.as_deref(),
            );
        }
    }

    fn ports(&mut self, container: &At<'_>) {
        let ports = container.list("ports");
        self.unique(&ports, "name");
        for port in &ports {
            if let Some(number) = port.field("containerPort") {
                self.port_number(&number);
            }
            if let Some(name) = port.field("name") {
                self.port_name(&name);
            }
        }
    }

    fn service(&mut self, spec: &At<'_>) {
        let ports = spec.list("ports");
        let is_named = spec.text_of("type") == Some("ExternalName");
        if ports.is_empty() && !is_named && spec.text_of("clusterIP") != Some("None") {
            self.say(
                spec,
                "required value: ports",
                Some("only a Service with `clusterIP: None` can do without"),
            );
        }
        self.unique(&ports, "name");
        for port in &ports {
            if ports.len() > 1 && !port.has("name") {
                self.say(port, "required value: name, where there are several", None);
            }
            if let Some(name) = port.field("name") {
                self.label(&name);
            }
            for field in ["port", "targetPort"] {
                if let Some(number) = port.field(field) {
                    self.port_number(&number);
                }
            }
            if let Some(name) = port.field("targetPort") {
                self.port_name(&name);
            }
        }
    }

    fn port_number(&mut self, at: &At<'_>) {
        if at
            .int()
            .is_some_and(|number| !(1..=65_535).contains(&number))
        {
            self.say(at, "must be between 1 and 65535, inclusive", None);
        }
    }

    fn port_name(&mut self, at: &At<'_>) {
        let good = |name: &str| {
            name.len() <= 15
                && is_label(name)
                && name.bytes().any(|byte| byte.is_ascii_lowercase())
                && !name.contains("--")
        };
        if at.text().is_some_and(|name| !good(name)) {
            self.say(
                at,
                "this is no port name (RFC 6335)",
                Some("at most 15 lower-case letters, digits and `-`"),
            );
        }
    }

    fn action(&mut self, at: &At<'_>) {
        for name in ["httpGet", "tcpSocket"] {
            if let Some(port) = at.field(name).and_then(|action| action.field("port")) {
                self.port_number(&port);
                self.port_name(&port);
            }
        }
        if let Some(exec) = at.field("exec")
            && exec.list("command").is_empty()
        {
            self.say(&exec, "required value: command", None);
        }
    }

    fn probe(&mut self, probe: &At<'_>, once: bool) {
        self.exactly_one(probe, &["exec", "httpGet", "tcpSocket", "grpc"]);
        self.action(probe);
        for (field, least) in [
            ("initialDelaySeconds", 0),
            ("periodSeconds", 1),
            ("timeoutSeconds", 1),
            ("successThreshold", 1),
            ("failureThreshold", 1),
            ("terminationGracePeriodSeconds", 1),
        ] {
            self.at_least(probe, field, least);
        }
        if once
            && let Some(threshold) = probe.field("successThreshold")
            && threshold.int().is_some_and(|number| number > 1)
        {
            self.say(
                &threshold,
                "must be 1",
                Some("only a readinessProbe may ask for more"),
            );
        }
        if !once && let Some(grace) = probe.field("terminationGracePeriodSeconds") {
            self.say(&grace, "must not be set for readinessProbes", None);
        }
    }

    fn resources(&mut self, container: &At<'_>) {
        let Some(resources) = container.field("resources") else {
            return;
        };
        let limits = resources.field("limits");
        for (name, request) in resources.field("requests").iter().flat_map(At::entries) {
            let limit = limits.as_ref().and_then(|limits| limits.field(name));
            if let Some((asked, limit)) = quantity(&request).zip(limit.as_ref().and_then(quantity))
                && asked > limit
            {
                self.say(
                    &request,
                    format!("must be less than or equal to the {name} limit"),
                    None,
                );
            }
        }
    }
}

fn quantity(at: &At<'_>) -> Option<u128> {
    let text = at
        .text()
        .map_or_else(|| at.node.to_json().to_string(), ToOwned::to_owned);
    Quantity(text).milli()
}

fn is_label(name: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}
