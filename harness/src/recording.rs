//! A recording: everything that a run yielded. Snapshots, order checks, figures, and what is told
//! when a run fails are all made from it.

use std::time::Duration;

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
    #[serde(skip)]
    kept: std::collections::HashMap<String, usize>,
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
            kept: std::collections::HashMap::new(),
        }
    }

    /// Adds what happened next.
    pub fn add(&mut self, event: Event) {
        if let What::Container {
            name,
            change: Change::Line(line),
        } = &event.what
        {
            let kept = self.kept.entry(name.clone()).or_default();
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

    /// What happened to a container, and when.
    pub fn changes<'r>(
        &'r self,
        container: &'r str,
    ) -> impl DoubleEndedIterator<Item = (Duration, &'r Change)> {
        self.events
            .iter()
            .filter_map(move |event| match &event.what {
                What::Container { name, change } if name == container => Some((event.at, change)),
                _ => None,
            })
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

    /// The names of the containers that something happened to, in the order in which it did.
    #[must_use]
    pub fn containers(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for event in &self.events {
            if let What::Container { name, .. } = &event.what
                && !names.contains(&name.as_str())
            {
                names.push(name.as_str());
            }
        }
        names
    }
}
