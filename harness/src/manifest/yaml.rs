//! YAML with places: a tree in which every key and value knows its line and column.
//!
//! Plain words mean what they mean to `kubectl`, which reads YAML 1.1: `yes`, `on` and their
//! opposites are booleans, and `0644` is an octal number.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Place, Problem};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// With whether it was quoted.
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; keys do not repeat.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) name: String,
}

impl Node {
    /// The value under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(name, _)| name.name == key)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// As text, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, node)| (key.name.clone(), node.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn problem(place: Place, what: impl Into<String>, help: Option<&str>) -> Problem {
    Problem {
        place,
        path: String::new(),
        what: what.into(),
        help: help.map(ToOwned::to_owned),
    }
}

/// Reads the documents of a file; empty ones are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Problem> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        size: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                let first = reader.next()?;
                if matches!(first.0, Event::DocumentEnd) {
                    continue;
                }
                let node = reader.node(first, 0)?;
                if !matches!(node.value, Value::Null) {
                    documents.push(node);
                }
            }
            _ => {}
        }
    }
}

/// How deep lists and maps may be nested, and how many values a file may have once its aliases
/// are followed: more is no manifest but an attack on its reader.
const DEEPEST: usize = 100;
const LARGEST: usize = 100_000;

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    size: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Place), Problem> {
        match self.parser.next() {
            Some(Ok((event, span))) => Ok((event, place(span))),
            Some(Err(error)) => {
                let at = Place {
                    line: error.marker().line(),
                    column: error.marker().col() + 1,
                };
                Err(problem(
                    at,
                    format!("this is not YAML: {}", error.info()),
                    None,
                ))
            }
            None => Ok((Event::StreamEnd, Place::default())),
        }
    }

    fn node(&mut self, (event, at): (Event<'t>, Place), depth: usize) -> Result<Node, Problem> {
        self.size += 1;
        if depth > DEEPEST || self.size > LARGEST {
            return Err(problem(
                at,
                "this is nested too deeply or too large for a manifest",
                None,
            ));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                (
                    anchor,
                    if plain {
                        resolve(&text)
                    } else {
                        Value::Text(text.into_owned())
                    },
                )
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let next = self.next()?;
                    if matches!(next.0, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(next, depth + 1)?);
                }
                (anchor, Value::List(items))
            }
            Event::MappingStart(anchor, _) => (anchor, Value::Map(self.entries(depth)?)),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node =
                    node.ok_or_else(|| problem(at, "this alias has no anchor before it", None))?;
                self.size += count(&node);
                return Ok(Node {
                    place: at,
                    value: node.value,
                });
            }
            _ => return Err(problem(at, "this is not a value", None)),
        };
        let node = Node { place: at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(problem(at, "a key must be a word", None)),
            };
            if name == "<<" {
                return Err(problem(
                    at,
                    "merge keys are not supported",
                    Some("write the fields out"),
                ));
            }
            if let Some((first, _)) = entries.iter().find(|(key, _)| key.name == name) {
                let what = format!(
                    "`{name}` stands here a second time; the first is in line {}",
                    first.place.line
                );
                return Err(problem(at, what, Some("keep one of the two")));
            }
            let next = self.next()?;
            let value = self.node(next, depth + 1)?;
            entries.push((Key { place: at, name }, value));
        }
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|(_, node)| count(node)).sum(),
        _ => 0,
    }
}

/// What a plain word means.
fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let radix = |digits: &str, radix| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok();
    let number = if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        radix(octal, 8)
    } else if digits.len() > 1
        && digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        radix(digits, 8)
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        radix(digits, 10)
    } else {
        None
    };
    if let Some(number) = number {
        return Value::Int(number);
    }
    let float = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    match word.parse::<f64>() {
        Ok(number) if float && number.is_finite() => Value::Float(number),
        _ => Value::Text(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        documents(text).unwrap().remove(0)
    }

    #[test]
    fn words_mean_what_they_mean_to_kubectl() {
        let json = |text: &str| one(text).to_json();
        assert_eq!(json("yes"), true);
        assert_eq!(json("off"), false);
        assert_eq!(json("0644"), 0o644);
        assert_eq!(json("0o644"), 0o644);
        assert_eq!(json("\"0644\""), "0644");
        assert_eq!(json("1.5"), 1.5);
        assert_eq!(json("64Mi"), "64Mi");
        assert_eq!(json("1.2.3"), "1.2.3");
        assert_eq!(json("-1"), -1);
        assert_eq!(json("[~, a]"), serde_json::json!([null, "a"]));
    }

    #[test]
    fn places_and_documents() {
        let all = documents("a: 1\n---\n# nothing\n---\nb:\n  - c: x\n").unwrap();
        assert_eq!(all.len(), 2);
        let list = all[1].get("b").unwrap();
        let Value::List(items) = &list.value else {
            panic!("{list:?}")
        };
        assert_eq!(
            items[0].get("c").unwrap().place,
            Place { line: 6, column: 8 }
        );
    }

    #[test]
    fn what_is_not_yaml_says_where() {
        for (text, line, says) in [
            ("a: [1\nb: 2", 2, "not YAML"),
            ("a: 1\na: 2", 2, "a second time"),
            ("a: *x", 1, "not YAML"),
            ("b: &b {c: 1}\na:\n  <<: *b", 3, "merge keys"),
            ("a:\n\t- b", 2, "not YAML"),
        ] {
            let found = documents(text).unwrap_err();
            assert_eq!(found.place.line, line, "{text}: {found:?}");
            assert!(found.what.contains(says), "{text}: {found:?}");
        }
        let bomb = format!(
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n{}",
            (0..9)
                .map(|i| {
                    let (this, last) = ((b'b' + i) as char, (b'a' + i) as char);
                    format!(
                        "{this}: &{this} [{}]\n",
                        vec![format!("*{last}"); 10].join(",")
                    )
                })
                .collect::<String>()
        );
        assert!(documents(&bomb).unwrap_err().what.contains("too large"));
    }
}
