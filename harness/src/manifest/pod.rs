//! The Pod as the engines see it: the fields of Kubernetes' `core/v1` that at least one engine
//! besides a real cluster acts on.
//!
//! The names are Kubernetes' own, so its [API reference] documents each of them. What is not
//! here never reaches an engine: `fields` refuses it by its path before this is read.
//!
//! [API reference]: https://kubernetes.io/docs/reference/kubernetes-api/core/pod-v1/
#![allow(
    missing_docs,
    reason = "each field is documented in Kubernetes' API reference"
)]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::job::Job;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    pub namespace: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: PodSpec,
    /// The Job that makes it, if one does.
    #[serde(skip)]
    pub job: Option<Job>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    pub metadata: Metadata,
    pub data: BTreeMap<String, String>,
    /// Base64, as in the manifest.
    pub binary_data: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    pub metadata: Metadata,
    /// Base64, as in the manifest.
    pub data: BTreeMap<String, String>,
    pub string_data: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    pub restart_policy: RestartPolicy,
    pub termination_grace_period_seconds: Option<u64>,
    pub share_process_namespace: bool,
    pub host_aliases: Vec<HostAlias>,
    pub hostname: Option<String>,
    pub security_context: PodSecurityContext,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// The three kinds of containers that a pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// A native sidecar: started among the init containers, and stays.
    Sidecar,
    /// What the pod is for.
    Main,
}

impl PodSpec {
    /// All containers with their roles, in the order in which they are started.
    pub fn all_containers(&self) -> impl Iterator<Item = (Role, &Container)> {
        let role = |container: &Container| match container.restart_policy {
            Some(RestartPolicy::Always) => Role::Sidecar,
            _ => Role::Init,
        };
        let init = self
            .init_containers
            .iter()
            .map(move |container| (role(container), container));
        init.chain(
            self.containers
                .iter()
                .map(|container| (Role::Main, container)),
        )
    }

    /// Whether a container that ended with this exit code is started again.
    #[must_use]
    pub fn starts_again(&self, role: Role, exit_code: i32) -> bool {
        match (role, self.restart_policy) {
            (Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => true,
            (Role::Init, RestartPolicy::Always) | (_, RestartPolicy::OnFailure) => exit_code != 0,
            (_, RestartPolicy::Never) => false,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAlias {
    pub ip: String,
    pub hostnames: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    pub run_as_user: Option<u32>,
    pub run_as_group: Option<u32>,
    pub run_as_non_root: Option<bool>,
    pub fs_group: Option<u32>,
    pub fs_group_change_policy: Option<String>,
    pub supplemental_groups: Vec<u32>,
    pub seccomp_profile: Option<SeccompProfile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfile {
    #[serde(rename = "type")]
    pub kind: SeccompKind,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum SeccompKind {
    RuntimeDefault,
    Unconfined,
    Localhost,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub image_pull_policy: Option<PullPolicy>,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<EnvVar>,
    pub env_from: Vec<EnvFrom>,
    pub ports: Vec<ContainerPort>,
    pub volume_mounts: Vec<VolumeMount>,
    /// Only on an init container: `Always` makes it a native sidecar.
    pub restart_policy: Option<RestartPolicy>,
    pub startup_probe: Option<Probe>,
    pub liveness_probe: Option<Probe>,
    pub readiness_probe: Option<Probe>,
    pub lifecycle: Lifecycle,
    pub resources: Resources,
    pub security_context: SecurityContext,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: Option<String>,
    pub container_port: u16,
    pub protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    pub name: String,
    pub value: Option<String>,
    pub value_from: Option<EnvVarSource>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVarSource {
    pub field_ref: Option<FieldRef>,
    pub resource_field_ref: Option<ResourceFieldRef>,
    pub config_map_key_ref: Option<KeyRef>,
    pub secret_key_ref: Option<KeyRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldRef {
    pub field_path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceFieldRef {
    pub container_name: Option<String>,
    pub resource: String,
    pub divisor: Option<Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyRef {
    pub name: String,
    pub key: String,
    pub optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFrom {
    pub prefix: String,
    pub config_map_ref: Option<NameRef>,
    pub secret_ref: Option<NameRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NameRef {
    pub name: String,
    pub optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    pub name: String,
    pub empty_dir: Option<EmptyDir>,
    pub config_map: Option<ConfigMapVolume>,
    pub secret: Option<SecretVolume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmptyDir {
    /// `""` (the node's disk) or `"Memory"`.
    pub medium: String,
    pub size_limit: Option<Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapVolume {
    pub name: String,
    pub items: Vec<KeyToPath>,
    pub default_mode: Option<u32>,
    pub optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretVolume {
    pub secret_name: String,
    pub items: Vec<KeyToPath>,
    pub default_mode: Option<u32>,
    pub optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyToPath {
    pub key: String,
    pub path: String,
    pub mode: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    pub name: String,
    pub mount_path: String,
    pub sub_path: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    pub exec: Option<ExecAction>,
    pub http_get: Option<HttpGetAction>,
    pub tcp_socket: Option<TcpSocketAction>,
    pub initial_delay_seconds: Option<u32>,
    pub period_seconds: Option<u32>,
    pub timeout_seconds: Option<u32>,
    pub success_threshold: Option<u32>,
    pub failure_threshold: Option<u32>,
    pub termination_grace_period_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecAction {
    pub command: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpGetAction {
    #[serde(default)]
    pub path: Option<String>,
    pub port: Port,
    #[serde(default)]
    pub http_headers: Vec<HttpHeader>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeader {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSocketAction {
    pub port: Port,
}

/// A port by its number, or by the name that `ports` gives it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Port {
    Number(u16),
    Name(String),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    pub post_start: Option<LifecycleHandler>,
    pub pre_stop: Option<LifecycleHandler>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleHandler {
    pub exec: Option<ExecAction>,
    pub http_get: Option<HttpGetAction>,
    pub sleep: Option<SleepAction>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SleepAction {
    pub seconds: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    pub requests: BTreeMap<String, Quantity>,
    pub limits: BTreeMap<String, Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    pub run_as_user: Option<u32>,
    pub run_as_group: Option<u32>,
    pub run_as_non_root: Option<bool>,
    pub allow_privilege_escalation: Option<bool>,
    pub read_only_root_filesystem: bool,
    pub capabilities: Capabilities,
    pub seccomp_profile: Option<SeccompProfile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

/// An amount as manifests write it: `64Mi`, `100m`, `1`.
///
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/definitions/quantity-resource/>.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(from = "QuantityText")]
pub struct Quantity(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum QuantityText {
    Text(String),
    Whole(i64),
    Fraction(f64),
}

impl From<QuantityText> for Quantity {
    fn from(text: QuantityText) -> Self {
        match text {
            QuantityText::Text(text) => Self(text),
            QuantityText::Whole(number) => Self(number.to_string()),
            QuantityText::Fraction(number) => Self(number.to_string()),
        }
    }
}

impl Quantity {
    /// The amount in thousandths of its unit (bytes, cores), or `None` where it is not a
    /// quantity. Thousandths, because CPU is given in them (`100m`).
    #[must_use]
    pub fn milli(&self) -> Option<u128> {
        let text = self.0.trim();
        let split = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+'))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        // `e` and `E` are both a suffix (`1E`) and an exponent (`1e3`).
        let exponent = suffix
            .strip_prefix(['e', 'E'])
            .filter(|digits| !digits.is_empty());
        let (scale, power): (u128, i32) = match (suffix, exponent) {
            (_, Some(digits)) => (1, digits.parse().ok()?),
            ("", _) => (1, 0),
            ("n", _) => (1, -9),
            ("u", _) => (1, -6),
            ("m", _) => (1, -3),
            ("k", _) => (1, 3),
            ("M", _) => (1, 6),
            ("G", _) => (1, 9),
            ("T", _) => (1, 12),
            ("P", _) => (1, 15),
            ("E", _) => (1, 18),
            ("Ki", _) => (1 << 10, 0),
            ("Mi", _) => (1 << 20, 0),
            ("Gi", _) => (1 << 30, 0),
            ("Ti", _) => (1 << 40, 0),
            ("Pi", _) => (1 << 50, 0),
            ("Ei", _) => (1 << 60, 0),
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digits: u128 = format!("{whole}{fraction}")
            .trim_start_matches('+')
            .parse()
            .ok()?;
        // The power of ten that turns `digits` into thousandths.
        let power = power + 3 - i32::try_from(fraction.len()).ok()?;
        let scaled = digits.checked_mul(scale)?;
        let tens = 10_u128.checked_pow(power.unsigned_abs())?;
        // Kubernetes rounds up what is finer than its unit.
        if power >= 0 {
            scaled.checked_mul(tens)
        } else {
            Some(scaled.div_ceil(tens))
        }
    }

    /// The amount in whole units (bytes, cores), rounded up.
    #[must_use]
    pub fn whole(&self) -> Option<u64> {
        u64::try_from(self.milli()?.div_ceil(1000)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_as_kubernetes_reads_them() {
        let milli = |text: &str| Quantity(text.to_owned()).milli();
        assert_eq!(milli("64Mi"), Some(64 * 1024 * 1024 * 1000));
        assert_eq!(milli("100m"), Some(100));
        assert_eq!(milli("1.5"), Some(1500));
        assert_eq!(milli("1k"), Some(1_000_000));
        assert_eq!(milli("1e3"), Some(1_000_000));
        assert_eq!(milli("1E"), Some(10_u128.pow(21)));
        assert_eq!(milli("0.5Gi"), Some(512 * 1024 * 1024 * 1000));
        assert_eq!(milli("1u"), Some(1), "finer than the unit is rounded up");
        for wrong in ["", "Mi", "64 Mi", "64mi", "-1", "1.2.3"] {
            assert_eq!(milli(wrong), None, "{wrong:?}");
        }
        assert_eq!(Quantity("1500m".to_owned()).whole(), Some(2));
    }
}
