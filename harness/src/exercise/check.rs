//! A check: an answer's pod is run as the exercise says, and what it does is judged.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use super::mistake::spec;
use super::predict::{Prediction, Question};
use super::vary::fill_in;
use super::{Exercise, Form, Mistake, Seed, work};
use crate::diagnosis::Failure;
use crate::engine::{Change, Engine, Event, NotHere, What};
use crate::image::{BuildError, Image, REPOSITORY, build_with};
use crate::manifest::pod::{Container, EnvVar, Pod};
use crate::manifest::{Manifest, Problems};
use crate::names::{self, Unclear};
use crate::recording::Recording;
use crate::run::{Plan, interrupted};
use crate::scenario::{Pattern, Scenario};
use crate::workspace::programs_named;

/// What somebody answers to an exercise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What its file is called in messages.
    pub file: String,
    /// What stands in it.
    pub text: String,
    path: PathBuf,
}

impl Answer {
    pub(super) fn read(path: &Path, shown: &Path) -> anyhow::Result<Self> {
        let text = String::from_utf8(work::read(path)?);
        Ok(Self {
            file: shown.display().to_string(),
            text: text.with_context(|| format!("cannot read {}", path.display()))?,
            path: path.to_owned(),
        })
    }
}

/// A check: what it has found, and what it saw.
#[derive(Debug)]
pub struct Checked {
    /// What it has found.
    pub finding: Finding,
    /// What the pod did; nothing if it was not run.
    pub recording: Option<Recording>,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The pod does what it should.
    Solved,
    /// The compiler refuses the program: what it says.
    DoesNotCompile(String),
    /// It does not.
    NotYet {
        /// What was seen, or why nothing could be run.
        facts: String,
        /// The known mistakes that this is, and what is said to each; none if it is an unknown one.
        hints: BTreeMap<String, String>,
    },
    /// Someone asked it to end before it was known.
    Interrupted,
    /// This machine lacks what its pod needs: why. Nothing is known of the answer.
    NotHere(String),
}

impl Checked {
    fn without_run(finding: Finding) -> Self {
        Self {
            finding,
            recording: None,
        }
    }

    /// An answer that cannot be read.
    #[must_use]
    pub fn unreadable(error: &anyhow::Error) -> Self {
        Self::without_run(Finding::facts(format!("{error:#}")))
    }
}

impl Finding {
    fn facts(facts: impl Into<String>) -> Self {
        Self::NotYet {
            facts: facts.into(),
            hints: BTreeMap::new(),
        }
    }
}

/// `check.toml`, with what chance has decided.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Check {
    /// How the pod is run.
    run: Scenario,
    /// What its containers must have printed by its end.
    #[serde(default, rename = "expect")]
    expects: Vec<Expect>,
    /// What is to be foretold.
    #[serde(default, rename = "question")]
    questions: Vec<Question>,
    /// What is set in the environment of a program, by the program, then by the variable.
    #[serde(default)]
    set: BTreeMap<String, BTreeMap<String, Set>>,
    /// The user that a program runs as, by the program.
    #[serde(default)]
    user: BTreeMap<String, u32>,
    /// The program that a container has to run, by the container, where what it prints could be
    /// known beforehand.
    #[serde(default)]
    runs: BTreeMap<String, String>,
}

/// How often a container prints a line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Expect {
    container: String,
    line: Pattern,
    /// So often, from its first start to its end; 0 is never.
    times: usize,
    /// What it means if it is otherwise.
    says: String,
}

/// What a variable is set to.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Set {
    Value(String),
    /// A path below where the container mounts its volume, wherever that is.
    #[serde(rename_all = "kebab-case")]
    Path {
        below_mount: String,
    },
}

impl Set {
    /// The value for a container; none if what it has already is as good. Of several mounts, the one
    /// counts that the container's own value lies below.
    fn value(&self, name: &str, container: &Container) -> Option<String> {
        let below = match self {
            Self::Value(value) => return Some(value.clone()),
            Self::Path { below_mount } => below_mount,
        };
        let own = container.env.iter().find(|variable| variable.name == name);
        let own = own.and_then(|variable| variable.value.as_deref());
        let own = own.map(|path| path.trim_end_matches('/'));
        let mounts = container.volume_mounts.iter();
        let mounts = Vec::from_iter(mounts.map(|mount| mount.mount_path.trim_end_matches('/')));
        // Who names a whole volume means all that is in it.
        if own.is_some_and(|own| mounts.contains(&own)) {
            return None;
        }
        let holds = |mount: &&&str| own.is_some_and(|own| Path::new(own).starts_with(mount));
        let nearest = mounts.iter().filter(holds).max_by_key(|mount| mount.len());
        let mount = nearest.or(mounts.first()).unwrap_or(&"");
        Some(format!("{mount}/{below}"))
    }
}

impl Check {
    pub(super) fn parse(text: &str, varied: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let check: Self = toml::from_str(&fill_in(text, varied)?)?;
        check.run.check()?;
        check.questions.iter().try_for_each(Question::check)?;
        Ok(check)
    }

    /// The containers that it speaks of.
    fn containers(&self) -> impl Iterator<Item = &str> {
        let expected = self.expects.iter().map(|expect| expect.container.as_str());
        let run = self.runs.keys().map(String::as_str);
        let asked = self.questions.iter().filter_map(Question::container);
        self.run
            .containers()
            .chain(expected)
            .chain(run)
            .chain(asked)
    }

    /// What is wrong with the containers of a pod, if they are not those that it is about.
    fn lacks(&self, pod: &Pod, file: &str) -> Option<String> {
        for container in self.containers() {
            if let Err(Unclear::Unknown(there)) = names::find(&[pod], container) {
                return Some(format!(
                    "this exercise needs a container `{container}`; {file} has: {there}"
                ));
            }
        }
        let mut containers = pod.spec.all_containers();
        containers.find_map(|(_, container)| {
            let program = self.runs.get(&container.name)?;
            let image = format!("{REPOSITORY}:{program}");
            (container.image != image).then(|| {
                format!(
                    "container `{}` of this exercise runs `{image}`; {file} has: {}",
                    container.name, container.image
                )
            })
        })
    }

    /// Sets what is to be set for the programs of a pod.
    fn prepare(&self, pod: &mut Pod) {
        let containers = pod.spec.init_containers.iter_mut();
        for container in containers.chain(&mut pod.spec.containers) {
            let program = container.image.strip_prefix(REPOSITORY);
            let program = program.and_then(|rest| rest.strip_prefix(':'));
            if let Some(user) = program.and_then(|of| self.user.get(of)) {
                container.security_context.run_as_user = Some(*user);
            }
            let set = program.and_then(|of| self.set.get(of));
            for (name, set) in set.into_iter().flatten() {
                let Some(value) = set.value(name, container) else {
                    continue;
                };
                container.env.retain(|variable| variable.name != *name);
                container.env.push(EnvVar {
                    name: name.clone(),
                    value: Some(value),
                    value_from: None,
                });
            }
        }
    }

    /// What is not as expected.
    fn judge(&self, recording: &Recording) -> Option<Failure> {
        self.expects.iter().find_map(|expect| {
            let lines = recording.lines(&expect.container);
            let seen = lines
                .filter(|line| expect.line.matches(&line.text()))
                .count();
            (seen != expect.times).then(|| {
                let what = format!(
                    "{}\n{} printed {} {}, and should do so {}",
                    expect.says,
                    expect.container,
                    expect.line.in_words(),
                    times_in_words(seen),
                    times_in_words(expect.times),
                );
                Failure::about(Some(&expect.container), what)
            })
        })
    }
}

fn times_in_words(count: usize) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}

impl Exercise {
    /// Runs an answer's pod, and judges what it does. When `interrupt` becomes true, the pod is
    /// ended in order.
    ///
    /// # Errors
    ///
    /// If the machine or the exercise is at fault: nothing is known of the answer.
    pub async fn check(
        &self,
        answer: &Answer,
        engine: &dyn Engine,
        images: &[Image],
        seed: Seed,
        mut interrupt: watch::Receiver<bool>,
    ) -> anyhow::Result<Checked> {
        let without_run = |finding| Ok(Checked::without_run(finding));
        let check = self.check_for(seed)?;
        let mistakes = self.mistakes_for(seed)?;
        let mut images = images.to_vec();
        let mut prediction = None;
        let of_pod = match self.form {
            Form::Manifest => answer.clone(),
            Form::Program => {
                match self.compile(answer).await? {
                    Ok(image) => {
                        images.retain(|other| other.program != image.program);
                        images.push(image);
                    }
                    Err(said) => return without_run(Finding::DoesNotCompile(said)),
                }
                self.pod()?
            }
            Form::Prediction => {
                match Prediction::parse(&answer.file, &answer.text, &check.questions) {
                    Ok(said) => prediction = Some(said),
                    Err(why) => return without_run(Finding::facts(why)),
                }
                self.pod()?
            }
        };
        // An image that another check builds anew meanwhile is none of this one's.
        let named = programs_named(&of_pod.text);
        images.retain(|image| named.contains(&image.program));
        let mut manifest = match Manifest::parse(&of_pod.file, &of_pod.text) {
            Ok(manifest) => manifest,
            Err(problems) => return without_run(Finding::facts(problems.to_string())),
        };
        let [pod] = manifest.pods.as_mut_slice() else {
            let count = manifest.pods.len();
            return without_run(Finding::facts(format!(
                "{} holds {count} pods, and this exercise is about one",
                of_pod.file
            )));
        };
        check.prepare(pod);
        if let Some(lacks) = check.lacks(pod, &of_pod.file) {
            return without_run(Finding::facts(lacks));
        }
        let refused = prediction
            .as_ref()
            .and_then(|said| said.refuse(&check.questions, pod));
        if let Some(why) = refused {
            return without_run(Finding::facts(why));
        }
        let plan = Plan {
            chapter: self.chapter.clone(),
            name: self.folder.clone(),
            scenario: check.run.clone(),
            manifest,
            later: BTreeMap::new(),
            images,
            // How a broken pod ends is among what its reader looks at.
            discards: !self.is_fault(),
        };
        let judged = Judged {
            fields: match &prediction {
                Some(prediction) => prediction.value(),
                None => spec(&plan.manifest).clone(),
            },
            prediction,
            check,
            mistakes,
        };
        let (ask, asked) = watch::channel(false);
        // As soon as it is known what is wrong, nothing else need be waited for. What happens after
        // that is the end that was asked for, and no more of the answer.
        let mut seen = Recording::new(&self.chapter.folder, &self.folder, engine.kind());
        let (mut printed, mut known) = (Printed::default(), None);
        let mut observe = |event: &Event| {
            if known.is_some() {
                return;
            }
            seen.add(event.clone());
            let flood = printed.add(event).map(Known::Flood);
            known = flood.or_else(|| judged.known_by(event, &seen));
            if known.is_some() {
                ask.send_replace(true);
            }
        };
        let forward = async {
            interrupted(&mut interrupt).await;
            ask.send_replace(true);
            std::future::pending::<()>().await;
        };
        let run = tokio::select! {
            run = plan.run(engine, asked, &mut observe) => run,
            () = forward => unreachable!("it never ends"),
        };
        let outcome = match run {
            Ok(outcome) => outcome,
            // No check runs on a cluster, which is the advice otherwise.
            Err(error) if error.is::<NotHere>() => {
                return without_run(Finding::NotHere(error.root_cause().to_string()));
            }
            Err(error) => {
                let problems = error.downcast::<Problems>()?.without_cluster();
                return without_run(Finding::facts(problems.to_string()));
            }
        };
        if let Some(why) = outcome.lost {
            anyhow::bail!(why);
        }
        let recording = match known {
            Some(_) if plan.discards => seen,
            _ => outcome.recording,
        };
        let finding = match (known, outcome.failure) {
            _ if outcome.interrupted && *interrupt.borrow() => Finding::Interrupted,
            (Some(Known::Flood(facts)), _) => Finding::facts(facts),
            (Some(Known::Mistakes(hints)), failure) => Finding::NotYet {
                facts: match failure {
                    Some(failure) => failure.to_string(),
                    None => judged.what_was_seen(&hints, &recording),
                },
                hints,
            },
            (None, failure) => judged.find(&plan, failure, &recording),
        };
        Ok(Checked {
            finding,
            recording: Some(recording),
        })
    }

    /// Compiles an answer: its image, or what the compiler says of it.
    async fn compile(&self, answer: &Answer) -> anyhow::Result<Result<Image, String>> {
        let (root, package) = (self.workspace.root().to_owned(), self.name.clone());
        let path = std::path::absolute(&answer.path)?;
        // Cargo lets go of the program when it is compiled, and it is read after that: who compiles
        // another answer meanwhile, in another terminal, must wait.
        let folder = self.workspace.output()?;
        let built = tokio::task::spawn_blocking(move || {
            let lock = fs::create_dir_all(&folder)
                .and_then(|()| File::create(folder.join("answer.lock")))
                .with_context(|| format!("cannot write to {}", folder.display()))?;
            lock.lock().context("cannot lock the build")?;
            let answer = [(ANSWER, path.as_path())];
            anyhow::Ok(build_with(&root, &package, &answer, &mut |_| {}))
        });
        match built.await.context("the build has panicked")?? {
            Ok(images) => {
                let image = images.into_iter().find(|image| image.program == self.name);
                let image = image.with_context(|| {
                    format!("the crate of {} has no such program", self.path.display())
                })?;
                Ok(Ok(image))
            }
            Err(BuildError::Compile { messages, .. }) => Ok(Err(without_noise(&messages))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The variable that names the answer to the crate of an exercise.
const ANSWER: &str = "ANSWER";

/// What the compiler says, with paths from the workspace's root, and without what cargo adds.
fn without_noise(messages: &str) -> String {
    let is_noise = |line: &&str| {
        [
            "could not compile `",
            "For more information about",
            "Some errors have",
        ]
        .iter()
        .any(|noise| line.contains(noise))
    };
    let lines = messages.lines().filter(|line| !is_noise(line));
    let lines = lines.map(|line| line.replace("/workbook/", ""));
    Vec::from_iter(lines).join("\n").trim_end().to_owned()
}

/// How much each container has printed: lines, and bytes.
#[derive(Default)]
struct Printed(HashMap<String, (usize, usize)>);

impl Printed {
    /// No answer that is right prints as much.
    const MOST_LINES: usize = 5000;
    const MOST_BYTES: usize = 1 << 20;

    /// Counts an event, and returns what is wrong if there is too much.
    fn add(&mut self, event: &Event) -> Option<String> {
        let What::Container {
            name,
            change: Change::Line(line),
        } = &event.what
        else {
            return None;
        };
        let (lines, bytes) = self.0.entry(name.clone()).or_default();
        *lines += 1;
        *bytes += line.0.len();
        (*lines > Self::MOST_LINES || *bytes > Self::MOST_BYTES).then(|| {
            format!(
                "{name} floods its log: {lines} lines and {bytes} bytes in {:.1} s. It was ended.",
                event.at.as_secs_f64()
            )
        })
    }
}

/// What an answer is judged by.
struct Judged {
    check: Check,
    mistakes: BTreeMap<String, Mistake>,
    prediction: Option<Prediction>,
    /// What conditions of a field look at.
    fields: Value,
}

/// What is known of an answer before its run is over.
enum Known {
    /// What is told of a program that floods its log.
    Flood(String),
    /// The mistakes that it makes, with what is said to each.
    Mistakes(BTreeMap<String, String>),
}

impl Judged {
    /// The mistakes that are known by now, if one of them is by this event.
    fn known_by(&self, event: &Event, seen: &Recording) -> Option<Known> {
        let is_known = |mistake: &Mistake| {
            mistake.is_seen()
                && mistake.is_about(event)
                && mistake.hint(&self.fields, seen).is_some()
        };
        self.mistakes.values().find(|mistake| is_known(mistake))?;
        let mut hints = self.hints(seen);
        hints.retain(|name, _| !self.mistakes[name].lacks());
        Some(Known::Mistakes(hints))
    }

    /// What is said to the mistakes that were made.
    fn hints(&self, recording: &Recording) -> BTreeMap<String, String> {
        let mistakes = self.mistakes.iter();
        mistakes
            .filter_map(|(name, mistake)| {
                Some((name.clone(), mistake.hint(&self.fields, recording)?))
            })
            .collect()
    }

    /// What a run that has come to its end tells of the answer.
    fn find(&self, plan: &Plan, failure: Option<Failure>, recording: &Recording) -> Finding {
        let failure = failure.or_else(|| {
            let mut failure = self.check.judge(recording)?;
            failure.explain(recording, &plan.pods(), &plan.images);
            Some(failure)
        });
        let facts = failure.map(|failure| failure.to_string()).or_else(|| {
            let prediction = self.prediction.as_ref()?;
            prediction.compare(&self.check.questions, recording)
        });
        match facts {
            Some(facts) => Finding::NotYet {
                facts,
                hints: self.hints(recording),
            },
            None => Finding::Solved,
        }
    }

    /// What made mistakes known, in the form of a failure's evidence.
    fn what_was_seen(&self, hints: &BTreeMap<String, String>, recording: &Recording) -> String {
        let mut said = String::new();
        let mut last = None;
        let mistakes = hints.keys().filter_map(|name| self.mistakes.get(name));
        for (container, words) in mistakes.flat_map(|mistake| mistake.seen(recording)) {
            if last.as_ref() != Some(&container) {
                said.push_str(&format!("  {container}\n"));
            }
            said.push_str(&format!("    {words}\n"));
            last = Some(container);
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::engine::{Applied, EngineKind};
    use crate::manifest::PodSecurity;
    use crate::workspace::Workspace;

    const CHECK: &str = "
run = { shows = '' }
set = { app = { A = '{a}' } }
user = { app = 7 }
runs = { one = 'app' }
";

    fn pod(container: &str, image: &str) -> Manifest {
        let pod = format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: pod}}
spec:
  containers:
  - name: {container}
    image: '{image}'
    env: [{{name: A, value: x}}, {{name: B, value: w}}]
"
        );
        Manifest::parse("pod.yaml", &pod).unwrap()
    }

    fn check() -> Check {
        let varied = BTreeMap::from([("a".to_owned(), "z".to_owned())]);
        Check::parse(CHECK, &varied).unwrap()
    }

    /// A sandbox on a machine that lacks something.
    struct Lacking;

    #[async_trait]
    impl Engine for Lacking {
        fn kind(&self) -> EngineKind {
            EngineKind::Sandbox
        }

        fn notes(&self) -> Vec<String> {
            Vec::new()
        }

        fn enforces_memory_limits(&self) -> bool {
            false
        }

        async fn load(&self, _images: &[Image]) -> anyhow::Result<()> {
            Ok(())
        }

        async fn apply(
            &self,
            _manifest: &Manifest,
            _level: PodSecurity,
            _images: &[Image],
        ) -> anyhow::Result<Applied> {
            Err(anyhow::anyhow!("it lacks ids").context(NotHere(self.kind())))
        }

        async fn sweep(&self) -> anyhow::Result<Vec<String>> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn what_the_machine_cannot_run_is_neither_right_nor_wrong() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let exercise = Workspace::at(root).exercises().unwrap().remove(0);
        let (answer, (_ask, asked)) = (exercise.starter().unwrap(), watch::channel(false));
        let checked = exercise.check(&answer, &Lacking, &[], Seed::any(), asked);
        let Finding::NotHere(why) = checked.await.unwrap().finding else {
            panic!("it was judged");
        };
        assert_eq!(why, "it lacks ids");
    }

    #[test]
    fn what_a_check_decides_is_set_for_its_programs() {
        for (image, expected) in [
            (
                "sidecar-examples:app",
                (Some(7), vec![("B", "w"), ("A", "z")]),
            ),
            ("other:app", (None, vec![("A", "x"), ("B", "w")])),
        ] {
            let pod = &mut pod("one", image).pods[0];
            check().prepare(pod);
            let container = &pod.spec.containers[0];
            let env = container.env.iter();
            let env = env.map(|of| (of.name.as_str(), of.value.as_deref().unwrap()));
            let found = (container.security_context.run_as_user, env.collect());
            assert_eq!(found, expected, "{image}");
        }
    }

    #[test]
    fn a_path_lies_where_the_container_mounts_its_volume() {
        let set = toml::from_str::<BTreeMap<String, Set>>("A = { below-mount = 'z' }").unwrap();
        for (value, mounts, expected) in [
            ("/data/x", "[{name: v, mountPath: /data}]", Some("/data/z")),
            (
                "/else/x",
                "[{name: v, mountPath: /volume/}]",
                Some("/volume/z"),
            ),
            (
                "/b/c/x",
                "[{name: u, mountPath: /a}, {name: v, mountPath: /b}, {name: w, mountPath: /bb}]",
                Some("/b/z"),
            ),
            ("/data/", "[{name: v, mountPath: /data}]", None),
            ("/x", "[]", Some("/z")),
        ] {
            let text = format!(
                "{{name: one, image: x, env: [{{name: A, value: {value}}}], volumeMounts: {mounts}}}"
            );
            let pod = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod}}\nspec: {{volumes: [{{name: u, emptyDir: {{}}}}, \
                 {{name: v, emptyDir: {{}}}}, {{name: w, emptyDir: {{}}}}], containers: [{text}]}}"
            );
            let pod = &Manifest::parse("pod.yaml", &pod).unwrap().pods[0];
            let found = set["A"].value("A", &pod.spec.containers[0]);
            assert_eq!(found.as_deref(), expected, "{value} {mounts}");
        }
    }

    #[test]
    fn a_container_runs_what_it_is_to_run() {
        for (container, image, expected) in [
            ("one", "sidecar-examples:app", None),
            (
                "one",
                "sidecar-examples:apple",
                Some("runs `sidecar-examples:app`; pod.yaml has: sidecar-examples:apple"),
            ),
            (
                "two",
                "sidecar-examples:app",
                Some("needs a container `one`; pod.yaml has: two"),
            ),
        ] {
            let found = check().lacks(&pod(container, image).pods[0], "pod.yaml");
            match expected {
                Some(end) => assert!(found.unwrap().ends_with(end), "{container} {image}"),
                None => assert_eq!(found, None),
            }
        }
    }
}
