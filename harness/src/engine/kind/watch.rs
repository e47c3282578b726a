//! What the cluster tells of a pod, as the events of a run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{FutureExt, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, ContainerStateTerminated, ContainerStatus, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::follow::{End, Follower, Passed};
use super::job::JobWatch;
use crate::byte_string::ByteString;
use crate::engine::{Change, Event, PodChange, What};
use crate::manifest::pod::{self, PodSpec, Role};

/// Reasons to wait that every container has for a moment.
const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What all pods of a run have in common.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) begin: Instant,
    pub(super) events: mpsc::Sender<Event>,
    /// The pods that were told to end.
    pub(super) stopping: watch::Receiver<HashSet<String>>,
    /// The pods that have ended, of which all is told.
    pub(super) ended: Arc<watch::Sender<HashSet<String>>>,
    /// The pods of which a container was started.
    pub(super) started: Arc<watch::Sender<Started>>,
    /// What the recording lacks.
    pub(super) missing: Arc<Mutex<Vec<String>>>,
    pub(super) told: Told,
}

/// The cluster's own events, by name, each as it was told last.
pub(super) type Told = Arc<watch::Sender<BTreeMap<String, core::Event>>>;

/// The pods of which a container was started: what the cluster calls each, by the name that it is
/// recorded under.
pub(super) type Started = HashMap<String, String>;

/// The label that says of which Job a pod is.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// News of a pod, or of a Job and its pods.
pub(super) enum News {
    Status(Box<Pod>),
    /// The pod of this name is no more.
    Gone(String),
    Event(Box<core::Event>),
    Job(Box<Job>),
    JobGone,
}

/// Watches pods until all of them have ended and every line of theirs has been sent.
///
/// Their names come first: nothing is lost that happens before the first of them is made. So it is
/// with `later`, the pods that are made while others run.
pub(super) async fn watch(
    stage: Stage,
    pods: Vec<pod::Pod>,
    mut later: mpsc::UnboundedReceiver<pod::Pod>,
) {
    let mut actors = JoinSet::new();
    let mut news = HashMap::new();
    let begin = |pod: pod::Pod, actors: &mut JoinSet<()>| {
        let (sender, receiver) = mpsc::unbounded_channel();
        let name = pod.recorded_name().to_owned();
        let inbox = Inbox {
            news: receiver,
            stopping: stage.stopping.clone(),
            pod: name.clone(),
            told: false,
        };
        let (stage, of) = (stage.clone(), name.clone());
        actors.spawn(async move {
            let ended = stage.ended.clone();
            if pod.job.is_some() {
                JobWatch::new(stage, pod).run(inbox).await;
            } else {
                let own_name = pod.metadata.name.clone();
                PodWatch::new(stage, &pod, own_name).run(inbox).await;
            }
            ended.send_modify(|ended| {
                ended.insert(of);
            });
        });
        (name, sender)
    };
    news.extend(pods.into_iter().map(|pod| begin(pod, &mut actors)));
    let pods = Api::<Pod>::namespaced(stage.client.clone(), &stage.namespace);
    let pods = watcher(pods, watcher::Config::default()).default_backoff();
    let jobs = Api::<Job>::namespaced(stage.client.clone(), &stage.namespace);
    let jobs = watcher(jobs, watcher::Config::default()).default_backoff();
    let events = Api::<core::Event>::namespaced(stage.client.clone(), &stage.namespace);
    let events = watcher(events, watcher::Config::default()).default_backoff();
    let mut pods = std::pin::pin!(pods);
    let mut jobs = std::pin::pin!(jobs);
    let mut events = std::pin::pin!(events);
    loop {
        // A watch that broke begins again by itself.
        tokio::select! {
            biased;
            Some(pod) = later.recv() => news.extend([begin(pod, &mut actors)]),
            event = pods.next() => {
                let (pod, gone) = match event {
                    Some(Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => (pod, false),
                    Some(Ok(watcher::Event::Delete(pod))) => (pod, true),
                    _ => continue,
                };
                let name = pod.name_any();
                let of = pod.labels().get(JOB_NAME).unwrap_or(&name).clone();
                send(&news, &of, News::Status(Box::new(pod)));
                if gone {
                    send(&news, &of, News::Gone(name));
                }
            }
            event = jobs.next() => match event {
                Some(Ok(watcher::Event::Apply(job) | watcher::Event::InitApply(job))) => {
                    send(&news, &job.name_any(), News::Job(Box::new(job)));
                }
                Some(Ok(watcher::Event::Delete(job))) => {
                    send(&news, &job.name_any(), News::JobGone);
                }
                _ => {}
            },
            event = events.next() => {
                let Some(Ok(watcher::Event::Apply(mut event) | watcher::Event::InitApply(mut event))) = event else {
                    continue;
                };
                // Who wrote which field is nobody's question.
                event.metadata.managed_fields = None;
                stage.told.send_modify(|known| {
                    known.insert(event.name_any(), event.clone());
                });
                let about = event.involved_object.name.clone().unwrap_or_default();
                // The pod of a Job is called by the Job's name, and a few letters.
                let of = match about.rsplit_once('-') {
                    Some((job, _)) if !news.contains_key(&about) => job,
                    _ => &about,
                };
                send(&news, of, News::Event(Box::new(event)));
            }
            _ = actors.join_next() => if actors.is_empty() {
                return;
            },
        }
    }
}

/// Tells the one who watches a pod, or a Job.
fn send(news: &HashMap<String, mpsc::UnboundedSender<News>>, to: &str, what: News) {
    if let Some(sender) = news.get(to) {
        // Who has ended no longer listens.
        let _ = sender.send(what);
    }
}

/// What comes to the one who watches a pod, or a Job.
pub(super) struct Inbox {
    news: mpsc::UnboundedReceiver<News>,
    stopping: watch::Receiver<HashSet<String>>,
    /// What the pod is recorded under.
    pod: String,
    /// The order to end has come.
    pub(super) told: bool,
}

/// What can come.
pub(super) enum Next {
    News(News),
    /// The order to end, which comes once.
    Stop,
}

impl Inbox {
    /// Waits for what comes next. News that is there already comes before the order to end.
    pub(super) async fn next(&mut self) -> Option<Next> {
        tokio::select! {
            biased;
            news = self.news.recv() => news.map(Next::News),
            () = asked(&mut self.stopping, &self.pod), if !self.told => {
                self.told = true;
                Some(Next::Stop)
            }
        }
    }
}

/// A pod, as far as it has been told.
pub(super) struct PodWatch {
    stage: Stage,
    /// What it is recorded under.
    name: String,
    /// What the cluster calls it.
    own_name: String,
    spec: PodSpec,
    containers: Vec<ContainerWatch>,
    initialized: bool,
    ready: bool,
    /// How often each of the cluster's events was seen to happen.
    counts: HashMap<String, i32>,
}

/// A container, as far as it has been told.
struct ContainerWatch {
    name: String,
    role: Role,
    /// How often its readiness probe fails until it is not ready.
    threshold: u32,
    /// The start of it that was told last.
    start: Option<Start>,
    ready: bool,
    /// How often its readiness probe has failed in this start.
    failures: u32,
    waits: Option<(String, String)>,
}

/// One start of a container.
struct Start {
    /// How often it was started before.
    restarts: i32,
    /// The container runtime's id of it.
    id: String,
    /// Its log, until its end has been told.
    log: Option<Log>,
}

struct Log {
    end: watch::Sender<End>,
    /// Reads its lines; returns what may be missing.
    reader: JoinSet<Option<String>>,
}

/// What a status says of a container.
struct View<'s> {
    status: &'s ContainerStatus,
    /// The start that it is about.
    restarts: i32,
    id: &'s str,
    ended: Option<&'s ContainerStateTerminated>,
    waits: Option<(&'s str, &'s str)>,
}

impl<'s> View<'s> {
    fn of(status: &'s ContainerStatus) -> Self {
        let state = status.state.as_ref();
        let ended = state.and_then(|state| state.terminated.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let runs = state.is_some_and(|state| state.running.is_some());
        // Who waits to be started again is told by how it ended last.
        let ended = match ended {
            None if !runs => before(status),
            ended => ended,
        };
        let id = match ended {
            Some(ended) => ended.container_id.as_deref(),
            None => status.container_id.as_deref().filter(|_| runs),
        };
        Self {
            status,
            restarts: status.restart_count,
            id: id.unwrap_or_default(),
            ended,
            waits: waiting.map(|waiting| {
                (
                    waiting.reason.as_deref().unwrap_or_default(),
                    waiting.message.as_deref().unwrap_or_default(),
                )
            }),
        }
    }
}

/// How the start before this one ended.
fn before(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.last_state.as_ref()?.terminated.as_ref()
}

impl PodWatch {
    pub(super) fn new(stage: Stage, pod: &pod::Pod, own_name: String) -> Self {
        let containers = pod.spec.all_containers().map(|(role, container)| {
            let probe = container.readiness_probe.as_ref();
            ContainerWatch {
                name: container.name.clone(),
                role,
                threshold: probe.and_then(|probe| probe.failure_threshold).unwrap_or(3),
                start: None,
                ready: false,
                failures: 0,
                waits: None,
            }
        });
        Self {
            stage,
            name: pod.recorded_name().to_owned(),
            own_name,
            containers: containers.collect(),
            spec: pod.spec.clone(),
            initialized: false,
            ready: false,
            counts: HashMap::new(),
        }
    }

    async fn run(mut self, mut inbox: Inbox) {
        while let Some(next) = inbox.next().await {
            match next {
                Next::Stop => self.tell(PodChange::Stopping).await,
                Next::News(News::Event(event)) => self.event(&event).await,
                Next::News(News::Status(pod)) => {
                    self.status(&pod).await;
                    if let Some(end) = end(&pod) {
                        self.lost().await;
                        if !self.is_stopping() {
                            self.tell(end).await;
                        }
                        return;
                    }
                }
                Next::News(News::Job(_) | News::JobGone) => {}
                Next::News(News::Gone(_)) => {
                    self.lost().await;
                    if !self.is_stopping() {
                        let (reason, message) = (
                            "Deleted".to_owned(),
                            "the pod was removed from the cluster".to_owned(),
                        );
                        self.tell(PodChange::Failed { reason, message }).await;
                    }
                    return;
                }
            }
        }
    }

    /// Tells what is new in a status.
    pub(super) async fn status(&mut self, pod: &Pod) {
        let Some(status) = &pod.status else { return };
        let statuses: BTreeMap<&str, &ContainerStatus> =
            [&status.init_container_statuses, &status.container_statuses]
                .into_iter()
                .flatten()
                .flatten()
                .map(|status| (status.name.as_str(), status))
                .collect();
        // A log whose container has ended is read to its end meanwhile.
        for container in &self.containers {
            if let Some(status) = statuses.get(container.name.as_str()) {
                self.announce_end(container, &View::of(status), pod);
            }
        }
        for index in 0..self.containers.len() {
            let name = &self.containers[index].name;
            if let Some(status) = statuses.get(name.as_str()) {
                let view = View::of(status);
                self.begin(index, &view, pod).await;
                if self.containers[index].role != Role::Sidecar || view.waits.is_some() {
                    self.end(index, &view).await;
                }
                self.readiness(index, view.status).await;
                self.wait(index, view.waits).await;
            }
        }
        // Native sidecars end after all others, the last one first.
        for index in (0..self.containers.len()).rev() {
            let name = &self.containers[index].name;
            if let Some(status) = statuses.get(name.as_str()) {
                self.end(index, &View::of(status)).await;
            }
        }
        self.conditions(pod).await;
    }

    fn announce_end(&self, container: &ContainerWatch, view: &View<'_>, pod: &Pod) {
        let Some(start) = &container.start else {
            return;
        };
        let Some(log) = &start.log else { return };
        let end = if start.id != view.id {
            End::Previous
        } else if let Some(ended) = view.ended {
            self.kind_of_end(container.role, ended, pod)
        } else {
            return;
        };
        log.end
            .send_if_modified(|known| std::mem::replace(known, end) != end);
    }

    fn kind_of_end(&self, role: Role, ended: &ContainerStateTerminated, pod: &Pod) -> End {
        let over = phase(pod).is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
        if over
            || pod.metadata.deletion_timestamp.is_some()
            || !self.spec.starts_again(role, ended.exit_code)
        {
            End::Last
        } else {
            End::MayStartAgain
        }
    }

    /// Tells the starts of a container that a status shows for the first time.
    async fn begin(&mut self, index: usize, view: &View<'_>, pod: &Pod) {
        let container = &self.containers[index];
        let known = container.start.as_ref();
        if view.id.is_empty() || known.is_some_and(|start| start.id == view.id) {
            return;
        }
        let told = known.map_or(-1, |start| start.restarts);
        let before = before(view.status).filter(|before| {
            let id = before.container_id.as_deref();
            id.is_some_and(|id| !id.is_empty() && id != view.id)
        });
        if known.is_some_and(|start| start.log.is_some()) {
            let id = known.map(|start| start.id.as_str());
            let ended = before.filter(|before| before.container_id.as_deref() == id);
            self.bury(index, ended).await;
        }
        if view.restarts > told + 1 {
            if view.restarts > told + 2 || before.is_none() {
                let name = &self.containers[index].name;
                self.lacks(format!(
                    "starts of {name} between its number {} and {}: they were over before the cluster told of them",
                    told + 1,
                    view.restarts
                ));
            }
            if let Some(before) = before {
                let id = before.container_id.as_deref().unwrap_or_default();
                self.start(
                    index,
                    view.restarts - 1,
                    id,
                    view.status,
                    Some(before),
                    End::Previous,
                )
                .await;
                self.bury(index, Some(before)).await;
            }
        }
        let role = self.containers[index].role;
        let end = view
            .ended
            .map_or(End::Unknown, |ended| self.kind_of_end(role, ended, pod));
        self.start(index, view.restarts, view.id, view.status, view.ended, end)
            .await;
    }

    /// Tells one start of a container, and begins to read its log.
    async fn start(
        &mut self,
        index: usize,
        restarts: i32,
        id: &str,
        status: &ContainerStatus,
        ended: Option<&ContainerStateTerminated>,
        end: End,
    ) {
        let name = self.containers[index].name.clone();
        let never_ran = ended.is_some_and(never_ran);
        if !never_ran {
            let change = Change::Started {
                restarts: restarts.try_into().unwrap_or_default(),
                image: status.image_id.clone(),
            };
            self.tell_of(&name, change).await;
            let (name, own_name) = (self.name.clone(), self.own_name.clone());
            self.stage.started.send_if_modified(|started| {
                started.insert(name, own_name.clone()).as_ref() != Some(&own_name)
            });
        }
        let (end, receiver) = watch::channel(end);
        let follower = Follower {
            pods: Api::namespaced(self.stage.client.clone(), &self.stage.namespace),
            pod: self.own_name.clone(),
            container: name.clone(),
            end: receiver,
            passed: Passed::default(),
            send: lines(self.stage.clone(), self.name.clone(), name),
        };
        let mut reader = JoinSet::new();
        if !never_ran {
            reader.spawn(follower.follow());
        }
        let container = &mut self.containers[index];
        container.start = Some(Start {
            restarts,
            id: id.to_owned(),
            log: Some(Log { end, reader }),
        });
        container.failures = 0;
        container.waits = None;
    }

    /// Tells that a container has ended, if it has.
    async fn end(&mut self, index: usize, view: &View<'_>) {
        let container = &self.containers[index];
        let start = container.start.as_ref();
        if start.is_none_or(|start| start.id != view.id || start.log.is_none()) {
            return;
        }
        if let Some(ended) = view.ended {
            self.bury(index, Some(ended)).await;
        }
    }

    /// Waits for a container's last line, and tells its end.
    async fn bury(&mut self, index: usize, ended: Option<&ContainerStateTerminated>) {
        let container = &mut self.containers[index];
        let log = container.start.as_mut().and_then(|start| start.log.take());
        let Some(Log { end, mut reader }) = log else {
            return;
        };
        if !end.borrow().has_come() {
            end.send_replace(End::Previous);
        }
        let name = container.name.clone();
        let ready = std::mem::take(&mut container.ready);
        match reader.join_next().await {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(missing))) => self.lacks(missing),
            Some(Err(_)) => self.lacks(format!("the last lines of {name}")),
        }
        let change = match ended {
            Some(ended) => Change::Ended {
                exit_code: ended.exit_code,
                reason: ended.reason.clone().unwrap_or_default(),
                message: ended.message.clone().unwrap_or_default(),
            },
            None => Change::Ended {
                // The kubelet's own word for it, and the code that it gives.
                exit_code: 137,
                reason: "ContainerStatusUnknown".to_owned(),
                message: "the cluster no longer tells how it ended".to_owned(),
            },
        };
        self.tell_of(&name, change).await;
        if ready {
            self.tell_of(&name, Change::Ready(false)).await;
        }
    }

    /// Tells why a container does not run.
    async fn wait(&mut self, index: usize, waits: Option<(&str, &str)>) {
        let waits = waits
            .filter(|(reason, _)| !reason.is_empty() && !ORDINARY.contains(reason))
            // A busy kubelet has not heard yet of a ConfigMap or Secret; it tries again.
            .filter(|(_, message)| !message.contains("failed to sync "))
            .map(|(reason, message)| {
                let message = message.replace(&self.own_name, &self.name);
                (reason.to_owned(), message)
            });
        let container = &mut self.containers[index];
        if container.waits == waits || waits.is_none() {
            return;
        }
        container.waits.clone_from(&waits);
        let name = container.name.clone();
        if let Some((reason, message)) = waits {
            self.tell_of(&name, Change::Waiting { reason, message })
                .await;
        }
    }

    /// Tells whether a container can be sent requests.
    async fn readiness(&mut self, index: usize, status: &ContainerStatus) {
        let container = &mut self.containers[index];
        let runs = container
            .start
            .as_ref()
            .is_some_and(|start| start.log.is_some());
        let ready = status.ready && runs && container.role != Role::Init;
        if std::mem::replace(&mut container.ready, ready) != ready {
            self.tell_of(&status.name, Change::Ready(ready)).await;
        }
    }

    /// Tells what the conditions of the pod say.
    async fn conditions(&mut self, pod: &Pod) {
        let Some(status) = &pod.status else { return };
        let conditions = status.conditions.iter().flatten();
        for condition in conditions {
            let holds = condition.status == "True";
            match condition.type_.as_str() {
                "Initialized" if holds && !self.initialized => {
                    self.initialized = true;
                    self.tell(PodChange::Initialized).await;
                }
                "Ready" if holds != self.ready => {
                    self.ready = holds;
                    self.tell(PodChange::Ready(holds)).await;
                }
                "PodScheduled" if condition.reason.as_deref() == Some("Unschedulable") => {
                    let message = condition.message.clone().unwrap_or_default();
                    self.all_wait("Unschedulable", &message).await;
                }
                _ => {}
            }
        }
    }

    /// No container can start, for the same reason.
    pub(super) async fn all_wait(&mut self, reason: &str, message: &str) {
        for index in 0..self.containers.len() {
            if self.containers[index].start.is_none() {
                self.wait(index, Some((reason, message))).await;
            }
        }
    }

    /// Tells what the cluster's events say that the status does not.
    pub(super) async fn event(&mut self, event: &core::Event) {
        let count = event
            .series
            .as_ref()
            .and_then(|series| series.count)
            .or(event.count)
            .unwrap_or(1);
        let known = self.counts.entry(event.name_any()).or_default();
        let times = count - std::mem::replace(known, count);
        let message = event.message.clone().unwrap_or_default();
        let what = match event.reason.as_deref().unwrap_or_default() {
            "Unhealthy" => match message.split_once(' ') {
                Some(("Startup", _)) => "startupProbe",
                Some(("Liveness", _)) => "livenessProbe",
                Some(("Readiness", _)) => "readinessProbe",
                _ => return,
            },
            "FailedPostStartHook" => "postStart",
            "FailedPreStopHook" => "preStop",
            "FailedMount" => {
                // The volume of the ServiceAccount's token is the cluster's own affair.
                let of_manifest =
                    |volume: &pod::Volume| message.contains(&format!("\"{}\"", volume.name));
                // A kubelet with much to do may not know an object yet, and tries again.
                let comes_late = message.contains("failed to sync");
                if !comes_late && self.spec.volumes.iter().any(of_manifest) {
                    self.all_wait("FailedMount", &message).await;
                }
                return;
            }
            _ => return,
        };
        let path = event
            .involved_object
            .field_path
            .as_deref()
            .unwrap_or_default();
        let name = path
            .split_once('{')
            .and_then(|(_, rest)| rest.strip_suffix('}'));
        let mut containers = self.containers.iter();
        let Some(index) = containers.position(|container| Some(container.name.as_str()) == name)
        else {
            return;
        };
        let message = match message.split_once("probe failed: ") {
            Some((_, message)) => message.to_owned(),
            None => message,
        };
        for _ in 0..times {
            let name = self.containers[index].name.clone();
            let (what, message) = (what.to_owned(), message.clone());
            let is_readiness = what == "readinessProbe";
            self.tell_of(&name, Change::Unhealthy { what, message })
                .await;
            let container = &mut self.containers[index];
            if is_readiness && !container.ready {
                container.failures += 1;
                if container.failures == container.threshold {
                    // It has never been ready: that is news too.
                    self.tell_of(&name, Change::Ready(false)).await;
                }
            }
        }
    }

    /// Whether it was told to end.
    fn is_stopping(&self) -> bool {
        self.stage.stopping.borrow().contains(&self.name)
    }

    /// Ends what the cluster has never told the end of.
    pub(super) async fn lost(&mut self) {
        for index in 0..self.containers.len() {
            self.bury(index, None).await;
        }
    }

    fn lacks(&self, what: String) {
        let missing = &self.stage.missing;
        missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    async fn tell(&self, change: PodChange) {
        self.stage.send(&self.name, What::Pod(change)).await;
    }

    async fn tell_of(&self, name: &str, change: Change) {
        let name = name.to_owned();
        self.stage
            .send(&self.name, What::Container { name, change })
            .await;
    }
}

impl Stage {
    pub(super) async fn send(&self, pod: &str, what: What) {
        let event = Event {
            at: self.begin.elapsed(),
            pod: pod.to_owned(),
            what,
        };
        // Nobody listens any more: the run is over.
        let _ = self.events.send(event).await;
    }
}

/// Where the lines of a container go.
fn lines(
    stage: Stage,
    pod: String,
    name: String,
) -> impl FnMut(ByteString) -> futures_util::future::BoxFuture<'static, ()> + Send {
    move |line| {
        let (stage, pod, name) = (stage.clone(), pod.clone(), name.clone());
        async move {
            let change = Change::Line(line);
            stage.send(&pod, What::Container { name, change }).await;
        }
        .boxed()
    }
}

/// Waits until a pod is told to end.
async fn asked(stopping: &mut watch::Receiver<HashSet<String>>, pod: &str) {
    if stopping
        .wait_for(|asked| asked.contains(pod))
        .await
        .is_err()
    {
        std::future::pending().await
    }
}

/// How a pod ended, if it has.
pub(super) fn end(pod: &Pod) -> Option<PodChange> {
    match phase(pod)? {
        "Succeeded" => Some(PodChange::Succeeded),
        "Failed" => {
            let status = pod.status.as_ref();
            let text = |field: Option<&String>| field.cloned().unwrap_or_default();
            Some(PodChange::Failed {
                reason: text(status.and_then(|status| status.reason.as_ref())),
                message: text(status.and_then(|status| status.message.as_ref())),
            })
        }
        _ => None,
    }
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// Whether a container has ended without having run.
fn never_ran(ended: &ContainerStateTerminated) -> bool {
    matches!(
        ended.reason.as_deref(),
        Some("StartError" | "ContainerCannotRun")
    )
}
