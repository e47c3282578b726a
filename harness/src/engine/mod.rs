//! What the rest of the harness knows of engines: one trait, and the events that a run yields.

mod event;

use std::fmt;
use std::str::FromStr;

pub use event::{Change, Event, PodChange, What};

/// The engines that a Pod manifest can run on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Linux namespaces that the harness makes itself.
    Sandbox,
    /// A Docker daemon.
    Docker,
    /// A kind cluster.
    Kind,
}

impl EngineKind {
    /// Every engine, from the quickest to the one whose word counts.
    pub const ALL: [Self; 3] = [Self::Sandbox, Self::Docker, Self::Kind];

    /// The name that `--engine` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Docker => "docker",
            Self::Kind => "kind",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| {
                format!("there is no engine `{name}`; there are sandbox, docker and kind")
            })
    }
}
