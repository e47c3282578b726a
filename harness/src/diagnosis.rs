//! Why a run failed: which container, what happened to it, its last lines, and what to try.

use std::fmt;

use crate::engine::{Change, PodChange, What};
use crate::image::Image;
use crate::manifest::Manifest;
use crate::recording::Recording;
use crate::scenario::Scenario;

/// How many of a container's last lines are shown.
const LAST_LINES: usize = 10;

/// Why a run did not go as its scenario says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, in a sentence.
    pub what: String,
    /// The container that it is about; without one, every container is shown.
    pub container: Option<String>,
    /// What happened to the containers that it is about.
    pub evidence: Vec<Evidence>,
    /// What to try.
    pub advice: Vec<String>,
}

/// What is known of a container when a run has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The container.
    pub container: String,
    /// What happened to it, in a few words each.
    pub changes: Vec<String>,
    /// Its last lines.
    pub lines: Vec<String>,
}

/// What a wait is about, as far as it matters for whether it can still succeed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    /// The container whose line or state is waited for.
    pub(crate) container: Option<&'a str>,
    /// Whether readiness is waited for.
    pub(crate) ready: bool,
}

impl Failure {
    /// A failure that is about the pod as a whole.
    pub(crate) fn new(what: String) -> Self {
        Self::about(None, what)
    }

    /// A failure that is about a container, where one is known.
    pub(crate) fn about(container: Option<&str>, what: String) -> Self {
        Self {
            what,
            container: container.map(ToOwned::to_owned),
            evidence: Vec::new(),
            advice: Vec::new(),
        }
    }

    pub(crate) fn while_waiting(mut self, words: &str) -> Self {
        self.what = format!("{}\nwhile waiting until {words}", self.what);
        self
    }

    /// The failure that makes waiting useless, if there is one: what is waited for cannot happen
    /// any more.
    pub(crate) fn hopeless(
        recording: &Recording,
        manifest: &Manifest,
        scenario: &Scenario,
        about: About<'_>,
    ) -> Option<Self> {
        for event in recording.events.iter().rev() {
            match &event.what {
                What::Pod(PodChange::Succeeded) => {
                    return Some(Self::about(about.container, "the pod has ended".to_owned()));
                }
                What::Pod(PodChange::Failed { reason, message }) => {
                    let why = if reason.is_empty() {
                        "a container of it failed".to_owned()
                    } else {
                        format!("{reason}: {message}")
                    };
                    return Some(Self::about(
                        about.container,
                        format!("the pod has failed: {}", why.trim()),
                    ));
                }
                _ => {}
            }
        }
        let spec = &manifest.pods.first()?.spec;
        for (role, container) in spec.all_containers() {
            let name = container.name.as_str();
            let expected = scenario.expects_end_of(name);
            let mut changes = recording.changes(name).map(|(_, change)| change);
            let found = match changes.rfind(|change| {
                matches!(
                    change,
                    Change::Waiting { .. } | Change::Started { .. } | Change::Ended { .. }
                )
            }) {
                Some(Change::Waiting { reason, .. })
                    if reason == "CrashLoopBackOff" && !expected =>
                {
                    Some(format!("{name} crashes again and again"))
                }
                Some(Change::Waiting { reason, message })
                    if reason != "CrashLoopBackOff" && !expected =>
                {
                    Some(format!("{name} cannot start ({reason}): {message}"))
                }
                Some(Change::Ended {
                    reason, message, ..
                }) if reason == "StartError" && !expected => {
                    Some(format!("{name} cannot start: {message}"))
                }
                Some(Change::Ended { exit_code, .. })
                    if about.container == Some(name) && !spec.starts_again(role, *exit_code) =>
                {
                    Some(format!(
                        "{name} has ended with exit code {exit_code}, for good"
                    ))
                }
                Some(Change::Started { .. }) if about.ready => not_ready(recording, name),
                _ => None,
            };
            if let Some(what) = found {
                return Some(Self::about(Some(name), what));
            }
        }
        None
    }

    /// Adds what is known of the containers, and what to try.
    pub(crate) fn explain(&mut self, recording: &Recording, manifest: &Manifest, images: &[Image]) {
        let shown: Vec<String> = match &self.container {
            Some(name) => vec![name.clone()],
            None => recording
                .containers()
                .into_iter()
                .map(ToOwned::to_owned)
                .collect(),
        };
        for container in shown {
            let changes = recording
                .changes(&container)
                .filter_map(|(_, change)| in_words(change))
                .collect();
            let mut lines: Vec<String> = recording
                .lines(&container)
                .rev()
                .take(LAST_LINES)
                .map(|line| shortened(&line.text()))
                .collect();
            lines.reverse();
            self.evidence.push(Evidence {
                container,
                changes,
                lines,
            });
        }
        self.advice = advice(self, recording, manifest, images);
    }
}

fn not_ready(recording: &Recording, name: &str) -> Option<String> {
    let mut of_this_start: Vec<&Change> = Vec::new();
    for (_, change) in recording.changes(name) {
        if matches!(change, Change::Started { .. }) {
            of_this_start.clear();
        }
        of_this_start.push(change);
    }
    if of_this_start.contains(&&Change::Ready(true))
        || !of_this_start.contains(&&Change::Ready(false))
    {
        return None;
    }
    of_this_start.iter().rev().find_map(|change| match change {
        Change::Unhealthy { what, message } => Some(format!(
            "{name} does not get ready: its {what} fails: {message}"
        )),
        _ => None,
    })
}

/// A change of a container in a few words; a line is none.
#[must_use]
pub fn in_words(change: &Change) -> Option<String> {
    Some(match change {
        Change::Waiting { reason, message } => format!("waits ({reason}): {message}"),
        Change::Started { restarts: 0, .. } => "started".to_owned(),
        Change::Started { restarts, .. } => format!("started again ({restarts})"),
        Change::Ready(true) => "ready".to_owned(),
        Change::Ready(false) => "not ready".to_owned(),
        Change::Unhealthy { what, message } => format!("{what} failed: {message}"),
        Change::Ended {
            exit_code,
            reason,
            message,
        } => {
            let signal = match exit_code {
                137 => ", killed by SIGKILL",
                139 => ", a segmentation fault",
                143 => ", ended by SIGTERM",
                _ => "",
            };
            let mut words = format!("ended with exit code {exit_code}{signal} ({reason})");
            if !message.is_empty() {
                words.push_str(": ");
                words.push_str(message);
            }
            words
        }
        Change::Line(_) => return None,
    })
}

fn shortened(line: &str) -> String {
    const LONGEST: usize = 200;
    let mut short: String = line.chars().take(LONGEST).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

const FULL: &str =
    "a volume is full: raise its `sizeLimit`, or have the program remove what it no longer needs";

/// What to try, from the signs that are known.
fn advice(
    failure: &Failure,
    recording: &Recording,
    manifest: &Manifest,
    images: &[Image],
) -> Vec<String> {
    let mut advice = Vec::new();
    if failure.what.contains("exceeds the limit") {
        advice.push(FULL.to_owned());
    }
    let about = |name: &str| {
        failure
            .container
            .as_deref()
            .is_none_or(|container| container == name)
    };
    for container in manifest
        .pods
        .iter()
        .flat_map(|pod| pod.spec.all_containers().map(|(_, container)| container))
    {
        let name = &container.name;
        if !about(name) {
            continue;
        }
        let signs: Vec<String> = recording
            .changes(name)
            .filter_map(|(_, change)| match change {
                Change::Line(line) => Some(line.text()),
                other => in_words(other),
            })
            .collect();
        let said = |sign: &str| signs.iter().any(|line| line.contains(sign));
        if said("ErrImageNeverPull") || said("ErrImagePull") {
            let known: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
            let nearest = known.iter().max_by(|one, other| {
                strsim::jaro_winkler(one, &container.image)
                    .total_cmp(&strsim::jaro_winkler(other, &container.image))
            });
            if let Some(nearest) = nearest {
                advice.push(format!(
                    "`image: {}` is not built here; `{nearest}` is",
                    container.image
                ));
            }
        }
        if said("os error 98") || said("Address already in use") || said("Address in use") {
            advice.push(format!(
                "the containers of a pod share one network, so each port can be taken once: give {name} another LISTEN than the others have"
            ));
        }
        if said("os error 30") || said("Read-only file system") {
            advice.push(format!(
                "{name} writes to a place that is read-only: mount an emptyDir there, or drop `readOnly: true` from its volumeMount; `readOnlyRootFilesystem` leaves only volumes writable"
            ));
        }
        if said("os error 28") || said("No space left on device") {
            advice.push(FULL.to_owned());
        }
        if said("(OOMKilled)") {
            advice.push(format!(
                "{name} used more memory than its limit: raise `resources.limits.memory`, or find what it keeps"
            ));
        }
        if said("os error 13") || said("Permission denied") {
            advice.push(format!(
                "{name} may not do that as its user: see `runAsUser`, and who owns the files"
            ));
        }
        if said("connection refused") && said("Probe failed") {
            advice.push(
                "an HTTP or TCP probe asks the pod's address: a program that listens on 127.0.0.1 only needs an exec probe".to_owned(),
            );
        }
        let not_run = said("cannot run") || said("unable to start container process");
        if not_run && (said("No such file or directory") || said("no such file or directory")) {
            advice.push(format!("`command` of {name} names a program that its image does not have; without `command` the image's own runs"));
        }
        if said("panicked at") {
            advice.push(format!(
                "{name} panicked; the line above names the place in its source"
            ));
        }
        if said("CreateContainerConfigError") && said("not found") || said("FailedMount") {
            advice.push("the ConfigMap or Secret has to stand in the same manifest".to_owned());
        }
    }
    advice.dedup();
    advice
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for evidence in &self.evidence {
            writeln!(f, "\n  {}", evidence.container)?;
            for change in &evidence.changes {
                writeln!(f, "    {change}")?;
            }
            if !evidence.lines.is_empty() {
                writeln!(f, "    its last lines:")?;
            }
            for line in &evidence.lines {
                writeln!(f, "    | {line}")?;
            }
        }
        for advice in &self.advice {
            writeln!(f, "\n  try: {advice}")?;
        }
        Ok(())
    }
}
