//! Why a run failed: which container, what happened to it, its last lines, and what to try.

use std::fmt;

use crate::engine::{Change, PodChange, What};
use crate::image::Image;
use crate::manifest::pod::Pod;
use crate::names;
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
    /// The pod whose state is waited for, or that is asked something.
    pub(crate) pod: Option<&'a str>,
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
        pods: &[&Pod],
        scenario: &Scenario,
        about: About<'_>,
    ) -> Option<Self> {
        let about_pod = about.container.map_or(about.pod, |container| {
            let found = names::find(pods, container).ok();
            found.map(|pod| pod.metadata.name.as_str())
        });
        for event in recording.events.iter().rev() {
            let What::Pod(change) = &event.what else {
                continue;
            };
            let is_meant = about_pod.map_or(pods.len() == 1, |pod| pod == event.pod);
            let is_alone = pods.len() == 1;
            let pod = &event.pod;
            let what = match change {
                PodChange::Succeeded if is_meant && is_alone => "the pod has ended".to_owned(),
                PodChange::Succeeded if is_meant => format!("pod {pod} has ended"),
                PodChange::Failed { reason, message }
                    if is_meant || !scenario.expects_end_of_pod(pod) =>
                {
                    let why = if reason.is_empty() {
                        "a container of it failed".to_owned()
                    } else {
                        format!("{reason}: {message}")
                    };
                    let why = why.trim();
                    if is_alone {
                        format!("the pod has failed: {why}")
                    } else {
                        format!("pod {pod} has failed: {why}")
                    }
                }
                _ => continue,
            };
            return Some(Self::about(about.container, what));
        }
        let containers = pods.iter().flat_map(|pod| {
            let containers = pod.spec.all_containers();
            containers.map(move |(role, container)| (pod, role, container))
        });
        for (pod, role, container) in containers {
            let of_pod = &pod.metadata.name;
            let name = &names::of(pods.iter().copied(), of_pod, &container.name);
            let spec = &pod.spec;
            let is_meant = about
                .container
                .is_some_and(|about| names::is_of(about, of_pod, &container.name));
            let expected = scenario.expects_end_of(of_pod, &container.name);
            // One that is meant to end is meant to have been started.
            let may_wait = scenario.expects_wait_of(of_pod, &container.name);
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
                    Some(ends_again(recording, name))
                }
                Some(Change::Waiting { reason, message })
                    if reason != "CrashLoopBackOff" && !may_wait =>
                {
                    Some(format!("{name} cannot start ({reason}): {message}"))
                }
                Some(Change::Ended {
                    reason, message, ..
                }) if reason == "StartError" && !expected => {
                    Some(format!("{name} cannot start: {message}"))
                }
                Some(Change::Ended { exit_code, .. })
                    if is_meant && !spec.starts_again(role, *exit_code) && !pod.is_followed() =>
                {
                    Some(format!(
                        "{name} has ended with exit code {exit_code}, for good"
                    ))
                }
                Some(Change::Started { .. })
                    if about.ready && about_pod.is_none_or(|pod| pod == of_pod) =>
                {
                    not_ready(recording, name)
                }
                _ => None,
            };
            if let Some(what) = found {
                return Some(Self::about(Some(name), what));
            }
        }
        None
    }

    /// Adds what is known of the containers, and what to try.
    pub(crate) fn explain(&mut self, recording: &Recording, pods: &[&Pod], images: &[Image]) {
        let name = |(pod, container)| names::of(pods.iter().copied(), pod, container);
        // Of a container that was never started, the others know why.
        let is_known = |name: &&String| recording.changes(name).next().is_some();
        let shown: Vec<String> = match self.container.as_ref().filter(is_known) {
            Some(name) => vec![name.clone()],
            None => recording.containers().into_iter().map(name).collect(),
        };
        for container in shown {
            let changes = recording
                .changes(&container)
                .filter_map(|(_, change)| in_words(change))
                .collect();
            let lines = last_lines(recording, &container);
            self.evidence.push(Evidence {
                container,
                changes,
                lines,
            });
        }
        self.advice = advice(self, recording, pods, images);
    }
}

/// What a container that is started again and again does: a program that ends well does not crash,
/// and neither does one whose probe has failed.
fn ends_again(recording: &Recording, name: &str) -> String {
    let mut changes = recording.changes(name).map(|(_, change)| change);
    let last = changes.rfind(|change| {
        let is_probe = matches!(
            change,
            Change::Unhealthy { what, .. } if what == "startupProbe" || what == "livenessProbe"
        );
        is_probe || matches!(change, Change::Ended { .. })
    });
    let ended = match last {
        Some(Change::Ended { exit_code, .. }) => Some(*exit_code),
        _ => None,
    };
    let before = changes.next_back();
    match (ended, before) {
        (_, Some(Change::Unhealthy { .. })) => {
            format!("{name} is ended again and again, since its probe fails")
        }
        (Some(0), _) => format!("{name} ends again and again"),
        _ => format!("{name} crashes again and again"),
    }
}

/// Why a container will not get ready, if that is certain: a probe that was not answered in time may
/// have met a busy machine.
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
        Change::Unhealthy { what, message } if !was_late(message) => Some(format!(
            "{name} does not get ready: its {what} fails: {message}"
        )),
        _ => None,
    })
}

/// Whether a probe says that time was up, in the words of any engine.
fn was_late(message: &str) -> bool {
    let signs = ["timed out", "timeout", "Timeout", "deadline exceeded"];
    signs.iter().any(|sign| message.contains(sign))
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

/// The last lines of a container; one that it printed several times in a row counts as one.
fn last_lines(recording: &Recording, container: &str) -> Vec<String> {
    let mut last: Vec<(String, usize)> = Vec::new();
    for line in recording.lines(container).rev() {
        let line = shortened(&line.text());
        if let Some((_, count)) = last.last_mut().filter(|(before, _)| *before == line) {
            *count += 1;
        } else if last.len() == LAST_LINES {
            break;
        } else {
            last.push((line, 1));
        }
    }
    let told = last.into_iter().rev().map(|(line, count)| match count {
        1 => line,
        more => format!("{line} ({more} times)"),
    });
    told.collect()
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
    pods: &[&Pod],
    images: &[Image],
) -> Vec<String> {
    let mut advice = Vec::new();
    if failure.what.contains("exceeds the limit") {
        advice.push(FULL.to_owned());
    }
    if failure.what.contains("BackoffLimitExceeded") {
        advice.push(
            "a container of the Job failed once more often than `backoffLimit` allows: its exit code and its last lines say why"
                .to_owned(),
        );
    }
    if failure.what.contains("DeadlineExceeded") {
        advice.push(
            "a Job ends when all its ordinary containers have: a sidecar belongs under `initContainers`, with `restartPolicy: Always`; \
             and what needs longer needs a greater `activeDeadlineSeconds`"
                .to_owned(),
        );
    }
    let about = |pod: &str, name: &str| {
        let container = failure.container.as_deref();
        container.is_none_or(|container| names::is_of(container, pod, name))
    };
    let containers = pods.iter().flat_map(|pod| {
        let containers = pod.spec.all_containers();
        containers.map(|(_, container)| (&pod.metadata.name, container))
    });
    for (pod, container) in containers {
        if !about(pod, &container.name) {
            continue;
        }
        let name = &names::of(pods.iter().copied(), pod, &container.name);
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
                "{name} writes to a place that is read-only: mount an emptyDir at the folder that it writes to (not at the file), or drop `readOnly: true` from its volumeMount; `readOnlyRootFilesystem` leaves only volumes writable"
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
                "{name} may not do that as its user and groups: see who owns the files, and what their mode allows (`umask` and `UMASK` name what is taken away from it)"
            ));
        }
        // One that came too early was refused, too.
        let mut probes = signs.iter().filter(|sign| sign.contains("Probe failed"));
        let refused = probes
            .next_back()
            .is_some_and(|last| last.contains("connection refused"));
        if refused && !signs.iter().any(|sign| sign == "ready") {
            advice.push(
                "an HTTP or TCP probe asks the pod's address: nobody listens there on this port; a program that listens on 127.0.0.1 only needs an exec probe".to_owned(),
            );
        }
        // The program of a probe or a hook is another one than the container's.
        let not_there = |of_helper: bool| {
            signs.iter().any(|sign| {
                let is_of_helper = sign.contains("Probe failed")
                    || sign.contains("postStart failed")
                    || sign.contains("preStop failed");
                let not_run = sign.contains("cannot run")
                    || sign.contains("unable to start container process");
                let no_file = sign.to_lowercase().contains("no such file or directory");
                is_of_helper == of_helper && not_run && no_file
            })
        };
        if not_there(false) {
            advice.push(format!("`command` of {name} names a program that its image does not have; without `command` the image's own runs"));
        }
        if not_there(true) {
            advice.push(format!("a probe or a hook of {name} names a program that its image does not have: these images hold one program, and no shell"));
        }
        if said("panicked at") {
            advice.push(format!(
                "{name} panicked; the line above names the place in its source"
            ));
        }
        if (said("CreateContainerConfigError") || said("FailedMount")) && said("not found") {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{EngineKind, Event};

    #[test]
    fn a_probe_that_was_late_may_be_in_time_later() {
        for (message, is_certain) in [
            ("connection refused", true),
            ("timed out after 1s", false),
            ("command \"/app probe\" timed out", false),
            ("Get \"http://10.0.0.1/\": context deadline exceeded", false),
            ("dial tcp 10.0.0.1:80: i/o timeout", false),
        ] {
            let mut recording = Recording::new("chapter", "scenario", EngineKind::Sandbox);
            let changes = [
                Change::Started {
                    restarts: 0,
                    image: String::new(),
                },
                Change::Unhealthy {
                    what: "readinessProbe".to_owned(),
                    message: message.to_owned(),
                },
                Change::Ready(false),
            ];
            for change in changes {
                recording.add(Event {
                    at: Duration::ZERO,
                    pod: "pod".to_owned(),
                    what: What::Container {
                        name: "app".to_owned(),
                        change,
                    },
                });
            }
            let found = not_ready(&recording, "app");
            assert_eq!(found.is_some(), is_certain, "{message}: {found:?}");
        }
    }
}
