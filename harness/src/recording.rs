//! A recording: everything that a run yielded. Snapshots, order checks, figures, and what is told
//! when a run fails are all made from it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::byte_string::ByteString;
use crate::engine::{Change, EngineKind, Event, What};

/// The most bytes of lines that a recording keeps of one container: a program that floods its log
/// cannot fill the machine.
const KEPT: usize = 64 << 20;

/// Everything that a run yielded, in the order in which the engine saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recording {
    /// The folder of the chapter, as `02-input-poller`.
    pub chapter: String,
    /// The scenario that ran.
    pub scenario: String,
    /// The engine that ran it.
    pub engine: EngineKind,
    /// What happened.
    pub events: Vec<Event>,
    /// What is missing from the events; empty where nothing is.
    pub incomplete: Vec<String>,
    /// By pod and container.
    #[serde(skip)]
    kept: HashMap<(String, String), usize>,
}

impl Recording {
    /// A recording of a run that is about to begin.
    #[must_use]
    pub fn new(chapter: &str, scenario: &str, engine: EngineKind) -> Self {
        Self {
            chapter: chapter.to_owned(),
            scenario: scenario.to_owned(),
            engine,
            events: Vec::new(),
            incomplete: Vec::new(),
            kept: HashMap::new(),
        }
    }

    /// Adds what happened next.
    pub fn add(&mut self, event: Event) {
        if let What::Container {
            name,
            change: Change::Line(line),
        } = &event.what
        {
            let container = (event.pod.clone(), name.clone());
            let kept = self.kept.entry(container).or_default();
            let before = *kept;
            *kept += line.0.len() + 1;
            if *kept > KEPT {
                if before <= KEPT {
                    self.incomplete
                        .push(format!("lines of {name} after the first {KEPT} bytes"));
                }
                return;
            }
        }
        self.events.push(event);
    }

    /// What happened to a container, and when. It is named as `container`, or as `pod/container`
    /// where several pods have one of that name.
    pub fn changes<'r>(
        &'r self,
        container: &'r str,
    ) -> impl DoubleEndedIterator<Item = (Duration, &'r Change)> {
        self.events
            .iter()
            .filter_map(move |event| Some((event.at, event.change_of(container)?)))
    }

    /// The lines that a container printed, over all its starts.
    pub fn lines<'r>(
        &'r self,
        container: &'r str,
    ) -> impl DoubleEndedIterator<Item = &'r ByteString> {
        self.changes(container)
            .filter_map(|(_, change)| match change {
                Change::Line(line) => Some(line),
                _ => None,
            })
    }

    /// The recording as JSON, an event a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut whole = serde_json::json!(self);
        let events = whole["events"].take();
        let lines = events.as_array().into_iter().flatten();
        let lines: Vec<_> = lines.map(|event| format!("  {event}")).collect();
        whole["events"] = serde_json::json!([]);
        let empty = "\"events\":[]";
        let full = format!("\"events\":[\n{}\n]", lines.join(",\n"));
        whole.to_string().replacen(empty, &full, 1) + "\n"
    }

    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no recording.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let read = || anyhow::Ok(serde_json::from_str(&fs::read_to_string(file)?)?);
        read().with_context(|| format!("cannot read the recording {}", file.display()))
    }

    /// The containers that something happened to, each with its pod, in the order in which it did.
    #[must_use]
    pub fn containers(&self) -> Vec<(&str, &str)> {
        let mut seen = HashSet::new();
        let containers = self.events.iter().filter_map(|event| match &event.what {
            What::Container { name, .. } => Some((event.pod.as_str(), name.as_str())),
            What::Pod(_) => None,
        });
        containers.filter(|found| seen.insert(*found)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PodChange;

    /// The pod's name and its change once had the same key.
    #[test]
    fn a_recording_is_read_as_it_was_written() {
        let mut recording = Recording::new("01-test", "healthy", EngineKind::Sandbox);
        let whats = [
            What::Pod(PodChange::Ready(true)),
            What::Container {
                name: "app".to_owned(),
                change: Change::Line("\"events\":[] \u{1b}[0m".into()),
            },
        ];
        for (milliseconds, what) in (1..).zip(whats) {
            recording.add(Event {
                at: Duration::from_micros(milliseconds * 1500),
                pod: "pod".to_owned(),
                what,
            });
        }
        let json = recording.to_json();
        assert_eq!(json.lines().count(), 4, "{json}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &json).unwrap();
        assert_eq!(
            Recording::load(file.path()).unwrap().events,
            recording.events
        );
    }

    #[test]
    fn a_container_is_known_by_its_pod_where_another_has_its_name() {
        let mut recording = Recording::new("01-test", "healthy", EngineKind::Docker);
        for (pod, name, line) in [("a", "app", "1"), ("b", "app", "2"), ("b", "sidecar", "3")] {
            let change = Change::Line(line.into());
            let name = name.to_owned();
            recording.add(Event {
                at: Duration::ZERO,
                pod: pod.to_owned(),
                what: What::Container { name, change },
            });
        }
        assert_eq!(
            recording.containers(),
            [("a", "app"), ("b", "app"), ("b", "sidecar")]
        );
        let lines = |name| Vec::from_iter(recording.lines(name).map(ByteString::text));
        assert_eq!(lines("b/app"), ["2"]);
        assert_eq!(lines("b/sidecar"), ["3"]);
        assert_eq!(lines("sidecar"), ["3"]);
        assert_eq!(lines("a/sidecar"), [""; 0]);
    }
}
