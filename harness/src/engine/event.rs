//! The events of a run: every line that a container printed and every change of its state, in
//! the order in which the engine saw them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::byte_string::ByteString;
use crate::names;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When the engine saw it, counted from when the objects were applied; in seconds in JSON.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// The pod that it happened to.
    pub pod: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// What happened to a container, if it is one that `name` names: as `container`, or as
    /// `pod/container` where several pods have one of that name.
    #[must_use]
    pub fn change_of(&self, name: &str) -> Option<&Change> {
        match &self.what {
            What::Container {
                name: container,
                change,
            } if names::is_of(name, &self.pod, container) => Some(change),
            _ => None,
        }
    }
}

/// What happened, and to what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Something happened to the pod as a whole.
    #[serde(rename = "pod-change")]
    Pod(PodChange),
    /// Something happened to one of its containers.
    Container {
        /// The container's name.
        name: String,
        /// What happened to it.
        change: Change,
    },
}

/// A change of a pod's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodChange {
    /// Every init container has done its work: the containers are started from here on.
    Initialized,
    /// The pod's `Ready` condition.
    Ready(bool),
    /// It was told to end: its `preStop` hooks run, then its containers get SIGTERM.
    Stopping,
    /// Every container ended by itself with exit code 0, and none will be restarted.
    Succeeded,
    /// The pod ended, and not all of its containers did so with exit code 0.
    Failed {
        /// Kubernetes' word for it, as in `Evicted`; empty where a container's end says it all.
        reason: String,
        /// The engine's sentence on it.
        message: String,
    },
}

/// A change of a container's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It does not run, and waits to: `CrashLoopBackOff`, `CreateContainerConfigError`,
    /// `ErrImageNeverPull`.
    Waiting {
        /// Kubernetes' word for why.
        reason: String,
        /// The engine's sentence on it.
        message: String,
    },
    /// Its process runs.
    Started {
        /// How often it was started before: 0 the first time.
        restarts: u32,
        /// The digest of the image that it runs, as the engine reports it.
        image: String,
    },
    /// Its readiness, as the kubelet sees it.
    Ready(bool),
    /// A probe failed or a hook did.
    Unhealthy {
        /// `startupProbe`, `livenessProbe`, `readinessProbe`, `postStart` or `preStop`.
        what: String,
        /// What went wrong.
        message: String,
    },
    /// Its process has ended, and every line that it printed has been seen.
    Ended {
        /// The exit code; 128 and the signal's number where a signal ended it.
        exit_code: i32,
        /// Kubernetes' word for it: `Completed`, `Error`, `StartError`.
        reason: String,
        /// What is known beyond the exit code.
        message: String,
    },
    /// It printed a line: its bytes, without the newline.
    Line(ByteString),
}

/// A duration in JSON: seconds, to the microsecond.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(at: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64((at.as_secs_f64() * 1e6).round() / 1e6)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(de::Error::custom)
    }
}
