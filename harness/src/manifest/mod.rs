//! Pod manifests: read with places, checked as a cluster's API server checks them, and refused by
//! the path of what an engine cannot do.

pub mod fields;
pub mod pod;
mod problem;
mod security;
mod validate;
mod yaml;

use std::path::Path;

use anyhow::Context;

use crate::engine::EngineKind;
use pod::{ConfigMap, Pod, Secret};
pub use problem::{Place, Problem, Problems};
pub use security::PodSecurity;
use yaml::Node;

/// A manifest: the objects of a YAML file.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file's name, for messages.
    pub file: String,
    /// The file as it stands: what `kubectl create -f` would be given.
    pub text: String,
    /// Every object, in the order of the file.
    pub objects: Vec<Object>,
    /// Its Pods.
    pub pods: Vec<Pod>,
    /// Its ConfigMaps.
    pub config_maps: Vec<ConfigMap>,
    /// Its Secrets.
    pub secrets: Vec<Secret>,
}

/// An object of a manifest.
#[derive(Clone, Debug)]
pub struct Object {
    /// As `v1`.
    pub api_version: String,
    /// As `Pod`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The object as written.
    pub value: serde_json::Value,
    node: Node,
}

/// The kinds whose fields are known here. Any other is for a cluster to judge.
const KNOWN: [&str; 3] = ["Pod", "ConfigMap", "Secret"];

impl Manifest {
    /// Reads a manifest's file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or as [`Manifest::parse`].
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(&path.display().to_string(), &text)?)
    }

    /// Reads a manifest from the text of its file; `file` names it in messages.
    ///
    /// # Errors
    ///
    /// All that a cluster's API server would refuse whatever else it knows, and a manifest
    /// without a Pod.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let fail = |problems| Problems::new(file, text, problems);
        let documents = yaml::documents(text).map_err(|problem| fail(vec![problem]))?;
        let mut manifest = Self {
            file: file.to_owned(),
            text: text.to_owned(),
            objects: Vec::new(),
            pods: Vec::new(),
            config_maps: Vec::new(),
            secrets: Vec::new(),
        };
        let mut problems = Vec::new();
        for node in documents {
            match manifest.add(node) {
                Ok(()) => {}
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() && manifest.pods.is_empty() {
            let kinds: Vec<_> = manifest
                .objects
                .iter()
                .map(|object| object.kind.as_str())
                .collect();
            let holds = if kinds.is_empty() {
                "nothing".to_owned()
            } else {
                kinds.join(", ")
            };
            problems.push(Problem {
                place: Place { line: 1, column: 1 },
                path: String::new(),
                what: format!("the manifest has no Pod; it has {holds}"),
                help: Some("begin with `apiVersion: v1` and `kind: Pod`".to_owned()),
            });
        }
        if problems.is_empty() {
            Ok(manifest)
        } else {
            Err(fail(problems))
        }
    }

    fn add(&mut self, node: Node) -> Result<(), Vec<Problem>> {
        let text = |field: &str| {
            node.get(field)
                .and_then(Node::text)
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let name = node
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .and_then(Node::text);
        let name = name.unwrap_or_default().to_owned();
        let problem = |path: &str, what: String, help: &str| {
            let place = node.get(path).map_or(node.place, |node| node.place);
            vec![Problem {
                place,
                path: path.to_owned(),
                what,
                help: Some(help.to_owned()),
            }]
        };
        if kind.is_empty() {
            return Err(problem(
                "kind",
                "the object has no kind".to_owned(),
                "as `kind: Pod`",
            ));
        }
        if let Some(known) = KNOWN.into_iter().find(|known| *known == kind) {
            if api_version != "v1" {
                return Err(problem(
                    "apiVersion",
                    format!("{kind} is of apiVersion v1, not `{api_version}`"),
                    "`apiVersion: v1`",
                ));
            }
            let mut problems = fields::check(&node, known);
            problems.extend(validate::object(&node, known));
            if !problems.is_empty() {
                return Err(problems);
            }
        } else if let Some(near) = fields::nearest(&kind, KNOWN.into_iter()) {
            return Err(problem(
                "kind",
                format!("there is no kind `{kind}`"),
                &format!("did you mean `{near}`?"),
            ));
        }
        let value = node.to_json();
        // What is left to go wrong here is a number out of range.
        let typed = |error: serde_json::Error| {
            problem(
                "kind",
                format!("this {kind} cannot be read: {error}"),
                "see the Kubernetes API reference",
            )
        };
        match kind.as_str() {
            "Pod" => self
                .pods
                .push(serde_json::from_value(without_nulls(value.clone())).map_err(typed)?),
            "ConfigMap" => self
                .config_maps
                .push(serde_json::from_value(without_nulls(value.clone())).map_err(typed)?),
            "Secret" => self
                .secrets
                .push(serde_json::from_value(without_nulls(value.clone())).map_err(typed)?),
            _ => {}
        }
        self.objects.push(Object {
            api_version,
            kind,
            name,
            value,
            node,
        });
        Ok(())
    }

    /// Whether an engine can run it in a namespace of a Pod Security level.
    ///
    /// # Errors
    ///
    /// Every field that the engine does not support, and every rule of the level that it breaks.
    pub fn check(&self, engine: EngineKind, level: PodSecurity) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let mut pods = 0;
        for object in &self.objects {
            match KNOWN.into_iter().find(|known| *known == object.kind) {
                Some(known) => problems.extend(fields::refuse(&object.node, known, engine)),
                None if engine != EngineKind::Kind => {
                    problems.push(fields::refusal(
                        object.node.place,
                        "kind".to_owned(),
                        &object.kind,
                        engine,
                    ));
                }
                None => {}
            }
            if object.kind == "Pod" {
                pods += 1;
                if pods == 2 && engine != EngineKind::Kind {
                    let what = format!("a second Pod, {}", object.name);
                    problems.push(fields::refusal(
                        object.node.place,
                        String::new(),
                        &what,
                        engine,
                    ));
                }
                problems.extend(security::check(&object.node, level));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems::new(&self.file, &self.text, problems))
        }
    }
}

/// A field without a value is as good as none.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
