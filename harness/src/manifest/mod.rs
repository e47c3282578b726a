//! Pod manifests: read with places, checked as a cluster's API server checks them, and refused by
//! the path of what an engine cannot do.

pub mod fields;
pub mod job;
pub mod pod;
mod problem;
mod security;
pub mod service;
mod validate;
mod yaml;

use std::path::Path;

use anyhow::Context;

use crate::engine::EngineKind;
use job::Job;
use pod::{ConfigMap, Pod, Secret};
pub use problem::{Place, Problem, Problems};
pub use security::PodSecurity;
use service::Service;
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
    /// Its Pods, and the pods of its Jobs.
    pub pods: Vec<Pod>,
    /// Its ConfigMaps.
    pub config_maps: Vec<ConfigMap>,
    /// Its Secrets.
    pub secrets: Vec<Secret>,
    /// Its Services.
    pub services: Vec<Service>,
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
const KNOWN: [&str; 5] = ["Pod", "ConfigMap", "Secret", "Service", "Job"];

/// The apiVersion of a kind that is known.
fn version_of(kind: &str) -> &'static str {
    match kind {
        "Job" => "batch/v1",
        _ => "v1",
    }
}

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
            services: Vec::new(),
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

    /// Engines without a cluster's controllers run one pod for a Job.
    fn refuse_followers(&self, object: &Object, engine: EngineKind) -> Option<Problem> {
        let is_of = |job: &Job| object.kind == "Job" && job.name == object.name;
        let mut pods = self.pods.iter().filter(|pod| pod.is_followed());
        let job = pods.find_map(|pod| pod.job.as_ref().filter(|job| is_of(job)))?;
        let spec = object.node.get("spec")?;
        let place = spec.get("backoffLimit").unwrap_or(spec).place;
        let limit = job.backoff_limit;
        let what = format!("{limit}, with restartPolicy Never: another pod after one that failed");
        let mut problem = fields::refusal(place, "spec.backoffLimit".to_owned(), &what, engine);
        let help = problem.help.unwrap_or_default();
        problem.help = Some(format!(
            "`backoffLimit: 0`, or `restartPolicy: OnFailure`, which starts containers again in \
             the same pod; {help}"
        ));
        Some(problem)
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
            let version = version_of(known);
            if api_version != version {
                return Err(problem(
                    "apiVersion",
                    format!("{kind} is of apiVersion {version}, not `{api_version}`"),
                    &format!("`apiVersion: {version}`"),
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
            "Job" => self.pods.push(
                serde_json::from_value::<job::JobObject>(without_nulls(value.clone()))
                    .map_err(typed)?
                    .into(),
            ),
            "ConfigMap" => self
                .config_maps
                .push(serde_json::from_value(without_nulls(value.clone())).map_err(typed)?),
            "Secret" => self
                .secrets
                .push(serde_json::from_value(without_nulls(value.clone())).map_err(typed)?),
            "Service" => self
                .services
                .push(serde_json::from_value(without_nulls(value.clone())).map_err(typed)?),
            _ => {}
        }
        if let Some(same) = self.find(&kind, &name) {
            let line = same.node.place.line;
            return Err(problem(
                "metadata",
                format!("a second {kind} is named {name}; the first begins in line {line}"),
                "give each a name of its own",
            ));
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

    /// The object of a kind and name.
    fn find(&self, kind: &str, name: &str) -> Option<&Object> {
        let mut objects = self.objects.iter();
        objects.find(|object| object.kind == kind && object.name == name)
    }

    /// Whether an engine can run it in a namespace of a Pod Security level.
    ///
    /// # Errors
    ///
    /// Every field that the engine does not support, and every rule of the level that it breaks.
    pub fn check(&self, engine: EngineKind, level: PodSecurity) -> Result<(), Problems> {
        self.check_beside(&[], engine, level)
    }

    /// As [`check`](Self::check), for what is applied while other manifests run already.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), and where a Pod has the name of one of theirs.
    pub fn check_beside(
        &self,
        others: &[&Self],
        engine: EngineKind,
        level: PodSecurity,
    ) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let mut has_second = false;
        let mut pods: usize = others.iter().map(|other| other.pods.len()).sum();
        for object in &self.objects {
            if object.kind == "Service" && engine == EngineKind::Sandbox {
                let what = format!("Service {}", object.name);
                problems.push(fields::refusal_of_sandbox(object.node.place, "kind", &what));
                continue;
            }
            if object.kind == "Service" {
                problems.extend(service::refuse(&object.node, engine));
            }
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
            let Some((pod, path)) = object.pod() else {
                continue;
            };
            pods += 1;
            if pods > 1 && engine == EngineKind::Sandbox && !has_second {
                has_second = true;
                let what = format!("a second Pod, {}", object.name);
                problems.push(fields::refusal_of_sandbox(object.node.place, "", &what));
            }
            if others
                .iter()
                .any(|other| other.find(&object.kind, &object.name).is_some())
            {
                problems.push(Problem {
                    place: object.node.place,
                    path: "metadata.name".to_owned(),
                    what: format!("a {} named {} runs already", object.kind, object.name),
                    help: Some("give it a name of its own".to_owned()),
                });
            }
            let of_pod = security::check(pod, level).into_iter();
            problems.extend(of_pod.map(|problem| Problem {
                path: format!("{path}{}", problem.path),
                ..problem
            }));
            if engine != EngineKind::Kind {
                problems.extend(self.refuse_followers(object, engine));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems::new(&self.file, &self.text, problems))
        }
    }
}

impl Object {
    /// The pod that it is or makes, and the path of that.
    fn pod(&self) -> Option<(&Node, &'static str)> {
        match self.kind.as_str() {
            "Pod" => Some((&self.node, "")),
            "Job" => Some((self.node.get("spec")?.get("template")?, "spec.template.")),
            _ => None,
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
