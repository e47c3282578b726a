//! A mistake that is known: how it is recognised, and what is said to it.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde::Deserialize;
use serde_json::Value;

use super::vary::fill_in;
use crate::diagnosis::in_words;
use crate::engine::{Change, Event, What};
use crate::manifest::Manifest;
use crate::recording::Recording;
use crate::scenario::Pattern;

/// `mistake.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Mistake {
    /// What is said to it. `{name}` stands for what a condition has found: the value of the field
    /// that it has `called` so, or what stands at `(?<name>…)` in its pattern.
    says: String,
    /// What holds if it was made: all of it.
    when: Vec<When>,
}

/// One condition: of a field of the manifest, or of what a container did.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct When {
    /// A field of the pod's `spec`, or of a prediction: its path, where an object of a list stands
    /// under its name or its place, which is 0 for the first, and `container/NAME` is a container of
    /// either list, as `container/app/volumeMounts/data/mountPath`.
    field: Option<String>,
    /// It has this value.
    is: Option<Value>,
    /// It has another one, or is not there.
    is_not: Option<Value>,
    /// It has a value that matches.
    like: Option<Pattern>,
    /// It has none that matches, or is not there.
    not_like: Option<Pattern>,
    /// It is there, or is not.
    there: Option<bool>,
    /// What `says` calls its value.
    called: Option<String>,
    /// A container; without one, any container will do.
    container: Option<String>,
    /// It printed such a line.
    line: Option<Pattern>,
    /// It printed no such line.
    no_line: Option<Pattern>,
    /// With a line: at least so often, or with `no-line` less often. Without it, once.
    times: Option<usize>,
    /// It ended with this exit code.
    exit_code: Option<i32>,
    /// It was started, or never was.
    started: Option<bool>,
}

impl When {
    fn check(&self) -> anyhow::Result<()> {
        let of_field = [
            self.is.is_some(),
            self.is_not.is_some(),
            self.like.is_some(),
            self.not_like.is_some(),
            self.there.is_some(),
        ];
        let of_container = [
            self.line.is_some(),
            self.no_line.is_some(),
            self.exit_code.is_some(),
            self.started.is_some(),
        ];
        let count = |of: &[bool]| of.iter().filter(|is| **is).count();
        match &self.field {
            Some(_) => ensure!(
                count(&of_field) > 0 && count(&of_container) == 0 && self.container.is_none(),
                "a condition of a `field` has `is`, `is-not`, `like`, `not-like` or `there`"
            ),
            None => ensure!(
                count(&of_container) == 1 && count(&of_field) == 0 && self.called.is_none(),
                "a condition without a `field` has one of `line`, `no-line`, `exit-code` and `started`"
            ),
        }
        ensure!(
            self.times.is_none() || self.line.is_some() || self.no_line.is_some(),
            "a condition has `times` where it has `line` or `no-line`"
        );
        Ok(())
    }

    /// What stands in its field.
    fn value<'v>(&self, spec: &'v Value) -> Option<&'v Value> {
        find(spec, self.field.as_ref()?)
    }

    fn holds(&self, spec: &Value, recording: &Recording) -> bool {
        match self.field {
            Some(_) => self.holds_of(self.value(spec)),
            None => {
                let seen = recording.events.iter().filter(|event| self.sees(event));
                (seen.count() >= self.times.unwrap_or(1)) != self.lacks()
            }
        }
    }

    /// Whether it holds of what stands in its field.
    fn holds_of(&self, value: Option<&Value>) -> bool {
        let like =
            |pattern: &Pattern| value.is_some_and(|value| pattern.matches(&value_in_words(value)));
        self.is.as_ref().is_none_or(|is| value == Some(is))
            && self
                .is_not
                .as_ref()
                .is_none_or(|is_not| value != Some(is_not))
            && self.like.as_ref().is_none_or(like)
            && !self.not_like.as_ref().is_some_and(like)
            && self.there.is_none_or(|there| value.is_some() == there)
    }

    /// Whether this event is what it is about.
    fn sees(&self, event: &Event) -> bool {
        let change = match (&self.container, &event.what) {
            (Some(container), _) => event.change_of(container),
            (None, What::Container { change, .. }) => Some(change),
            (None, What::Pod(_)) => None,
        };
        match change {
            Some(Change::Line(line)) => {
                let pattern = self.line.as_ref().or(self.no_line.as_ref());
                pattern.is_some_and(|pattern| pattern.matches(&line.text()))
            }
            Some(Change::Ended { exit_code, .. }) => self.exit_code == Some(*exit_code),
            Some(Change::Started { .. }) => self.started.is_some(),
            _ => false,
        }
    }

    /// Whether it is of something that happened.
    fn happens(&self) -> bool {
        self.field.is_none() && !self.lacks()
    }

    /// Whether it is of something that did not happen.
    fn lacks(&self) -> bool {
        self.no_line.is_some() || self.started == Some(false)
    }

    /// What it has found, by the name that `says` has for it.
    fn found(&self, spec: &Value, recording: &Recording) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let value = self.value(spec).map(value_in_words);
        if let (Some(name), Some(value)) = (&self.called, &value) {
            found.insert(name.clone(), value.clone());
        }
        if let (Some(pattern), Some(value)) = (&self.like, &value) {
            found.extend(pattern.named(value));
        }
        if let Some(pattern) = &self.line {
            let seen = recording.events.iter().find(|event| self.sees(event));
            if let Some(What::Container {
                change: Change::Line(line),
                ..
            }) = seen.map(|event| &event.what)
            {
                found.extend(pattern.named(&line.text()));
            }
        }
        found
    }
}

impl Mistake {
    /// Reads one, with what chance has decided in the place of `{name}`.
    pub(super) fn parse(text: &str, varied: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let mut text = text.to_owned();
        for (name, value) in varied {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        let mistake: Self = toml::from_str(&text)?;
        ensure!(
            !mistake.when.is_empty(),
            "it holds always: it has no `when`"
        );
        mistake.when.iter().try_for_each(When::check)?;
        Ok(mistake)
    }

    /// What is said to it, if it was made: in the pod's [`spec`], or in a prediction.
    pub(super) fn hint(&self, spec: &Value, recording: &Recording) -> Option<String> {
        if !self.when.iter().all(|when| when.holds(spec, recording)) {
            return None;
        }
        let found = self
            .when
            .iter()
            .flat_map(|when| when.found(spec, recording));
        let said = fill_in(&self.says, &found.collect());
        // The exercises' own tests find a name that no condition has.
        Some(said.unwrap_or_else(|_| self.says.clone()))
    }

    /// What its conditions have seen, by the container that it is of: lines, and how it ended.
    pub(super) fn seen(&self, recording: &Recording) -> Vec<(String, String)> {
        let of = self.when.iter().filter(|when| when.happens());
        of.filter_map(|when| {
            let event = recording.events.iter().find(|event| when.sees(event))?;
            let What::Container { name, change } = &event.what else {
                return None;
            };
            let words = match change {
                Change::Line(line) => format!("| {}", line.text()),
                Change::Ended { .. } => in_words(change)?,
                _ => return None,
            };
            Some((name.clone(), words))
        })
        .collect()
    }

    /// Whether it is known as soon as its conditions hold: one of them is of something that
    /// happened, and none of something that did not.
    pub(super) fn is_seen(&self) -> bool {
        self.when.iter().any(When::happens) && !self.lacks()
    }

    /// Whether it is of something that did not happen, which is known only at the end.
    pub(super) fn lacks(&self) -> bool {
        self.when.iter().any(When::lacks)
    }

    /// Whether this event may be the one that makes it known.
    pub(super) fn is_about(&self, event: &Event) -> bool {
        self.when.iter().any(|when| when.sees(event))
    }
}

/// The `spec` of the pod, which a Job has in its template.
pub(super) fn spec(manifest: &Manifest) -> &Value {
    let kinds = [("Pod", "/spec"), ("Job", "/spec/template/spec")];
    let found = manifest.objects.iter().find_map(|object| {
        let (_, path) = kinds.iter().find(|(kind, _)| *kind == object.kind)?;
        object.value.pointer(path)
    });
    found.unwrap_or(&Value::Null)
}

/// The value of a field, if it is there.
fn find<'v>(spec: &'v Value, path: &str) -> Option<&'v Value> {
    let of_container = path.strip_prefix("container/");
    if let Some(path) = of_container {
        let lists = ["initContainers", "containers"];
        return lists.iter().find_map(|list| find(spec.get(list)?, path));
    }
    path.split('/').try_fold(spec, |value, name| match value {
        Value::Array(list) => list
            .iter()
            .find(|one| one.get("name").is_some_and(|of| of == name))
            .or_else(|| list.get(name.parse::<usize>().ok()?)),
        other => other.get(name),
    })
}

pub(super) fn value_in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::EngineKind;

    const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  volumes: [{name: data, emptyDir: {}}]
  initContainers:
  - {name: side, image: x, restartPolicy: Always}
  containers:
  - name: app
    image: x
    env: [{name: PORT, value: '80'}]
    volumeMounts: [{name: data, mountPath: /var/log}]
";

    fn hint(when: &str) -> Option<String> {
        let manifest = Manifest::parse("pod.yaml", POD).unwrap();
        let text = format!("says = 'at {{path}}'\n{when}");
        let recording = Recording::new("chapter", "scenario", EngineKind::Sandbox);
        let mistake = Mistake::parse(&text, &BTreeMap::new()).unwrap();
        mistake.hint(spec(&manifest), &recording)
    }

    #[test]
    fn fields_are_found_by_names() {
        let path = "field = 'container/app/volumeMounts/data/mountPath'";
        for (when, expected) in [
            (
                format!("{path}, is-not = '/logs', called = 'path'"),
                Some("at /var/log"),
            ),
            (
                format!("{path}, is = '/var/log', called = 'path'"),
                Some("at /var/log"),
            ),
            (format!("{path}, is = '/logs'"), None),
            (
                "field = 'container/side/restartPolicy', is = 'Always'".to_owned(),
                Some("at {path}"),
            ),
            (
                "field = 'initContainers/0/name', is = 'side'".to_owned(),
                Some("at {path}"),
            ),
            (
                "field = 'initContainers/1', there = false".to_owned(),
                Some("at {path}"),
            ),
            (
                "field = 'containers/side', there = false".to_owned(),
                Some("at {path}"),
            ),
            (
                "field = 'container/app/env/PORT/value', there = false".to_owned(),
                None,
            ),
            (
                "field = 'volumes/data/emptyDir/medium', there = false".to_owned(),
                Some("at {path}"),
            ),
        ] {
            let found = hint(&format!("when = [{{ {when} }}]"));
            assert_eq!(found.as_deref(), expected, "{when}");
        }
    }

    #[test]
    fn what_a_pattern_finds_is_said() {
        let field = "field = 'container/app/env/PORT/value'";
        assert_eq!(
            hint(&format!(
                "when = [{{ {field}, like = '^(?<path>[0-9]+)$' }}]"
            ))
            .as_deref(),
            Some("at 80")
        );
        for never in ["like = '^81$'", "not-like = '^80$'"] {
            assert_eq!(hint(&format!("when = [{{ {field}, {never} }}]")), None);
        }

        let event = |container: &str, line: &str| Event {
            at: Duration::ZERO,
            pod: "pod".to_owned(),
            what: What::Container {
                name: container.to_owned(),
                change: Change::Line(line.into()),
            },
        };
        let manifest = Manifest::parse("pod.yaml", POD).unwrap();
        let mut recording = Recording::new("chapter", "scenario", EngineKind::Sandbox);
        recording.add(event("side", "cannot write to /a"));
        recording.add(event("app", "cannot write to /b"));
        for (when, expected) in [
            ("container = 'app', line", Some("at /b")),
            ("line", Some("at /a")),
            ("container = 'nobody', line", None),
            ("container = 'app', no-line", None),
        ] {
            let text = format!(
                "says = 'at {{path}}'\nwhen = [{{ {when} = '^cannot write to (?<path>.+)$' }}]"
            );
            let mistake = Mistake::parse(&text, &BTreeMap::new()).unwrap();
            let found = mistake.hint(spec(&manifest), &recording);
            assert_eq!(found.as_deref(), expected, "{when}");
            let seen = recording.events.iter().any(|event| mistake.is_about(event));
            assert_eq!(seen, when != "container = 'nobody', line", "{when}");
            let seen = Vec::from_iter(mistake.seen(&recording).into_iter().map(|(_, line)| line));
            let expected = expected.map(|said| format!("| cannot write to {}", &said[3..]));
            assert_eq!(seen, Vec::from_iter(expected), "{when}");
        }
    }

    #[test]
    fn so_often_is_at_least_so_often_and_what_chance_decides_is_filled_in() {
        let mut recording = Recording::new("chapter", "scenario", EngineKind::Sandbox);
        for _ in 0..2 {
            recording.add(Event {
                at: Duration::ZERO,
                pod: "pod".to_owned(),
                what: What::Container {
                    name: "app".to_owned(),
                    change: Change::Line("GET /abc".into()),
                },
            });
        }
        let varied = BTreeMap::from([("word".to_owned(), "abc".to_owned())]);
        for (when, expected) in [
            ("line = '/{word}$', times = 2", true),
            ("line = '/{word}$', times = 3", false),
            ("no-line = '/{word}$', times = 3", true),
            ("no-line = '/{word}$', times = 2", false),
            ("line = '/other$'", false),
        ] {
            let text = format!("says = 'of {{word}}'\nwhen = [{{ {when} }}]");
            let hint = Mistake::parse(&text, &varied)
                .unwrap()
                .hint(&Value::Null, &recording);
            assert_eq!(hint, expected.then(|| "of abc".to_owned()), "{when}");
        }
    }

    #[test]
    fn what_never_holds_or_always_is_no_mistake() {
        for (text, expected) in [
            ("says = ''\nwhen = []", "it holds always"),
            (
                "says = ''\nwhen = [{ container = 'a', is = 1 }]",
                "without a `field` has one of",
            ),
            (
                "says = ''\nwhen = [{ container = 'a', line = 'x', exit-code = 1 }]",
                "without a `field` has one of",
            ),
            (
                "says = ''\nwhen = [{ field = 'a', line = 'x' }]",
                "of a `field` has",
            ),
            (
                "says = ''\nwhen = [{ is = 1 }]",
                "without a `field` has one of",
            ),
            (
                "says = ''\nwhen = [{ exit-code = 1, times = 2 }]",
                "has `times` where it has `line`",
            ),
            (
                "says = ''\nwhen = [{ field = 'a', equals = 1 }]",
                "unknown field `equals`",
            ),
        ] {
            let error = Mistake::parse(text, &BTreeMap::new())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
