//! The one table of fields: which there are in Kubernetes, of which type, and which engines
//! support them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use super::problem::{Place, Problem};
use super::yaml::{Node, Value};
use crate::engine::EngineKind;
use crate::manifest::pod::Quantity;

/// A field of a type.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in the manifest; `*` for every name that is not listed.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// Its type, as the table writes it.
    pub type_name: &'static str,
    /// Which engines support it.
    pub support: Support,
    kind: Kind,
}

/// Which engines support a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// Every engine.
    All,
    /// A real cluster only.
    Cluster,
    /// Every engine supports these values, and a cluster more.
    Only(Vec<&'static str>),
    /// Docker and a real cluster; Docker these values only, where some are listed.
    Docker(Vec<&'static str>),
}

impl Support {
    /// Whether an engine supports the field, with some values at least.
    #[must_use]
    pub fn includes(&self, engine: EngineKind) -> bool {
        match self {
            Self::All | Self::Only(_) => true,
            Self::Docker(_) => engine != EngineKind::Sandbox,
            Self::Cluster => engine == EngineKind::Kind,
        }
    }
}

#[derive(Clone, Debug)]
enum Kind {
    Text,
    Bool,
    Int,
    Number,
    Quantity,
    Port,
    Base64,
    Any,
    Enum(Vec<&'static str>),
    Object(&'static str),
    List(Box<Kind>),
    Map(Box<Kind>),
}

/// The table, by type.
#[must_use]
pub fn table() -> &'static BTreeMap<&'static str, Vec<Field>> {
    static TABLE: LazyLock<BTreeMap<&str, Vec<Field>>> =
        LazyLock::new(|| read(include_str!("fields.txt")));
    &TABLE
}

/// How many fields of the table an engine supports, and how many there are.
#[must_use]
pub fn supported(engine: EngineKind) -> (usize, usize) {
    let fields = table().values().flatten();
    let supports = |field: &&Field| field.support.includes(engine);
    (fields.clone().filter(supports).count(), fields.count())
}

fn read(text: &'static str) -> BTreeMap<&'static str, Vec<Field>> {
    let mut types: BTreeMap<&str, Vec<Field>> = BTreeMap::new();
    let mut current = "";
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let Some(field) = line.strip_prefix("    ") else {
            current = line;
            types.entry(current).or_default();
            continue;
        };
        // A line that does not read so would be caught by the tests of this module.
        let Some((name, rest)) = field.split_once(": ") else {
            continue;
        };
        let Some((type_name, support)) = rest.split_once(" -- ") else {
            continue;
        };
        let (engines, values) = support.split_once(' ').unwrap_or((support, ""));
        let support = match engines {
            "all" => Support::All,
            "only" => Support::Only(values.split('|').collect()),
            "docker" if values.is_empty() => Support::Docker(Vec::new()),
            "docker" => Support::Docker(values.split('|').collect()),
            _ => Support::Cluster,
        };
        let (name, required) = name
            .strip_suffix('!')
            .map_or((name, false), |name| (name, true));
        types.entry(current).or_default().push(Field {
            name,
            required,
            type_name,
            support,
            kind: kind(type_name),
        });
    }
    types
}

fn kind(name: &'static str) -> Kind {
    let inner = |open, close| name.strip_prefix(open)?.strip_suffix(close);
    if let Some(item) = inner('[', ']') {
        return Kind::List(Box::new(kind(item)));
    }
    if let Some(item) = inner('{', '}') {
        return Kind::Map(Box::new(kind(item)));
    }
    if let Some(values) = name.strip_prefix("enum ") {
        return Kind::Enum(values.split('|').collect());
    }
    match name {
        "string" => Kind::Text,
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "number" => Kind::Number,
        "quantity" => Kind::Quantity,
        "port" => Kind::Port,
        "base64" => Kind::Base64,
        "any" => Kind::Any,
        object => Kind::Object(object),
    }
}

fn field(of: &str, name: &str) -> Option<&'static Field> {
    let fields = table().get(of)?;
    fields
        .iter()
        .find(|field| field.name == name)
        .or_else(|| fields.iter().find(|field| field.name == "*"))
}

/// Whether a value is one of those listed, of which one may end in `*`.
fn listed(values: &[&str], value: &str) -> bool {
    values.iter().any(|listed| match listed.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => *listed == value,
    })
}

fn join(path: &str, name: &str) -> String {
    // A key with a dot is written so that the path can still be read.
    let name = if name.contains('.') {
        format!("[{name}]")
    } else {
        name.to_owned()
    };
    match (path.is_empty(), name.starts_with('[')) {
        (true, _) => name,
        (false, true) => format!("{path}{name}"),
        (false, false) => format!("{path}.{name}"),
    }
}

/// Finds what of an object is not as its type has it: unknown fields, wrong types, missing fields.
pub(super) fn check(node: &Node, of: &'static str) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_kind(node, &Kind::Object(of), of, "", &mut problems);
    problems
}

/// `root` is the object's own type.
fn check_kind(
    node: &Node,
    kind: &Kind,
    root: &'static str,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let mut wrong = |expected: &str, help: Option<String>| {
        let what = format!("expected {expected}, found {}", node.kind());
        problems.push(Problem {
            place: node.place,
            path: path.to_owned(),
            what,
            help,
        });
    };
    match (kind, &node.value) {
        // An empty value is as good as none.
        (Kind::Any, _) | (_, Value::Null) => {}
        (Kind::Text | Kind::Base64, Value::Text(_))
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Int, Value::Int(_)) => {}
        (Kind::Number, Value::Int(_) | Value::Float(_))
        | (Kind::Port, Value::Int(_) | Value::Text(_)) => {}
        (
            Kind::Text | Kind::Base64 | Kind::Enum(_),
            Value::Bool(_) | Value::Int(_) | Value::Float(_),
        ) => {
            wrong("a string", Some("put it in quotes".to_owned()));
        }
        (Kind::Text | Kind::Base64, _) => wrong("a string", None),
        (Kind::Bool, _) => wrong("true or false", None),
        (Kind::Int, _) => wrong("a whole number", None),
        (Kind::Number, _) => wrong("a number", None),
        (Kind::Port, _) => wrong("a port's number or name", None),
        (Kind::Quantity, Value::Text(_) | Value::Int(_) | Value::Float(_)) => {
            let text = scalar(node);
            if Quantity(text.clone()).milli().is_none() {
                let what = format!("`{text}` is not a quantity");
                let help =
                    Some("as 64Mi, 100m or 1.5; Mi is 1024 × 1024, M is 1000 × 1000".to_owned());
                problems.push(Problem {
                    place: node.place,
                    path: path.to_owned(),
                    what,
                    help,
                });
            }
        }
        (Kind::Quantity, _) => wrong("a quantity such as 64Mi", None),
        (Kind::Enum(values), Value::Text(text)) => {
            if !listed(values, text) {
                let known: Vec<_> = values
                    .iter()
                    .filter(|value| !value.is_empty())
                    .map(|value| format!("`{value}`"))
                    .collect();
                let what = format!(
                    "unsupported value `{text}`: supported values: {}",
                    known.join(", ")
                );
                let help = nearest(text, values.iter().copied())
                    .map(|value| format!("did you mean `{value}`?"));
                problems.push(Problem {
                    place: node.place,
                    path: path.to_owned(),
                    what,
                    help,
                });
            }
        }
        (Kind::Enum(_), _) => wrong("a string", None),
        (Kind::List(item), Value::List(nodes)) => {
            for (index, node) in nodes.iter().enumerate() {
                check_kind(node, item, root, &format!("{path}[{index}]"), problems);
            }
        }
        (Kind::List(_), _) => wrong("a list", Some("begin each item with `- `".to_owned())),
        (Kind::Map(item), Value::Map(entries)) => {
            for (key, node) in entries {
                check_kind(node, item, root, &join(path, &key.name), problems);
            }
        }
        (Kind::Object(of), Value::Map(entries)) => {
            for (key, node) in entries {
                let inner = join(path, &key.name);
                match field(of, &key.name) {
                    Some(field) => check_kind(node, &field.kind, root, &inner, problems),
                    None => problems.push(Problem {
                        place: key.place,
                        path: inner,
                        what: "unknown field".to_owned(),
                        help: place_for(root, of, &key.name),
                    }),
                }
            }
            for field in table()
                .get(of)
                .into_iter()
                .flatten()
                .filter(|field| field.required)
            {
                if node
                    .get(field.name)
                    .is_none_or(|node| matches!(node.value, Value::Null))
                {
                    let what = "required value".to_owned();
                    problems.push(Problem {
                        place: node.place,
                        path: join(path, field.name),
                        what,
                        help: None,
                    });
                }
            }
        }
        (Kind::Map(_) | Kind::Object(_), _) => wrong("a map", None),
    }
}

fn scalar(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.clone(),
        _ => node.to_json().to_string(),
    }
}

/// The nearest of some names, if it is near.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let likeness = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    names
        .filter(|other| !other.is_empty() && *other != "*")
        .map(|other| (likeness(other), other))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, other)| other)
}

/// What to do about an unknown field: the right name here, or the place of a right name.
fn place_for(root: &'static str, of: &str, name: &str) -> Option<String> {
    let fields = table().get(of)?;
    let near = nearest(name, fields.iter().map(|field| field.name));
    let elsewhere = paths(root);
    let elsewhere = elsewhere
        .iter()
        .find(|(other, _)| field(other, name).is_some_and(|field| field.name == name));
    match (near, elsewhere) {
        (_, Some((_, path))) if near.is_none_or(|near| near != name) => {
            Some(format!("`{name}` belongs to {path}"))
        }
        (Some(near), _) => Some(format!("did you mean `{near}`?")),
        (None, _) => {
            let known: Vec<_> = fields.iter().map(|field| field.name).collect();
            Some(format!("there are: {}", known.join(", ")))
        }
    }
}

/// For each type that an object is made of, where it is found first.
fn paths(root: &'static str) -> Vec<(&'static str, String)> {
    let mut paths: Vec<(&str, String)> = Vec::new();
    let mut queue = VecDeque::from([(root, String::new())]);
    while let Some((of, path)) = queue.pop_front() {
        if paths.iter().any(|(known, _)| *known == of) {
            continue;
        }
        let fields = table().get(of).into_iter().flatten();
        for field in fields.filter(|field| field.support != Support::Cluster) {
            let (mut kind, mut suffix) = (&field.kind, "");
            if let Kind::List(item) = kind {
                (kind, suffix) = (item, "[]");
            }
            if let Kind::Object(inner) = kind {
                queue.push_back((inner, join(&path, &format!("{}{suffix}", field.name))));
            }
        }
        let path = match path.is_empty() {
            true => format!("the {root} itself"),
            false => path,
        };
        paths.push((of, path));
    }
    paths
}

/// Finds the fields of an object that an engine does not support.
pub(super) fn refuse(node: &Node, of: &'static str, engine: EngineKind) -> Vec<Problem> {
    let mut problems = Vec::new();
    if engine != EngineKind::Kind {
        refuse_kind(node, &Kind::Object(of), "", engine, &mut problems);
    }
    problems
}

fn refuse_kind(
    node: &Node,
    kind: &Kind,
    path: &str,
    engine: EngineKind,
    problems: &mut Vec<Problem>,
) {
    match (kind, &node.value) {
        (Kind::List(item), Value::List(nodes)) => {
            for (index, node) in nodes.iter().enumerate() {
                refuse_kind(node, item, &format!("{path}[{index}]"), engine, problems);
            }
        }
        (Kind::Map(item), Value::Map(entries)) => {
            for (key, node) in entries {
                refuse_kind(node, item, &join(path, &key.name), engine, problems);
            }
        }
        (Kind::Object(of), Value::Map(entries)) => {
            for (key, node) in entries {
                let Some(field) = field(of, &key.name) else {
                    continue;
                };
                let inner = join(path, &key.name);
                let supported = match &field.support {
                    Support::All => true,
                    Support::Cluster => matches!(node.value, Value::Null),
                    Support::Only(values) => {
                        matches!(node.value, Value::Null) || listed(values, &scalar(node))
                    }
                    Support::Docker(values) => {
                        let any = values.is_empty() || matches!(node.value, Value::Null);
                        engine == EngineKind::Docker && (any || listed(values, &scalar(node)))
                    }
                };
                if supported {
                    refuse_kind(node, &field.kind, &inner, engine, problems);
                } else {
                    problems.push(refusal(key.place, inner, &shown(node), engine));
                }
            }
        }
        _ => {}
    }
}

/// Which other engine can do what one cannot.
pub(super) const CLUSTER_CAN: &str = "`--engine kind` can: it runs the manifest on a real cluster";
const DOCKER_CAN: &str = "`--engine docker` can";
pub(super) const SO_CAN_CLUSTER: &str = ", and so can `--engine kind`";

/// What an engine says of something that it cannot do.
pub(super) fn refusal(place: Place, path: String, value: &str, engine: EngineKind) -> Problem {
    Problem {
        place,
        path,
        what: format!("{value}: the {engine} engine cannot do this"),
        help: Some(CLUSTER_CAN.to_owned()),
    }
}

/// What the sandbox says of something that Docker can do.
pub(super) fn refusal_of_sandbox(place: Place, path: &str, value: &str) -> Problem {
    let refusal = refusal(place, path.to_owned(), value, EngineKind::Sandbox);
    Problem {
        help: Some(format!("{DOCKER_CAN}{SO_CAN_CLUSTER}")),
        ..refusal
    }
}

fn shown(node: &Node) -> String {
    const LONGEST: usize = 60;
    let text = scalar(node);
    if text.chars().count() <= LONGEST {
        text
    } else {
        text.chars().take(LONGEST).collect::<String>() + "…"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("fields.txt")
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (fields, types): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("    "));
        assert_eq!(table().len(), types.len());
        assert_eq!(table().values().flatten().count(), fields.len());
        for (of, fields) in table() {
            for field in fields {
                let mut kind = &field.kind;
                while let Kind::List(item) | Kind::Map(item) = kind {
                    kind = item;
                }
                if let Kind::Object(inner) = kind {
                    assert!(
                        table().contains_key(inner),
                        "{of}.{} is of no known type {inner}",
                        field.name
                    );
                }
            }
        }
    }
}
