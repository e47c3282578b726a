//! A prediction: what somebody says will happen to a pod, and what did.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde::Deserialize;
use serde_json::Value;

use super::mistake::value_in_words;
use crate::engine::{Change, PodChange, What};
use crate::manifest::pod::Pod;
use crate::recording::Recording;
use crate::scenario::Pattern;

/// What stands in the place of what somebody has not answered yet.
const UNANSWERED: &str = "?";
/// The answer where there is nothing of what was asked for.
const NONE: &str = "none";
const SUCCEEDED: &str = "succeeded";
const FAILED: &str = "failed";

/// A question of `check.toml`: what in the recording answers it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Question {
    /// What the answer is called in `prediction.toml`.
    called: String,
    is: Observable,
    /// The container that it is about.
    #[serde(default)]
    container: Option<String>,
    /// The lines that count.
    #[serde(default)]
    line: Option<Pattern>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Observable {
    /// The container that ends before all others; `none` if none does.
    FirstToEnd,
    /// The container that is started before all others.
    FirstToStart,
    /// The exit code of the container's last end; `none` if it does not end.
    ExitCode,
    /// The container that ends after all others; `none` if none does.
    LastToEnd,
    /// How many lines the container prints, of those that match.
    Lines,
    /// What the pod has become by itself, `succeeded` or `failed`; `none` if it runs until it is
    /// told to end.
    Phase,
    /// How often the container is started.
    Starts,
}

impl Question {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let of_container = matches!(
            self.is,
            Observable::ExitCode | Observable::Lines | Observable::Starts
        );
        ensure!(
            of_container == self.container.is_some(),
            "the question `{}` {} a container",
            self.called,
            if of_container { "lacks" } else { "has" }
        );
        ensure!(
            self.line.is_none() || self.is == Observable::Lines,
            "the question `{}` has a `line`, and is not about lines",
            self.called
        );
        Ok(())
    }

    pub(super) fn container(&self) -> Option<&str> {
        self.container.as_deref()
    }

    /// Why this cannot be the answer, whatever the pod does.
    fn refuse(&self, said: &Value, pod: &Pod) -> Option<String> {
        let containers = pod.spec.all_containers();
        let containers = containers.map(|(_, container)| container.name.as_str());
        let (is_number, words) = match self.is {
            Observable::FirstToEnd | Observable::FirstToStart | Observable::LastToEnd => {
                (false, containers.chain([NONE]).collect())
            }
            Observable::Phase => (false, vec![SUCCEEDED, FAILED, NONE]),
            Observable::ExitCode => (true, vec![NONE]),
            Observable::Lines | Observable::Starts => (true, vec![]),
        };
        let is_possible = match said {
            Value::String(word) => words.contains(&word.as_str()),
            Value::Number(number) => is_number && number.is_u64(),
            _ => false,
        };
        let number = is_number.then_some("a number");
        let possible = || Vec::from_iter(number.into_iter().chain(words)).join(", ");
        (!is_possible).then(|| {
            format!(
                "`{}` cannot be {}; what it can be: {}",
                self.called,
                value_in_words(said),
                possible()
            )
        })
    }

    /// What the recording answers.
    fn answer(&self, recording: &Recording) -> String {
        let container = self.container.as_deref().unwrap_or_default();
        let all = |is_meant: fn(&Change) -> bool| {
            let events = recording.events.iter();
            events.filter_map(move |event| match &event.what {
                What::Container { name, change } if is_meant(change) => Some(name.clone()),
                _ => None,
            })
        };
        let has_ended = |change: &Change| matches!(change, Change::Ended { .. });
        let answer = match self.is {
            Observable::FirstToEnd => all(has_ended).next(),
            Observable::FirstToStart => {
                all(|change| matches!(change, Change::Started { .. })).next()
            }
            Observable::LastToEnd => all(has_ended).next_back(),
            Observable::Phase => recording.events.iter().find_map(|event| match event.what {
                What::Pod(PodChange::Succeeded) => Some(SUCCEEDED.to_owned()),
                What::Pod(PodChange::Failed { .. }) => Some(FAILED.to_owned()),
                _ => None,
            }),
            Observable::ExitCode => {
                let mut ends =
                    recording
                        .changes(container)
                        .filter_map(|(_, change)| match change {
                            Change::Ended { exit_code, .. } => Some(exit_code.to_string()),
                            _ => None,
                        });
                ends.next_back()
            }
            Observable::Lines => {
                let counts = |text: &str| match &self.line {
                    Some(pattern) => pattern.matches(text),
                    None => true,
                };
                let lines = recording.lines(container);
                Some(
                    lines
                        .filter(|line| counts(&line.text()))
                        .count()
                        .to_string(),
                )
            }
            Observable::Starts => {
                let starts = recording.changes(container);
                let starts = starts.filter(|(_, change)| matches!(change, Change::Started { .. }));
                Some(starts.count().to_string())
            }
        };
        answer.unwrap_or_else(|| NONE.to_owned())
    }
}

/// What somebody says will happen, by what the questions are called.
#[derive(Debug)]
pub(super) struct Prediction(BTreeMap<String, Value>);

impl Prediction {
    /// Reads one that answers every question.
    pub(super) fn parse(file: &str, text: &str, questions: &[Question]) -> Result<Self, String> {
        let said: BTreeMap<String, Value> = toml::from_str(text).map_err(|error| {
            let error = error.to_string();
            let error = error.trim_end();
            format!("{file} is no prediction: {error}\nA word stands in quotes, as \"none\".")
        })?;
        let said = BTreeMap::from_iter(said.into_iter().map(|(name, said)| (name, plain(said))));
        let names = || Vec::from_iter(questions.iter().map(|of| of.called.as_str())).join(", ");
        let is_asked = |name: &String| questions.iter().any(|of| of.called == *name);
        if let Some(unknown) = said.keys().find(|name| !is_asked(name)) {
            return Err(format!(
                "{file} answers `{unknown}`, which was not asked; asked are: {}",
                names()
            ));
        }
        let is_open = |of: &&Question| {
            let answer = said.get(&of.called).map(value_in_words);
            answer.is_none_or(|answer| answer.is_empty() || answer == UNANSWERED)
        };
        let open = Vec::from_iter(
            questions
                .iter()
                .filter(is_open)
                .map(|of| of.called.as_str()),
        );
        match open.as_slice() {
            [] => Ok(Self(said)),
            open => Err(format!(
                "still to be foretold, in the place of the question mark: {}\nThe pod is run when \
                 there is an answer to everything.",
                open.join(", ")
            )),
        }
    }

    /// Why it cannot come true, whatever the pod does.
    pub(super) fn refuse(&self, questions: &[Question], pod: &Pod) -> Option<String> {
        questions
            .iter()
            .find_map(|question| question.refuse(self.0.get(&question.called)?, pod))
    }

    /// What came otherwise, a line each; nothing if all came so.
    pub(super) fn compare(&self, questions: &[Question], recording: &Recording) -> Option<String> {
        let mut wrong = Vec::new();
        for question in questions {
            let said = self.0.get(&question.called).map(value_in_words);
            let said = said.unwrap_or_default();
            let was = question.answer(recording);
            if said != was {
                wrong.push(format!("  {} is not {said}, but {was}", question.called));
            }
        }
        (!wrong.is_empty()).then(|| {
            let all = if wrong.len() == 1 { "This" } else { "These" };
            format!("{all} came otherwise:\n{}", wrong.join("\n"))
        })
    }

    pub(super) fn value(&self) -> Value {
        Value::from_iter(self.0.clone())
    }
}

/// An answer as the questions have it, and the conditions of mistakes: whether a number stands in
/// quotes, as the question mark did, or a word begins with a capital, makes no difference.
fn plain(said: Value) -> Value {
    let Value::String(text) = said else {
        return said;
    };
    let text = text.trim().to_lowercase();
    match text.parse::<u64>() {
        Ok(number) => number.into(),
        Err(_) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{EngineKind, Event};
    use crate::manifest::Manifest;

    fn questions(text: &str) -> Vec<Question> {
        #[derive(Deserialize)]
        struct Questions {
            question: Vec<Question>,
        }
        let questions: Questions = toml::from_str(text).unwrap();
        questions.question
    }

    const QUESTIONS: &str = "
[[question]]
called = 'first'
is = 'first-to-end'
[[question]]
called = 'code'
is = 'exit-code'
container = 'app'
[[question]]
called = 'lines'
is = 'lines'
container = 'app'
line = '^a'
[[question]]
called = 'starts'
is = 'starts'
container = 'side'
[[question]]
called = 'last'
is = 'last-to-end'
[[question]]
called = 'phase'
is = 'phase'
";

    fn pod() -> Pod {
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {containers: [\
                   {name: app, image: i}, {name: side, image: i}]}}";
        Manifest::parse("pod.yaml", pod).unwrap().pods.remove(0)
    }

    #[test]
    fn it_is_compared_with_what_happened() {
        let mut recording = Recording::new("chapter", "scenario", EngineKind::Sandbox);
        let ended = |exit_code| Change::Ended {
            exit_code,
            reason: String::new(),
            message: String::new(),
        };
        let lines = ["a", "b", "ab"].map(|line| ("app", Change::Line(line.into())));
        let ends = [("side", ended(1)), ("app", ended(143))];
        for (container, change) in lines.into_iter().chain(ends) {
            recording.add(Event {
                at: Duration::ZERO,
                pod: "pod".to_owned(),
                what: What::Container {
                    name: container.to_owned(),
                    change,
                },
            });
        }
        recording.add(Event {
            at: Duration::ZERO,
            pod: "pod".to_owned(),
            what: What::Pod(PodChange::Succeeded),
        });
        let questions = questions(QUESTIONS);
        let compare = |text: &str| {
            let prediction = Prediction::parse("p", text, &questions)?;
            Ok(prediction.compare(&questions, &recording))
        };
        let right = "first = 'side'\ncode = 143\nlines = '2'\nstarts = 0\nlast = 'app'\nphase = ' Succeeded'";
        assert_eq!(compare(right), Ok(None));
        let wrong = right.replace("143", "0").replace("'2'", "3");
        let said = "These came otherwise:\n  code is not 0, but 143\n  lines is not 3, but 2";
        assert_eq!(compare(&wrong), Ok(Some(said.to_owned())));
        for (text, expected) in [
            (
                "first = 'side'\nlines = '?'",
                "question mark: code, lines, starts, last, phase\n",
            ),
            (
                "other = 1",
                "answers `other`, which was not asked; asked are: first, code",
            ),
            ("first = ", "p is no prediction: TOML parse error at line 1"),
        ] {
            let error: Result<Option<String>, String> = compare(text);
            let error = error.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let questions = questions(QUESTIONS);
        let possible = "first = 'None'\ncode = 'none'\nlines = ' 2 '\nstarts = 0\nlast = 'APP'\nphase = 'failed'";
        for (from, to, expected) in [
            ("", "", None),
            (
                "'APP'",
                "'a'",
                Some("`last` cannot be a; what it can be: app, side, none"),
            ),
            (
                "'none'",
                "-1",
                Some("`code` cannot be -1; what it can be: a number, none"),
            ),
            (
                "starts = 0",
                "starts = 'none'",
                Some("`starts` cannot be none; what it can be: a number"),
            ),
            (
                "'failed'",
                "1",
                Some("`phase` cannot be 1; what it can be: succeeded, failed, none"),
            ),
        ] {
            let text = possible.replace(from, to);
            let said = Prediction::parse("p", &text, &questions).unwrap();
            let refused = said.refuse(&questions, &pod());
            assert_eq!(refused.as_deref(), expected, "{text}");
        }
        let said = Prediction::parse("p", possible, &questions).unwrap();
        assert_eq!(said.value()["lines"], Value::from(2));
    }

    #[test]
    fn a_question_is_about_one_thing() {
        for (text, expected) in [
            ("is = 'lines'", "lacks a container"),
            ("is = 'first-to-end'\ncontainer = 'app'", "has a container"),
            (
                "is = 'starts'\ncontainer = 'app'\nline = 'a'",
                "has a `line`",
            ),
        ] {
            let text = format!("[[question]]\ncalled = 'a'\n{text}");
            let error = questions(&text)[0].check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
