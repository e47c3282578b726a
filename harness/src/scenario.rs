//! A scenario: what is done while a pod runs, and what of its lines is compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use regex_lite::Regex;
use serde::{Deserialize, Deserializer, de};

use crate::engine::EngineKind;
use crate::manifest::PodSecurity;
use crate::names;

/// A scenario, as its TOML file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// One sentence on what it shows.
    pub shows: String,
    /// The engines that can run it.
    #[serde(default = "all_engines")]
    pub engines: Vec<EngineKind>,
    /// The Pod Security level of its namespace.
    #[serde(default = "restricted")]
    pub pod_security: PodSecurity,
    /// When a run is given up that neither succeeds nor fails.
    #[serde(default = "two_minutes", deserialize_with = "duration")]
    pub timeout: Duration,
    /// What is done, in this order.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
    /// What of each container's lines is compared.
    #[serde(default, rename = "snapshot")]
    pub snapshots: BTreeMap<String, Cut>,
    /// What must come before what.
    #[serde(default, rename = "order")]
    pub orders: Vec<Order>,
}

fn all_engines() -> Vec<EngineKind> {
    EngineKind::ALL.to_vec()
}

fn restricted() -> PodSecurity {
    PodSecurity::Restricted
}

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format!("`{text}` is no time span such as 30s: {error}"))
    })
}

/// At most one action, and then what to wait for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Step {
    /// Ask a port of a pod.
    pub request: Option<Request>,
    /// Signal a container, or kill all containers of a pod.
    pub kill: Option<Kill>,
    /// Run a program in a container.
    pub exec: Option<Exec>,
    /// Give a container another image.
    pub replace_image: Option<ReplaceImage>,
    /// Change an object.
    pub update: Option<Update>,
    /// Apply another manifest of the chapter: `manifests/NN-name/` and this name, with `.yaml`.
    pub apply: Option<String>,
    /// End a pod in order and wait for its end, as `kubectl delete pod` does.
    pub delete: Option<Delete>,
    /// Go on when this holds.
    pub wait: Option<Wait>,
}

/// HTTP requests to a port of a pod, as `kubectl port-forward` would bring them there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// The pod, where there are several.
    pub pod: Option<String>,
    /// The port, on the pod's `localhost`.
    pub port: u16,
    /// The path.
    #[serde(default = "root_path")]
    pub path: String,
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// What is sent along.
    #[serde(default)]
    pub body: String,
    /// How many, one after the other.
    #[serde(default = "once")]
    pub times: u32,
    /// The status that each answer must have.
    #[serde(default = "ok")]
    pub status: u16,
}

fn root_path() -> String {
    "/".to_owned()
}

fn get() -> String {
    "GET".to_owned()
}

fn once() -> u32 {
    1
}

fn ok() -> u16 {
    200
}

/// A signal to a container's first process, or the end of a whole pod as when its node is lost:
/// SIGKILL to the first process of each of its containers, all at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kill {
    /// The container.
    pub container: Option<String>,
    /// The signal to a container.
    #[serde(default)]
    pub signal: Signal,
    /// Instead of a container: a pod, whose `restartPolicy` is `Never`.
    pub pod: Option<String>,
}

/// A pod that is deleted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Delete {
    /// Its name.
    pub pod: String,
}

/// The signals that a scenario can send.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as signal(7) names them")]
pub enum Signal {
    #[serde(rename = "SIGHUP")]
    Hangup,
    #[serde(rename = "SIGINT")]
    Interrupt,
    #[serde(rename = "SIGCONT")]
    Continue,
    #[default]
    #[serde(rename = "SIGKILL")]
    Kill,
    #[serde(rename = "SIGSTOP")]
    Stop,
    #[serde(rename = "SIGTERM")]
    Terminate,
    #[serde(rename = "SIGUSR1")]
    User1,
    #[serde(rename = "SIGUSR2")]
    User2,
}

impl Signal {
    /// The signal's number on the processors that images are built for.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Kill => 9,
            Self::User1 => 10,
            Self::User2 => 12,
            Self::Terminate => 15,
            Self::Continue => 18,
            Self::Stop => 19,
        }
    }
}

/// A program to run in a container, to its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Exec {
    /// The container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The exit code that it must have.
    #[serde(default)]
    pub exit_code: i32,
}

/// Another image for a container that runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReplaceImage {
    /// The container.
    pub container: String,
    /// The image's name.
    pub image: String,
}

/// New data for an object of the manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Update {
    /// The object's kind.
    pub kind: UpdateKind,
    /// The object's name.
    pub name: String,
    /// All its data from now on.
    pub data: BTreeMap<String, String>,
}

/// The kinds of objects that a scenario can change.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum UpdateKind {
    /// A ConfigMap.
    ConfigMap,
}

/// What a step waits for: a line of a container, a state of a container, or a state of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wait {
    /// The container whose line or state it is.
    pub container: Option<String>,
    /// A line that matches.
    pub line: Option<Pattern>,
    /// A state of the container.
    pub state: Option<StateName>,
    /// With the state `ended`: the exit code.
    pub exit_code: Option<i32>,
    /// With the states `ended` and `waiting`: Kubernetes' word for why.
    pub reason: Option<String>,
    /// A state of a pod.
    pub pod: Option<PodState>,
    /// With a state of a pod: its name, where there are several.
    pub of: Option<String>,
    /// How often, counted from the start of the run.
    #[serde(default = "once")]
    pub times: u32,
}

/// What can happen to a container.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as `engine::Change` documents them")]
pub enum StateName {
    Waiting,
    Started,
    Ready,
    Ended,
}

/// What can happen to a pod.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as `engine::PodChange` documents them")]
pub enum PodState {
    Ready,
    NotReady,
    Succeeded,
    Failed,
}

/// Which lines of a container are compared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cut {
    /// The first so many; without it all, to the container's end.
    pub lines: Option<usize>,
    /// Lines that are recorded and not compared, because a race decides whether they appear.
    pub not_compared: Vec<Pattern>,
}

/// Something that must have come before something else, each the first time that it happened.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Order {
    /// What comes first.
    pub first: Moment,
    /// What comes after it.
    pub then: Moment,
}

/// A state of a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Moment {
    /// The container.
    pub container: String,
    /// Its state.
    pub state: StateName,
}

/// A regular expression for lines.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether the line has a part that matches.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        self.0.is_match(line)
    }

    /// What stands at each `(?<name>…)` in a line that matches, by its name.
    #[must_use]
    pub fn named(&self, line: &str) -> Vec<(String, String)> {
        let Some(found) = self.0.captures(line) else {
            return Vec::new();
        };
        let names = self.0.capture_names().flatten();
        names
            .filter_map(|name| Some((name.to_owned(), found.name(name)?.as_str().to_owned())))
            .collect()
    }

    /// The expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The lines that match, in words: the line itself, where only one does.
    #[must_use]
    pub fn in_words(&self) -> String {
        let expression = self.as_str();
        let plain = |text: &str| !text.contains(|sign| r".*+?()[]{}|\^$".contains(sign));
        let whole = expression
            .strip_prefix('^')
            .and_then(|rest| rest.strip_suffix('$'));
        let beginning = expression.strip_prefix('^');
        match (whole, beginning) {
            (Some(line), _) if plain(line) => format!("`{line}`"),
            (_, Some(beginning)) if plain(beginning) => {
                format!("a line that begins with `{beginning}`")
            }
            _ if plain(expression) => format!("a line with `{expression}`"),
            _ => format!("a line like `{expression}`"),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text).map(Self).map_err(|error| {
            de::Error::custom(format!("`{text}` is no regular expression: {error}"))
        })
    }
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or does not hold a scenario: with line, column, and what is
    /// wrong there.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no scenario", path.display()))
    }

    /// Reads a scenario from the text of its file.
    ///
    /// # Errors
    ///
    /// As [`Scenario::load`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// That each step says one thing.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (index, step) in self.steps.iter().enumerate() {
            step.check()
                .with_context(|| format!("step {}", index + 1))?;
        }
        Ok(())
    }

    /// The containers that it speaks of.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        let steps = self.steps.iter().flat_map(|step| {
            let wait = step
                .wait
                .as_ref()
                .and_then(|wait| wait.container.as_deref());
            let kill = step
                .kill
                .as_ref()
                .and_then(|kill| kill.container.as_deref());
            let exec = step.exec.as_ref().map(|exec| exec.container.as_str());
            let image = step
                .replace_image
                .as_ref()
                .map(|replace| replace.container.as_str());
            [wait, kill, exec, image].into_iter().flatten()
        });
        let orders = self.orders.iter().flat_map(|order| {
            [
                order.first.container.as_str(),
                order.then.container.as_str(),
            ]
        });
        self.snapshots
            .keys()
            .map(String::as_str)
            .chain(steps)
            .chain(orders)
    }

    /// Whether a step waits for a container to be killed for its use of memory.
    #[must_use]
    pub fn needs_memory_limits(&self) -> bool {
        let mut waits = self.steps.iter().filter_map(|step| step.wait.as_ref());
        waits.any(|wait| wait.reason.as_deref() == Some("OOMKilled"))
    }

    /// The manifests that its steps apply, by name.
    pub fn applies(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| step.apply.as_deref())
    }

    /// The pods that it speaks of.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().flat_map(|step| {
            let request = step.request.as_ref().and_then(|one| one.pod.as_deref());
            let kill = step.kill.as_ref().and_then(|one| one.pod.as_deref());
            let delete = step.delete.as_ref().map(|one| one.pod.as_str());
            let wait = step.wait.as_ref().and_then(|one| one.of.as_deref());
            [request, kill, delete, wait].into_iter().flatten()
        })
    }

    /// Whether a step speaks of the only pod, without its name.
    pub(crate) fn means_the_only_pod(&self) -> bool {
        self.steps.iter().any(|step| {
            let request = step.request.as_ref();
            let wait = step.wait.as_ref();
            request.is_some_and(|request| request.pod.is_none())
                || wait.is_some_and(|wait| wait.pod.is_some() && wait.of.is_none())
        })
    }

    /// Whether a step gives a container of a pod another image.
    #[must_use]
    pub fn replaces_image_of(&self, pod: &str, container: &str) -> bool {
        let mut replacements = self
            .steps
            .iter()
            .filter_map(|step| step.replace_image.as_ref());
        replacements.any(|replace| names::is_of(&replace.container, pod, container))
    }

    /// Whether it means a pod to end before the run does.
    #[must_use]
    pub fn expects_end_of_pod(&self, pod: &str) -> bool {
        self.steps.iter().any(|step| {
            let kill = step.kill.as_ref().and_then(|kill| kill.pod.as_deref());
            let delete = step.delete.as_ref().map(|delete| delete.pod.as_str());
            let wait = step
                .wait
                .as_ref()
                .filter(|wait| matches!(wait.pod, Some(PodState::Succeeded | PodState::Failed)));
            let wait = wait.and_then(|wait| wait.of.as_deref());
            [kill, delete, wait].contains(&Some(pod))
        })
    }

    /// Whether it means a container of a pod to be unable to start for a while.
    #[must_use]
    pub fn expects_wait_of(&self, pod: &str, container: &str) -> bool {
        let waited = self.steps.iter().filter_map(|step| step.wait.as_ref());
        let mut waited = waited.filter(|wait| wait.state == Some(StateName::Waiting));
        waited.any(|wait| {
            let name = wait.container.as_deref();
            name.is_some_and(|name| names::is_of(name, pod, container))
        }) || self.replaces_image_of(pod, container)
            || self.expects_end_of_pod(pod)
    }

    /// Whether it means a container of a pod to end before the run does.
    #[must_use]
    pub fn expects_end_of(&self, pod: &str, container: &str) -> bool {
        let is_meant = |name: &Option<String>| {
            let name = name.as_deref();
            name.is_some_and(|name| names::is_of(name, pod, container))
        };
        let of_container = self.steps.iter().any(|step| {
            let killed = step
                .kill
                .as_ref()
                .is_some_and(|kill| is_meant(&kill.container));
            let waited = step.wait.as_ref().is_some_and(|wait| {
                is_meant(&wait.container)
                    && match wait.state {
                        Some(StateName::Ended | StateName::Waiting) => true,
                        Some(StateName::Started) => wait.times > 1,
                        _ => false,
                    }
            });
            killed || waited
        });
        of_container || self.expects_end_of_pod(pod)
    }
}

impl Step {
    fn check(&self) -> anyhow::Result<()> {
        let actions = [
            self.request.is_some(),
            self.kill.is_some(),
            self.exec.is_some(),
            self.replace_image.is_some(),
            self.update.is_some(),
            self.apply.is_some(),
            self.delete.is_some(),
        ];
        let count = actions.into_iter().filter(|action| *action).count();
        anyhow::ensure!(
            count <= 1,
            "it has {count} actions; give each a step of its own"
        );
        anyhow::ensure!(
            count == 1 || self.wait.is_some(),
            "it neither does anything nor waits for anything"
        );
        if let Some(kill) = &self.kill {
            anyhow::ensure!(
                kill.container.is_some() != kill.pod.is_some(),
                "`kill` takes either a `container` or a `pod`"
            );
            anyhow::ensure!(
                kill.pod.is_none() || kill.signal == Signal::Kill,
                "a whole pod is killed by SIGKILL and no other `signal`"
            );
        }
        self.wait.as_ref().map_or(Ok(()), Wait::check)
    }
}

impl Wait {
    fn check(&self) -> anyhow::Result<()> {
        let what = [
            self.line.is_some(),
            self.state.is_some(),
            self.pod.is_some(),
        ];
        anyhow::ensure!(
            what.into_iter().filter(|what| *what).count() == 1,
            "`wait` takes one of `line`, `state` and `pod`"
        );
        anyhow::ensure!(
            self.pod.is_some() != self.container.is_some(),
            "`wait` for a `line` or `state` needs a `container`, for a `pod` it takes none"
        );
        anyhow::ensure!(
            self.of.is_none() || self.pod.is_some(),
            "`of` names the pod whose state is waited for"
        );
        let state = self.state;
        anyhow::ensure!(
            self.exit_code.is_none() || state == Some(StateName::Ended),
            "`exit-code` belongs to `state = \"ended\"`"
        );
        anyhow::ensure!(
            self.reason.is_none() || matches!(state, Some(StateName::Ended | StateName::Waiting)),
            "`reason` belongs to `state = \"ended\"` or `\"waiting\"`"
        );
        anyhow::ensure!(self.times > 0, "`times` is at least 1");
        Ok(())
    }

    /// The wait in words, for a message: `input-sidecar prints a line like ^Hello`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let container = self.container.as_deref().unwrap_or("the pod");
        let what = match (&self.line, self.state, self.pod) {
            (Some(line), ..) => format!("{container} prints {}", line.in_words()),
            (_, Some(state), _) => {
                let mut words = format!("{container} is {}", format!("{state:?}").to_lowercase());
                if let Some(code) = self.exit_code {
                    words.push_str(&format!(" with exit code {code}"));
                }
                if let Some(reason) = &self.reason {
                    words.push_str(&format!(" for {reason}"));
                }
                words
            }
            (.., Some(state)) => {
                let of = self.of.as_ref().map(|of| format!(" {of}"));
                let state = match state {
                    PodState::NotReady => "not ready".to_owned(),
                    state => format!("{state:?}").to_lowercase(),
                };
                format!("the pod{} is {state}", of.unwrap_or_default())
            }
            (None, None, None) => "nothing".to_owned(),
        };
        if self.times > 1 {
            format!("{what}, {} times", self.times)
        } else {
            what
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_told_in_words() {
        for (pattern, words) in [
            ("^200 OK$", "`200 OK`"),
            ("^GET /a", "a line that begins with `GET /a`"),
            ("is full", "a line with `is full`"),
            ("^via: .*output", "a line like `^via: .*output`"),
            ("^a|b$", "a line like `^a|b$`"),
        ] {
            assert_eq!(Pattern(Regex::new(pattern).unwrap()).in_words(), words);
        }
    }

    #[test]
    fn every_part_is_read() {
        let scenario = Scenario::parse(
            r#"
            shows = "All of it."
            engines = ["kind"]
            pod-security = "baseline"
            timeout = "5s"
            [[step]]
            request = { port = 8080, path = "/a", times = 3 }
            wait = { container = "app", line = "^GET /a", times = 3 }
            [[step]]
            kill = { container = "app", signal = "SIGTERM" }
            [[step]]
            wait = { container = "app", state = "ended", exit-code = 101 }
            [[step]]
            update = { kind = "ConfigMap", name = "limits", data = { a = "b" } }
            [[step]]
            apply = "more"
            wait = { pod = "ready", of = "pod" }
            [[step]]
            kill = { pod = "late" }
            [[step]]
            delete = { pod = "late" }
            [snapshot.app]
            lines = 4
            not-compared = ['^not yet']
            [[order]]
            first = { container = "init", state = "ended" }
            then = { container = "app", state = "started" }
            "#,
        )
        .unwrap();
        assert_eq!(scenario.engines, [EngineKind::Kind]);
        assert_eq!(scenario.timeout, Duration::from_secs(5));
        assert_eq!(
            scenario.steps[1].kill.as_ref().unwrap().signal,
            Signal::Terminate
        );
        assert!(scenario.expects_end_of("pod", "app"));
        assert!(!scenario.expects_end_of("pod", "init"));
        assert!(scenario.expects_end_of("late", "app"));
        assert!(scenario.expects_end_of("late", "init"));
        assert_eq!(Vec::from_iter(scenario.applies()), ["more"]);
        assert_eq!(Vec::from_iter(scenario.pods()), ["pod", "late", "late"]);
        let names: std::collections::BTreeSet<_> = scenario.containers().collect();
        assert_eq!(names, ["app", "init"].into());
    }

    #[test]
    fn a_container_that_is_meant_to_end_is_not_meant_to_wait() {
        for (step, ends, waits) in [
            (
                "kill = { container = 'app', signal = 'SIGTERM' }",
                true,
                false,
            ),
            ("wait = { container = 'app', state = 'ended' }", true, false),
            (
                "wait = { container = 'app', state = 'waiting' }",
                true,
                true,
            ),
            (
                "wait = { container = 'other', state = 'waiting' }",
                false,
                false,
            ),
        ] {
            let text = format!("shows = 's'\n[[step]]\n{step}");
            let scenario: Scenario = toml::from_str(&text).unwrap();
            assert_eq!(scenario.expects_end_of("pod", "app"), ends, "{step}");
            assert_eq!(scenario.expects_wait_of("pod", "app"), waits, "{step}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("", "missing field `shows`"),
            ("shows = 's'\n[[step]]\nwiat = 1", "unknown field `wiat`"),
            ("shows = 's'\n[[step]]", "neither does anything nor waits"),
            ("shows = 's'\ntimeout = 'soon'", "no time span"),
            (
                "shows = 's'\n[snapshot.a]\nnot-compared = ['(']",
                "no regular expression",
            ),
            (
                "shows = 's'\nengines = ['podman']",
                "unknown variant `podman`",
            ),
            (
                "shows = 's'\n[[step]]\nwait = { line = 'x' }",
                "needs a `container`",
            ),
            (
                "shows = 's'\n[[step]]\nwait = { container = 'a' }",
                "one of `line`, `state` and `pod`",
            ),
            (
                "shows = 's'\n[[step]]\nwait = { container = 'a', line = 'x', exit-code = 1 }",
                "belongs to",
            ),
            (
                "shows = 's'\n[[step]]\nkill = { container = 'a' }\nrequest = { port = 1 }",
                "2 actions",
            ),
            (
                "shows = 's'\n[[step]]\nkill = { container = 'a', pod = 'b' }",
                "either a `container` or a `pod`",
            ),
            (
                "shows = 's'\n[[step]]\nkill = { pod = 'b', signal = 'SIGTERM' }",
                "by SIGKILL and no other",
            ),
            (
                "shows = 's'\n[[step]]\nwait = { container = 'a', line = 'x', of = 'b' }",
                "`of` names the pod",
            ),
        ] {
            let error = format!("{:#}", Scenario::parse(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
