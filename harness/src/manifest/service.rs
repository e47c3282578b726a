//! Services: a name that leads to the pods that it selects.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::refusal;
use super::pod::Metadata;
use super::problem::Problem;
use super::yaml::{Node, Value};
use crate::engine::EngineKind;

/// A Service, as far as an engine besides a real cluster acts on it: one without an address of its
/// own, whose name resolves to the addresses of its pods. Kubernetes calls it [headless].
///
/// [headless]: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(
    missing_docs,
    reason = "each field is documented in Kubernetes' API reference"
)]
pub struct Service {
    pub metadata: Metadata,
    pub spec: ServiceSpec,
}

/// What a Service is to do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(
    missing_docs,
    reason = "each field is documented in Kubernetes' API reference"
)]
pub struct ServiceSpec {
    pub selector: BTreeMap<String, String>,
    pub publish_not_ready_addresses: bool,
}

impl Service {
    /// Whether it leads to a pod with these labels. Without a selector it leads to none.
    #[must_use]
    pub fn selects(&self, pod: &Metadata) -> bool {
        let selector = &self.spec.selector;
        let mut labels = selector.iter();
        !selector.is_empty() && labels.all(|(name, value)| pod.labels.get(name) == Some(value))
    }

    /// The names by which pods of its namespace know it.
    #[must_use]
    pub fn names(&self) -> [String; 4] {
        let name = &self.metadata.name;
        let namespace = self.metadata.namespace.as_deref().unwrap_or("default");
        [
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.cluster.local"),
        ]
    }
}

/// What a Service must have that it is one of those that Docker can stand for.
pub(super) fn refuse(service: &Node, engine: EngineKind) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(spec) = service.get("spec").filter(|_| engine == EngineKind::Docker) else {
        return problems;
    };
    let is_set = |field: &str| {
        let value = spec.get(field).map(|node| &node.value);
        match value {
            None | Some(Value::Null) => false,
            Some(Value::Map(entries)) => !entries.is_empty(),
            Some(_) => true,
        }
    };
    let mut lacks = |field: &str, without: &str| {
        if !is_set(field) {
            let path = format!("spec.{field}");
            problems.push(refusal(spec.place, path, without, engine));
        }
    };
    lacks(
        "clusterIP",
        "a Service without `clusterIP: None` has an address of its own",
    );
    lacks("selector", "a Service without a selector selects no pods");
    problems
}
