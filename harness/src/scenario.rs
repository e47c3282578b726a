//! A scenario: what is done while a pod runs, and what of its lines is compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use regex_lite::Regex;
use serde::{Deserialize, Deserializer, de};

use crate::engine::EngineKind;
use crate::manifest::PodSecurity;

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
    #[serde(default = "a_minute", deserialize_with = "duration")]
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

fn a_minute() -> Duration {
    Duration::from_secs(60)
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
    /// Ask a port of the pod.
    pub request: Option<Request>,
    /// Signal a container.
    pub kill: Option<Kill>,
    /// Run a program in a container.
    pub exec: Option<Exec>,
    /// Give a container another image.
    pub replace_image: Option<ReplaceImage>,
    /// Change an object.
    pub update: Option<Update>,
    /// Go on when this holds.
    pub wait: Option<Wait>,
}

/// HTTP requests to a port of the pod, as `kubectl port-forward` would bring them there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
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

/// A signal to a container's first process.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kill {
    /// The container.
    pub container: String,
    /// The signal.
    #[serde(default)]
    pub signal: Signal,
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

/// What a step waits for: a line of a container, a state of a container, or a state of the pod.
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
    /// A state of the pod.
    pub pod: Option<PodState>,
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

    /// The expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
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
        for (index, step) in scenario.steps.iter().enumerate() {
            step.check()
                .with_context(|| format!("step {}", index + 1))?;
        }
        Ok(scenario)
    }

    /// The containers that it speaks of.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        let steps = self.steps.iter().flat_map(|step| {
            let wait = step
                .wait
                .as_ref()
                .and_then(|wait| wait.container.as_deref());
            let kill = step.kill.as_ref().map(|kill| kill.container.as_str());
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

    /// Whether a step gives the container another image.
    #[must_use]
    pub fn replaces_image_of(&self, container: &str) -> bool {
        let mut replacements = self
            .steps
            .iter()
            .filter_map(|step| step.replace_image.as_ref());
        replacements.any(|replace| replace.container == container)
    }

    /// Whether it means the container to end before the run does.
    #[must_use]
    pub fn expects_end_of(&self, container: &str) -> bool {
        self.steps.iter().any(|step| {
            let killed = step
                .kill
                .as_ref()
                .is_some_and(|kill| kill.container == container);
            let waited = step.wait.as_ref().is_some_and(|wait| {
                wait.container.as_deref() == Some(container)
                    && match wait.state {
                        Some(StateName::Ended | StateName::Waiting) => true,
                        Some(StateName::Started) => wait.times > 1,
                        _ => false,
                    }
            });
            killed || waited
        })
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
            (Some(line), ..) => format!("{container} prints a line like `{}`", line.as_str()),
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
            (.., Some(state)) => format!("the pod is {}", format!("{state:?}").to_lowercase()),
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
            wait = { pod = "ready" }
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
        assert!(scenario.expects_end_of("app"));
        assert!(!scenario.expects_end_of("init"));
        let names: std::collections::BTreeSet<_> = scenario.containers().collect();
        assert_eq!(names, ["app", "init"].into());
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
        ] {
            let error = format!("{:#}", Scenario::parse(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
