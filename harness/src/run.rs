//! A run: a scenario's manifest on an engine, its steps, its recording.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, anyhow};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::HOST;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::diagnosis::{About, Failure};
use crate::engine::{
    Applied, Change, Engine, Event, Evidence, NotHere, PodChange, Pods, Target, What,
};
use crate::image::Image;
use crate::manifest::Manifest;
use crate::manifest::pod::{ConfigMap, Metadata, Pod, RestartPolicy};
use crate::names::{self, Unclear};
use crate::recording::Recording;
use crate::scenario::{self, Moment, PodState, Scenario, StateName, Step, Wait};
use crate::snapshot::{self, Comparison};
use crate::workspace::Chapter;

/// How long to wait before a port that refused is asked again: nothing tells when it will accept.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// The most of an answer's body that is read, in bytes.
const BODY: usize = 1 << 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The chapter.
    pub chapter: Chapter,
    /// The scenario's name.
    pub name: String,
    /// The scenario.
    pub scenario: Scenario,
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifests that its steps apply, by their names.
    pub later: BTreeMap<String, Manifest>,
    /// The images of the chapter.
    pub images: Vec<Image>,
    /// Whether its pods are removed at once when someone asks it to end, since nobody wants to see
    /// how they end.
    pub discards: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub recording: Recording,
    /// Why the run did not go as its scenario says.
    pub failure: Option<Failure>,
    /// What the containers printed, beside their snapshots; empty if the run failed.
    pub comparisons: Vec<Comparison>,
    /// Someone asked it to end before it had.
    pub interrupted: bool,
    /// Why the engine no longer knows what happens to the pods, and what would help: the machine is
    /// at fault.
    pub lost: Option<String>,
    /// What the engine has for who looks into a failure.
    pub evidence: Vec<Evidence>,
}

impl Outcome {
    /// Whether all went as recorded.
    #[must_use]
    pub fn is_as_recorded(&self) -> bool {
        let same = |comparison: &Comparison| comparison.verdict == snapshot::Verdict::Same;
        self.failure.is_none()
            && !self.interrupted
            && self.lost.is_none()
            && self.comparisons.iter().all(same)
    }
}

impl Plan {
    /// Reads what a scenario needs besides its images.
    ///
    /// # Errors
    ///
    /// If there is no such scenario, it or its manifest cannot be read, or the one speaks of a
    /// container that the other does not have.
    pub fn load(chapter: &Chapter, name: &str) -> anyhow::Result<Self> {
        let scenario = chapter.scenario(name)?;
        let manifest = chapter.manifest(name)?;
        let mut later = BTreeMap::new();
        for name in scenario.applies() {
            later.insert(name.to_owned(), chapter.manifest(name)?);
        }
        let plan = Self {
            chapter: chapter.clone(),
            name: name.to_owned(),
            scenario,
            manifest,
            later,
            images: Vec::new(),
            discards: false,
        };
        plan.check_names()?;
        Ok(plan)
    }

    /// That the scenario speaks of what there is.
    fn check_names(&self) -> anyhow::Result<()> {
        let (name, number) = (&self.name, self.chapter.number);
        let pods = self.pods();
        for container in self.scenario.containers() {
            match names::find(&pods, container) {
                Ok(_) => {}
                Err(Unclear::Unknown(there)) => anyhow::bail!(
                    "scenario {name} of chapter {number} speaks of a container `{container}`; its manifest has: {there}"
                ),
                Err(Unclear::Ambiguous(there)) => anyhow::bail!(
                    "scenario {name} of chapter {number} speaks of a container `{container}` that several pods have: say \
                     which of {there}"
                ),
            }
        }
        let all = Vec::from_iter(pods.iter().map(|pod| &*pod.metadata.name)).join(", ");
        let find = |name: &str| pods.iter().find(|pod| pod.metadata.name == name);
        for pod in self.scenario.pods() {
            anyhow::ensure!(
                find(pod).is_some(),
                "scenario {name} of chapter {number} speaks of a pod `{pod}`; its manifest has: {all}"
            );
        }
        anyhow::ensure!(
            pods.len() == 1 || !self.scenario.means_the_only_pod(),
            "scenario {name} of chapter {number} speaks of a pod and does not name it; there are: {all}"
        );
        let kills = self
            .scenario
            .steps
            .iter()
            .filter_map(|step| step.kill.as_ref());
        for pod in kills.filter_map(|kill| kill.pod.as_deref()) {
            let policy = find(pod).map(|pod| pod.spec.restart_policy);
            anyhow::ensure!(
                policy == Some(RestartPolicy::Never),
                "scenario {name} of chapter {number} kills pod {pod}, whose containers would be started again: give it \
                 `restartPolicy: Never`"
            );
        }
        Ok(())
    }

    /// Its pods: those of its manifest, and those that its steps apply.
    #[must_use]
    pub fn pods(&self) -> Vec<&Pod> {
        let later = self.later.values().flat_map(|manifest| &manifest.pods);
        self.manifest.pods.iter().chain(later).collect()
    }

    /// The pod and the container that a scenario's name stands for.
    fn target<'n>(&'n self, name: &'n str) -> anyhow::Result<Target<'n>> {
        let pod = names::find(&self.pods(), name).ok();
        let pod = pod.with_context(|| format!("there is no container {name}"))?;
        let (_, container) = name.split_once('/').unwrap_or(("", name));
        Ok(Target {
            pod: &pod.metadata.name,
            container,
        })
    }

    /// Runs it. `observe` sees every event as it happens; when `interrupt` becomes true, the pod
    /// is ended in order, or removed if it `discards` it.
    ///
    /// # Errors
    ///
    /// If the engine refuses the manifest or cannot run anything: the machine or the manifest is
    /// at fault, and nothing ran.
    pub async fn run(
        &self,
        engine: &dyn Engine,
        interrupt: watch::Receiver<bool>,
        observe: &mut (dyn FnMut(&Event) + Send),
    ) -> anyhow::Result<Outcome> {
        let mut conductor = self.start(engine, interrupt, observe).await?;
        let done = conductor.conduct().await;
        let interrupted = matches!(done, Err(Break::Interrupted));
        let was_asked = *conductor.interrupt.borrow();
        conductor.finish(was_asked && self.discards).await;
        let (recording, evidence) = (conductor.recording, conductor.evidence);
        let mut lost = None;
        let mut failure = match done {
            Err(Break::Failed(failure)) => Some(*failure),
            Ok(()) => self
                .check_orders(&recording)
                .or_else(|| self.check_images(&recording)),
            Err(Break::Interrupted) => None,
            Err(Break::Lost(why)) => {
                lost = Some(why);
                None
            }
        };
        if let Some(failure) = &mut failure {
            failure.explain(&recording, &self.pods(), &self.images);
        }
        let mut comparisons = Vec::new();
        if failure.is_none() && !interrupted && lost.is_none() {
            let folder = self.chapter.snapshots(&self.name);
            for (container, cut) in &self.scenario.snapshots {
                comparisons.push(snapshot::compare(&folder, container, cut, &recording)?);
            }
        }
        Ok(Outcome {
            recording,
            failure,
            comparisons,
            interrupted,
            lost,
            evidence,
        })
    }

    /// Starts it and hands out its lines until `interrupt` becomes true; no step is taken, and
    /// nothing is compared. `ready` is called when the pod is ready, with what is needed to reach
    /// its ports.
    ///
    /// # Errors
    ///
    /// As [`Plan::run`].
    pub async fn keep(
        &self,
        engine: &dyn Engine,
        interrupt: watch::Receiver<bool>,
        observe: &mut (dyn FnMut(&Event) + Send),
        serve: &(dyn Fn(std::sync::Arc<dyn Pods>) -> tokio::task::JoinHandle<()> + Sync),
    ) -> anyhow::Result<Outcome> {
        let mut conductor = self.start(engine, interrupt, observe).await?;
        let served = conductor.pods.clone().map(serve);
        let mut lost = None;
        while !conductor.over {
            match conductor.step_over_event().await {
                Ok(()) => {}
                Err(Break::Lost(why)) => {
                    lost = Some(why);
                    break;
                }
                Err(_) => break,
            }
        }
        if let Some(served) = served {
            served.abort();
            // It holds the pods until it is gone.
            let _ = served.await;
        }
        conductor.finish(false).await;
        Ok(Outcome {
            recording: conductor.recording,
            failure: None,
            comparisons: Vec::new(),
            interrupted: lost.is_none(),
            lost,
            evidence: conductor.evidence,
        })
    }

    async fn start<'a>(
        &'a self,
        engine: &dyn Engine,
        interrupt: watch::Receiver<bool>,
        observe: &'a mut (dyn FnMut(&Event) + Send),
    ) -> anyhow::Result<Conductor<'a>> {
        let kind = engine.kind();
        if !self.scenario.engines.contains(&kind) {
            let able: Vec<_> = self
                .scenario
                .engines
                .iter()
                .map(ToString::to_string)
                .collect();
            anyhow::bail!(
                "scenario {} needs another engine than {kind}: try `--engine {}`",
                self.name,
                able.join("` or `--engine ")
            );
        }
        if self.scenario.needs_memory_limits() && !engine.enforces_memory_limits() {
            let lacks = anyhow!(
                "scenario {} waits for a container to be killed for its use of memory, and {kind} enforces no limits here: \
                 `--engine kind` does, and `cargo xtask doctor` says how {kind} could",
                self.name
            );
            return Err(lacks.context(NotHere(kind)));
        }
        let mut before = vec![&self.manifest];
        for later in self.later.values() {
            later.check_beside(&before, kind, self.scenario.pod_security)?;
            before.push(later);
        }
        let Applied { pods, events } = engine
            .apply(&self.manifest, self.scenario.pod_security, &self.images)
            .await?;
        Ok(Conductor {
            plan: self,
            pods: Some(pods.into()),
            events,
            recording: Recording::new(&self.chapter.folder, &self.name, kind),
            observe,
            interrupt,
            alive: self
                .manifest
                .pods
                .iter()
                .map(|pod| pod.metadata.name.as_str())
                .collect(),
            over: false,
            evidence: Vec::new(),
            deadline: Instant::now() + self.scenario.timeout,
        })
    }

    fn check_orders(&self, recording: &Recording) -> Option<Failure> {
        let when = |moment: &Moment| {
            recording
                .changes(&moment.container)
                .find(|(_, change)| state_matches(moment.state, change))
                .map(|(at, _)| at)
        };
        self.scenario.orders.iter().find_map(|order| {
            let words = |moment: &Moment| {
                format!(
                    "{} is {}",
                    moment.container,
                    format!("{:?}", moment.state).to_lowercase()
                )
            };
            let (first, then) = (words(&order.first), words(&order.then));
            match (when(&order.first), when(&order.then)) {
                (Some(one), Some(other)) if one <= other => None,
                (Some(_), Some(_)) => Some(Failure::new(format!(
                    "{then} before {first}; it should be the other way round"
                ))),
                (None, _) => Some(Failure::new(format!("it never came about that {first}"))),
                (_, None) => Some(Failure::new(format!("it never came about that {then}"))),
            }
        })
    }

    /// That a run used what was just built is proved, not assumed.
    fn check_images(&self, recording: &Recording) -> Option<Failure> {
        let pods = self.pods();
        let mut containers = pods.iter().flat_map(|pod| {
            let containers = pod.spec.all_containers();
            containers.map(|(_, container)| (pod.metadata.name.as_str(), container))
        });
        containers.find_map(|(pod, container)| {
            if self.scenario.replaces_image_of(pod, &container.name) {
                return None;
            }
            let built = self
                .images
                .iter()
                .find(|image| image.name == container.image)?;
            let name = names::of(pods.iter().copied(), pod, &container.name);
            recording
                .changes(&name)
                .find_map(|(_, change)| match change {
                    Change::Started { image, .. } if *image != built.id => {
                        Some(Failure::new(format!(
                            "{name} ran image {image}, not {}, which was just built",
                            built.id
                        )))
                    }
                    _ => None,
                })
        })
    }
}

/// Why the steps ended early.
enum Break {
    Failed(Box<Failure>),
    Interrupted,
    /// The engine no longer learns what happens.
    Lost(String),
}

impl From<Failure> for Break {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// Waits until somebody asks.
pub(crate) async fn interrupted(interrupt: &mut watch::Receiver<bool>) {
    if interrupt.wait_for(|asked| *asked).await.is_err() {
        // Nobody can ask any more.
        std::future::pending().await
    }
}

/// Takes the steps of a scenario while it records what happens.
struct Conductor<'a> {
    plan: &'a Plan,
    pods: Option<std::sync::Arc<dyn Pods>>,
    events: tokio::sync::mpsc::Receiver<Event>,
    recording: Recording,
    observe: &'a mut (dyn FnMut(&Event) + Send),
    interrupt: watch::Receiver<bool>,
    /// The pods that have been applied and have not ended.
    alive: HashSet<&'a str>,
    /// All pods have ended.
    over: bool,
    evidence: Vec<Evidence>,
    deadline: Instant,
}

impl Conductor<'_> {
    async fn conduct(&mut self) -> Result<(), Break> {
        let plan = self.plan;
        for step in &plan.scenario.steps {
            self.act(step).await?;
            if let Some(wait) = &step.wait {
                self.wait_for(wait).await?;
            }
        }
        for (container, cut) in &plan.scenario.snapshots {
            let Some(lines) = cut.lines else { continue };
            let counts = |event: &Event| match event.change_of(container) {
                Some(Change::Line(line)) => cut.compares(&line.text()),
                _ => false,
            };
            let words = format!("{container} prints {lines} lines for its snapshot");
            let about = About {
                container: Some(container),
                ..About::default()
            };
            self.count(&words, about, lines, counts).await?;
        }
        Ok(())
    }

    async fn wait_for(&mut self, wait: &Wait) -> Result<(), Break> {
        let matches = |event: &Event| match (&event.what, wait.pod) {
            (What::Pod(change), Some(state)) => {
                wait.of.as_ref().is_none_or(|pod| *pod == event.pod)
                    && matches!(
                        (state, change),
                        (PodState::Ready, PodChange::Ready(true))
                            | (PodState::NotReady, PodChange::Ready(false))
                            | (PodState::Succeeded, PodChange::Succeeded)
                            | (PodState::Failed, PodChange::Failed { .. })
                    )
            }
            (_, None) => {
                let container = wait.container.as_deref();
                match (&wait.line, container.and_then(|name| event.change_of(name))) {
                    (Some(pattern), Some(Change::Line(line))) => pattern.matches(&line.text()),
                    (None, Some(change)) => {
                        wait.state.is_some_and(|state| state_matches(state, change))
                            && wait.details_match(change)
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        let ready = wait.pod == Some(PodState::Ready) || wait.state == Some(StateName::Ready);
        let about = About {
            container: wait.container.as_deref(),
            pod: wait.of.as_deref(),
            ready,
        };
        self.count(&wait.in_words(), about, wait.times as usize, matches)
            .await
    }

    /// Waits until so many events match, counted from the start of the run.
    async fn count(
        &mut self,
        words: &str,
        about: About<'_>,
        times: usize,
        matches: impl Fn(&Event) -> bool,
    ) -> Result<(), Break> {
        let mut seen = self
            .recording
            .events
            .iter()
            .filter(|event| matches(event))
            .count();
        // What has happened before may have made it impossible already.
        let mut judged = 0;
        while seen < times {
            if judged < self.recording.events.len() {
                judged = self.recording.events.len();
                if let Some(failure) = self.hopeless(words, about) {
                    return Err(failure.into());
                }
            }
            let before = self.recording.events.len();
            match timeout_at(self.deadline, self.step_over_event()).await {
                Ok(done) => done?,
                Err(_) => return Err(self.gave_up(words, about.container).into()),
            }
            seen += self.recording.events[before..]
                .iter()
                .filter(|event| matches(event))
                .count();
            // A line changes nothing about what is possible.
            if matches!(
                self.recording.events.last(),
                Some(Event {
                    what: What::Container {
                        change: Change::Line(_),
                        ..
                    },
                    ..
                })
            ) {
                judged = self.recording.events.len();
            }
        }
        Ok(())
    }

    fn gave_up(&self, words: &str, container: Option<&str>) -> Failure {
        let limit = self.plan.scenario.timeout;
        Failure::about(
            container,
            format!("{limit:?} were over while waiting until {words}"),
        )
    }

    fn hopeless(&self, words: &str, about: About<'_>) -> Option<Failure> {
        Failure::hopeless(
            &self.recording,
            &self.plan.pods(),
            &self.plan.scenario,
            about,
        )
        .map(|failure| failure.while_waiting(words))
    }

    /// Records the next event.
    async fn step_over_event(&mut self) -> Result<(), Break> {
        if self.over {
            // Nothing will happen any more; the caller's judgement or deadline ends this.
            std::future::pending::<()>().await;
        }
        let pods = self.pods.clone();
        let lost = async {
            match pods {
                Some(pods) => pods.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            why = lost => Err(Break::Lost(why)),
            event = self.events.recv() => {
                match event {
                    Some(event) => self.record(event),
                    None => self.over = true,
                }
                Ok(())
            }
            () = interrupted(&mut self.interrupt) => Err(Break::Interrupted),
        }
    }

    fn record(&mut self, event: Event) {
        (self.observe)(&event);
        if let What::Pod(PodChange::Succeeded | PodChange::Failed { .. }) = event.what {
            self.has_ended(&event.pod);
        }
        self.recording.add(event);
    }

    fn has_ended(&mut self, pod: &str) {
        self.alive.remove(pod);
        self.over |= self.alive.is_empty();
    }

    /// Ends the pods that have not ended by themselves, in order or `at_once`, and records all that
    /// is still to come.
    async fn finish(&mut self, at_once: bool) {
        if let Some(pods) = self.pods.take() {
            {
                let stop = async {
                    match at_once {
                        true => pods.discard().await,
                        false => pods.stop().await,
                    }
                };
                tokio::pin!(stop);
                loop {
                    tokio::select! {
                        () = &mut stop => break,
                        Some(event) = self.events.recv() => self.record(event),
                    }
                }
            }
            self.recording.incomplete.extend(pods.missing());
            self.evidence = pods.evidence();
            drop(pods);
        }
        while let Some(event) = self.events.recv().await {
            self.record(event);
        }
    }

    /// Does what a step says, while it goes on recording.
    async fn act(&mut self, step: &Step) -> Result<(), Break> {
        let Some(pods) = self.pods.clone() else {
            return Ok(());
        };
        let plan = self.plan;
        let about = About {
            container: step.container(),
            pod: step.pod(),
            ready: false,
        };
        let words = in_words(step);
        let until = match &step.request {
            Some(of) => format!("port {} answers {} {}", of.port, of.method, of.path),
            None => format!("this is done: {words}"),
        };
        let action = async {
            if let Some(request) = &step.request {
                let only = plan.pods().first().map(|pod| &pod.metadata.name);
                let pod = request.pod.as_ref().or(only);
                send_requests(pods.as_ref(), pod.map_or("", |pod| pod), request).await
            } else if let Some(kill) = &step.kill {
                match (&kill.container, &kill.pod) {
                    (Some(container), _) => {
                        let target = plan.target(container)?;
                        pods.signal(target, kill.signal.number()).await
                    }
                    (None, Some(pod)) => pods.kill(pod).await,
                    (None, None) => Ok(()),
                }
            } else if let Some(exec) = &step.exec {
                let target = plan.target(&exec.container)?;
                let (code, said) = pods.exec(target, &exec.command).await?;
                let said = String::from_utf8_lossy(&said).trim().to_owned();
                anyhow::ensure!(
                    code == exec.exit_code,
                    "it ended with exit code {code}, not {}: {said}",
                    exec.exit_code
                );
                Ok(())
            } else if let Some(replace) = &step.replace_image {
                let target = plan.target(&replace.container)?;
                pods.replace_image(target, &replace.image).await
            } else if let Some(update) = &step.update {
                let metadata = Metadata {
                    name: update.name.clone(),
                    ..Metadata::default()
                };
                pods.update(&ConfigMap {
                    metadata,
                    data: update.data.clone(),
                    ..ConfigMap::default()
                })
                .await
            } else if let Some(manifest) = step.apply.as_ref().and_then(|name| plan.later.get(name))
            {
                pods.apply(manifest).await
            } else if let Some(delete) = &step.delete {
                pods.delete(&delete.pod).await
            } else {
                Ok(())
            }
        };
        // What a pod that ends has to say comes while the step is taken.
        if let Some(manifest) = step.apply.as_ref().and_then(|name| plan.later.get(name)) {
            let names = manifest.pods.iter().map(|pod| pod.metadata.name.as_str());
            self.alive.extend(names);
        }
        tokio::pin!(action);
        loop {
            let deadline = self.deadline;
            tokio::select! {
                done = &mut action => {
                    if let (Ok(()), Some(delete)) = (&done, &step.delete) {
                        self.has_ended(&delete.pod);
                    }
                    return done.map_err(|error| {
                        let failure = Failure::about(about.container, format!("cannot {words}: {error:#}"));
                        Break::from(failure)
                    });
                }
                stepped = timeout_at(deadline, self.step_over_event()) => match stepped {
                    Ok(stepped) => {
                        stepped?;
                        let failure = self.hopeless(&until, about);
                        if let Some(failure) = failure.filter(|_| !step.ends_something()) {
                            return Err(failure.into());
                        }
                    }
                    Err(_) => return Err(self.gave_up(&until, about.container).into()),
                },
            }
        }
    }
}

impl Step {
    /// The container that it acts on.
    fn container(&self) -> Option<&str> {
        let kill = self
            .kill
            .as_ref()
            .and_then(|kill| kill.container.as_deref());
        let exec = self.exec.as_ref().map(|exec| &*exec.container);
        let replace = self
            .replace_image
            .as_ref()
            .map(|replace| &*replace.container);
        kill.or(exec).or(replace)
    }

    /// Whether an end, of a container or a pod, is what it is about: the news of it may come
    /// before the engine has answered.
    fn ends_something(&self) -> bool {
        self.kill.is_some() || self.delete.is_some()
    }

    /// The pod that it acts on, where that is said.
    fn pod(&self) -> Option<&str> {
        let request = self
            .request
            .as_ref()
            .and_then(|request| request.pod.as_deref());
        let kill = self.kill.as_ref().and_then(|kill| kill.pod.as_deref());
        let delete = self.delete.as_ref().map(|delete| &*delete.pod);
        request.or(kill).or(delete)
    }
}

fn in_words(step: &Step) -> String {
    if let Some(request) = &step.request {
        let of = request.pod.as_ref().map(|pod| format!(" of {pod}"));
        format!(
            "request {} {} from port {}{}",
            request.method,
            request.path,
            request.port,
            of.unwrap_or_default()
        )
    } else if let Some(kill) = &step.kill {
        match (&kill.container, &kill.pod) {
            (Some(container), _) => format!("signal {container}"),
            (None, pod) => format!("kill pod {}", pod.as_deref().unwrap_or_default()),
        }
    } else if let Some(exec) = &step.exec {
        format!("run `{}` in {}", exec.command.join(" "), exec.container)
    } else if let Some(replace) = &step.replace_image {
        format!("replace the image of {}", replace.container)
    } else if let Some(update) = &step.update {
        format!("update {:?} {}", update.kind, update.name)
    } else if let Some(apply) = &step.apply {
        format!("apply {apply}")
    } else if let Some(delete) = &step.delete {
        format!("delete pod {}", delete.pod)
    } else {
        String::new()
    }
}

fn state_matches(state: StateName, change: &Change) -> bool {
    matches!(
        (state, change),
        (StateName::Waiting, Change::Waiting { .. })
            | (StateName::Started, Change::Started { .. })
            | (StateName::Ready, Change::Ready(true))
            | (StateName::Ended, Change::Ended { .. })
    )
}

impl Wait {
    fn details_match(&self, change: &Change) -> bool {
        let (code, reason) = match change {
            Change::Ended {
                exit_code, reason, ..
            } => (Some(*exit_code), Some(reason)),
            Change::Waiting { reason, .. } => (None, Some(reason)),
            _ => (None, None),
        };
        self.exit_code.is_none_or(|wanted| code == Some(wanted))
            && self
                .reason
                .as_ref()
                .is_none_or(|wanted| reason == Some(wanted))
    }
}

async fn send_requests(
    pods: &dyn Pods,
    pod: &str,
    wanted: &scenario::Request,
) -> anyhow::Result<()> {
    for _ in 0..wanted.times {
        let answer = loop {
            let request = Request::builder()
                .method(wanted.method.as_str())
                .uri(&wanted.path)
                .header(HOST, format!("localhost:{}", wanted.port))
                .body(Full::new(Bytes::from(wanted.body.clone())))?;
            let answer = match pods.connect(pod, wanted.port).await {
                Ok(stream) => crate::http::send(stream, request, BODY).await,
                Err(error) => Err(error).context("the port cannot be reached"),
            };
            match answer {
                // A cluster tells that a port refuses only when something is read from it.
                Err(error) if is_refusal(&error) => sleep(ASK_AGAIN).await,
                answer => break answer?,
            }
        };
        anyhow::ensure!(
            answer.status() == wanted.status,
            "the answer was {}, not {}",
            answer.status(),
            wanted.status
        );
    }
    Ok(())
}

/// Whether nobody accepts connections at the port.
fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}
