//! The `kind` engine: a real cluster, whose word counts. Each run has a namespace to itself.

pub mod cluster;
mod connection;
mod follow;
mod images;
mod job;
mod namespace;
mod pulse;
mod tool;
mod watch;

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use k8s_openapi::List;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::api::{
    ApiResource, AttachParams, DeleteParams, DynamicObject, Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Api, Client};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, mpsc, watch as value};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Applied, Engine, EngineKind, Evidence, Pods, Target};
use crate::image::Image;
use crate::kubelet::runtime::Connection;
use crate::manifest::pod::{self, ConfigMap};
use crate::manifest::{Manifest, Object, PodSecurity};
use cluster::Cluster;
use images::Held;
use namespace::Lease;
use watch::{Stage, Started};

/// As many events wait as this.
const EVENTS: usize = 1024;
/// The file of the cluster's own events, as `kubectl get events -o json` would have them.
const EVENTS_FILE: &str = "events.json";
/// What the cluster calls the one who applies.
const MANAGER: &str = cluster::NAME;
/// How long a pod has to end, unless its manifest says otherwise.
const GRACE: Duration = Duration::from_secs(30);
/// How much longer than its grace a pod may take to end. Its kubelet looks once a second.
const MARGIN: Duration = Duration::from_secs(30);
/// How long the cluster may take to tell of a pod's first event, which is written after the status.
const TELLING: Duration = Duration::from_secs(5);
/// The bytes that wait between the cluster and who reads what a program printed.
const EXEC: usize = 64 << 10;

/// The engine whose word counts: the workbook's own kind cluster.
pub struct Kind {
    cluster: Cluster,
    /// The images that the node holds, once it has been asked.
    held: Arc<Mutex<Option<Held>>>,
}

impl Kind {
    /// Connects to the workbook's cluster, and brings it up first if it is not.
    ///
    /// # Errors
    ///
    /// As [`cluster::up`].
    pub async fn new(
        node_image: Option<&str>,
        progress: cluster::Progress<'_>,
    ) -> anyhow::Result<Self> {
        Self::of(cluster::bring_up(node_image, progress).await?).await
    }

    /// Connects to the workbook's cluster, if it is up.
    ///
    /// # Errors
    ///
    /// If there is a cluster of that name that is not the workbook's.
    pub async fn connect() -> anyhow::Result<Option<Self>> {
        match cluster::connect().await? {
            Some(cluster) => Self::of(cluster).await.map(Some),
            None => Ok(None),
        }
    }

    async fn of(cluster: Cluster) -> anyhow::Result<Self> {
        cluster.ready().await?;
        // Asked while programs are compiled; who loads images waits for the answer.
        let held = Arc::new(Mutex::new(None));
        let (mut answer, node) = (held.clone().lock_owned().await, cluster.node.clone());
        tokio::spawn(async move { *answer = images::held(&node).await.ok() });
        Ok(Self { cluster, held })
    }
}

#[async_trait]
impl Engine for Kind {
    fn kind(&self) -> EngineKind {
        EngineKind::Kind
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn enforces_memory_limits(&self) -> bool {
        true
    }

    async fn load(&self, images: &[Image]) -> anyhow::Result<()> {
        // Locked while they are sent: runs side by side wait for one import and need none of
        // their own.
        let mut held = self.held.lock().await;
        let node = &self.cluster.node;
        let known = match held.take() {
            Some(known) => known,
            None => images::held(node).await?,
        };
        *held = Some(images::load(node, known, images).await?);
        Ok(())
    }

    async fn apply(
        &self,
        manifest: &Manifest,
        level: PodSecurity,
        images: &[Image],
    ) -> anyhow::Result<Applied> {
        manifest.check(EngineKind::Kind, level)?;
        let client = &self.cluster.client;
        // The namespace is furnished while the images are sent.
        let (lease, loaded) = tokio::join!(Lease::new(client, level), self.load(images));
        let lease = lease?;
        if let Err(error) = loaded {
            lease.remove(client).await;
            return Err(error);
        }
        let (sender, events) = mpsc::channel(EVENTS);
        let stopping = value::Sender::new(HashSet::new());
        let (ended, has_ended) = value::channel(HashSet::new());
        let missing = Arc::new(SyncMutex::new(Vec::new()));
        let (started, has_started) = value::channel(Started::new());
        let started = Arc::new(started);
        let told = watch::Told::default();
        let stage = Stage {
            client: client.clone(),
            namespace: lease.name.clone(),
            begin: Instant::now(),
            events: sender,
            stopping: stopping.subscribe(),
            ended: Arc::new(ended),
            missing: missing.clone(),
            started,
            told: told.clone(),
        };
        let mut work = JoinSet::new();
        let (at_work, over) = value::channel(());
        let pods = manifest.pods.clone();
        let (newcomers, later) = mpsc::unbounded_channel();
        work.spawn(async move {
            watch::watch(stage, pods, later).await;
            drop(at_work);
        });
        let (silent, lost) = value::channel(None);
        let asked = client.clone();
        work.spawn(async move {
            let why = pulse::silence(&asked, pulse::RHYTHM).await;
            silent.send_replace(Some(why));
        });
        let pods = KindPods {
            cluster: self.cluster.clone(),
            applied: SyncMutex::new(manifest.pods.iter().map(Known::from).collect()),
            newcomers,
            lease: Arc::new(lease),
            removed: false.into(),
            started: has_started,
            stopping,
            ended: has_ended,
            missing,
            told,
            lost,
            over,
            _work: work,
        };
        if let Err(refusal) = apply_all(client, manifest, &pods.lease.name).await {
            pods.remove().await;
            return Err(refusal);
        }
        Ok(Applied {
            pods: Box::new(pods),
            events,
        })
    }

    async fn sweep(&self) -> anyhow::Result<Vec<String>> {
        namespace::sweep(&self.cluster.client).await
    }
}

/// Applies the objects of a manifest, the pods and what makes pods last: what they need is there
/// when they start.
async fn apply_all(client: &Client, manifest: &Manifest, namespace: &str) -> anyhow::Result<()> {
    let is_last = |object: &&Object| matches!(object.kind.as_str(), "Pod" | "Job");
    let pods = manifest.objects.iter().filter(is_last);
    let others = manifest.objects.iter().filter(|object| !is_last(object));
    for object in others.chain(pods) {
        let Object { kind, name, .. } = object;
        apply_one(client, object, namespace)
            .await
            .with_context(|| format!("the cluster refuses {kind} {name} of {}", manifest.file))?;
    }
    Ok(())
}

async fn apply_one(client: &Client, object: &Object, namespace: &str) -> anyhow::Result<()> {
    let (group, version) = object
        .api_version
        .split_once('/')
        .unwrap_or(("", &object.api_version));
    let kind = GroupVersionKind::gvk(group, version, &object.kind);
    let resource = if matches!(
        object.kind.as_str(),
        "Pod" | "ConfigMap" | "Secret" | "Service" | "Job"
    ) {
        ApiResource::from_gvk(&kind)
    } else {
        let (resource, capabilities) = discovery::pinned_kind(client, &kind).await.context(
            "it does not know that kind, or not in that apiVersion; `kubectl api-resources` lists those it knows",
        )?;
        if capabilities.scope == Scope::Cluster {
            bail!(
                "an object that is in no namespace would outlive the run, and others would see it"
            );
        }
        resource
    };
    let objects = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let how = PatchParams::apply(MANAGER).force().validation_strict();
    let applied = objects
        .patch(&object.name, &how, &Patch::Apply(&object.value))
        .await;
    applied.map(|_| ()).map_err(in_words)
}

/// What the API server says, without the client's debugging form of it.
fn in_words(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        other => other.into(),
    }
}

struct KindPods {
    cluster: Cluster,
    lease: Arc<Lease>,
    /// The pods that have been applied.
    applied: SyncMutex<Vec<Known>>,
    /// To whom pods are announced that are applied later.
    newcomers: mpsc::UnboundedSender<pod::Pod>,
    /// The pods of which a container was started.
    started: value::Receiver<Started>,
    /// The pods that were told to end.
    stopping: value::Sender<HashSet<String>>,
    /// The pods that have ended, of which all is told.
    ended: value::Receiver<HashSet<String>>,
    missing: Arc<SyncMutex<Vec<String>>>,
    /// The cluster's own events of this run.
    told: watch::Told,
    /// Why the cluster is given up, once it is.
    lost: value::Receiver<Option<String>>,
    /// Closed when all pods have ended and every line of theirs has been sent.
    over: value::Receiver<()>,
    removed: AtomicBool,
    /// Watches the pods; ends with this.
    _work: JoinSet<()>,
}

/// What must be known of a pod to end it.
#[derive(Clone)]
struct Known {
    /// What it is recorded under: its own name, or that of its Job.
    name: String,
    is_of_job: bool,
    /// How long it has to end.
    grace: Duration,
}

impl From<&pod::Pod> for Known {
    fn from(pod: &pod::Pod) -> Self {
        let grace = pod.spec.termination_grace_period_seconds;
        Self {
            name: pod.recorded_name().to_owned(),
            is_of_job: pod.job.is_some(),
            grace: grace.map_or(GRACE, Duration::from_secs),
        }
    }
}

impl Drop for KindPods {
    fn drop(&mut self) {
        if *self.removed.get_mut() {
            return;
        }
        // Without a runtime, the next run finds what is left, and that its owner is dead.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, lease) = (self.cluster.client.clone(), self.lease.clone());
            runtime.spawn(async move { lease.remove(&client).await });
        }
    }
}

impl KindPods {
    fn applied(&self) -> Vec<Known> {
        let applied = self.applied.lock();
        applied.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all is told of a pod that ends.
    async fn end_of(&self, pod: &str) {
        let mut ended = self.ended.clone();
        // The sender lives until all pods have ended.
        let _ = ended.wait_for(|ended| ended.contains(pod)).await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.lease.name)
    }

    /// What the cluster calls a pod. That of a Job is known when it has started.
    fn own_name(&self, pod: &str) -> String {
        let started = self.started.borrow();
        started.get(pod).map_or(pod, String::as_str).to_owned()
    }

    /// The id of a container that runs.
    async fn running(&self, target: Target<'_>) -> anyhow::Result<String> {
        let Target { pod, container } = target;
        let own_name = self.own_name(pod);
        let status = self.pods().get(&own_name).await.map_err(in_words)?.status;
        let status = status.unwrap_or_default();
        let statuses = [status.init_container_statuses, status.container_statuses];
        let mut statuses = statuses.into_iter().flatten().flatten();
        let found = statuses
            .find(|status| status.name == container)
            .with_context(|| format!("pod {pod} has no container {container}"))?;
        found
            .container_id
            .filter(|_| found.state.is_some_and(|state| state.running.is_some()))
            .with_context(|| format!("container {container} does not run"))
    }

    /// Has a pod told to end. What it says until its end comes on the streams that are open: with
    /// the pod go its logs.
    async fn end(&self, pod: &str) -> kube::Result<()> {
        let pods = self.pods();
        let known = self.applied();
        if known
            .iter()
            .any(|known| known.name == pod && known.is_of_job)
        {
            // Nobody makes another pod of it, and when it is gone its own are.
            let jobs = Api::<Job>::namespaced(self.cluster.client.clone(), &self.lease.name);
            let how = DeleteParams::foreground();
            let ended = persist(|| jobs.delete(pod, &how)).await;
            return gone(ended.map(|_| ()));
        }
        let how = DeleteParams::default();
        gone(persist(|| pods.delete(pod, &how)).await.map(|_| ()))
    }
}

/// What is gone already needs no end.
fn gone(ended: kube::Result<()>) -> kube::Result<()> {
    match ended {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        ended => ended,
    }
}

/// Sends a request that may be sent twice, and again if the connection broke.
async fn persist<T, F>(request: impl Fn() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    const PAUSE: Duration = Duration::from_millis(100);
    const ATTEMPTS: usize = 4;
    for _ in 1..ATTEMPTS {
        match request().await {
            Err(kube::Error::Api(status)) if status.code < 500 => {
                return Err(kube::Error::Api(status));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    request().await
}

#[async_trait]
impl Pods for KindPods {
    async fn connect(&self, pod: &str, port: u16) -> io::Result<Connection> {
        // A pod can be reached from its first start on.
        let mut started = self.started.clone();
        if started
            .wait_for(|started| started.contains_key(pod))
            .await
            .is_err()
        {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the pod has ended",
            ));
        }
        connection::open(&self.pods(), &self.own_name(pod), port).await
    }

    async fn exec(&self, target: Target<'_>, command: &[String]) -> anyhow::Result<(i32, Vec<u8>)> {
        self.running(target).await?;
        let how = AttachParams::default()
            .container(target.container)
            .stdout(true)
            .stderr(true)
            .max_stdout_buf_size(EXEC)
            .max_stderr_buf_size(EXEC);
        let own_name = self.own_name(target.pod);
        let process = self.pods().exec(&own_name, command, &how).await;
        let mut process = process.map_err(in_words)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = process
            .take_status()
            .context("the cluster sends no status")?;
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let read_out = async {
            match stdout {
                Some(mut stdout) => stdout.read_to_end(&mut out).await,
                None => Ok(0),
            }
        };
        let read_err = async {
            match stderr {
                Some(mut stderr) => stderr.read_to_end(&mut err).await,
                None => Ok(0),
            }
        };
        let (status, out_read, err_read) = tokio::join!(status, read_out, read_err);
        out_read?;
        err_read?;
        out.append(&mut err);
        let status = status.context("the connection ended before the program did")?;
        if status.status.as_deref() == Some("Success") {
            return Ok((0, out));
        }
        let causes = status.details.and_then(|details| details.causes);
        let code = causes.into_iter().flatten().find_map(|cause| {
            let is_code = cause.reason.as_deref() == Some("ExitCode");
            cause.message.filter(|_| is_code)?.parse().ok()
        });
        match code {
            Some(code) => Ok((code, out)),
            None => bail!("{}", status.message.unwrap_or_default()),
        }
    }

    async fn signal(&self, target: Target<'_>, signal: i32) -> anyhow::Result<()> {
        let container = self.running(target).await?;
        images::signal(&self.cluster.node, &container, signal).await
    }

    async fn replace_image(&self, target: Target<'_>, image: &str) -> anyhow::Result<()> {
        let Target { pod, container } = target;
        let own_name = self.own_name(pod);
        let pods = self.pods();
        let spec = pods
            .get(&own_name)
            .await
            .map_err(in_words)?
            .spec
            .unwrap_or_default();
        let has =
            |containers: &[core::Container]| containers.iter().any(|one| one.name == container);
        let field = if has(&spec.containers) {
            "containers"
        } else if has(&spec.init_containers.unwrap_or_default()) {
            "initContainers"
        } else {
            bail!("pod {pod} has no container {container}")
        };
        let patch = json!({"spec": {field: [{"name": container, "image": image}]}});
        let patched = pods
            .patch(&own_name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        patched.map(|_| ()).map_err(in_words)
    }

    async fn update(&self, map: &ConfigMap) -> anyhow::Result<()> {
        let name = &map.metadata.name;
        let maps =
            Api::<core::ConfigMap>::namespaced(self.cluster.client.clone(), &self.lease.name);
        let mut there = maps.get(name).await.map_err(in_words)?;
        let new: core::ConfigMap =
            serde_json::from_value(json!({"data": map.data, "binaryData": map.binary_data}))?;
        (there.data, there.binary_data) = (new.data, new.binary_data);
        let version = maps
            .replace(name, &PostParams::default(), &there)
            .await
            .map_err(in_words)?
            .metadata
            .resource_version;
        // The kubelet looks at a pod's volumes about once a minute, and when the pod changes.
        let touched =
            json!({"metadata": {"annotations": {"sidecar-workbook/config-map": version}}});
        for Known { name, .. } in self.applied() {
            let how = PatchParams::default();
            let own_name = self.own_name(&name);
            let patch = Patch::Merge(&touched);
            let patched = self.pods().patch(&own_name, &how, &patch).await;
            // Where it was deleted, it needs none.
            gone(patched.map(|_| ())).map_err(in_words)?;
        }
        Ok(())
    }

    async fn apply(&self, manifest: &Manifest) -> anyhow::Result<()> {
        for pod in &manifest.pods {
            let told = self.newcomers.send(pod.clone());
            told.ok().context("all other pods have ended")?;
            let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
            applied.push(Known::from(pod));
        }
        apply_all(&self.cluster.client, manifest, &self.lease.name).await
    }

    async fn delete(&self, pod: &str) -> anyhow::Result<()> {
        let known = self.applied().into_iter().find(|known| known.name == pod);
        let known = known.with_context(|| format!("there is no pod {pod}"))?;
        self.stopping.send_modify(|stopping| {
            stopping.insert(pod.to_owned());
        });
        self.end(pod).await.map_err(in_words)?;
        let limit = known.grace + MARGIN;
        let ended = tokio::time::timeout(limit, self.end_of(pod)).await;
        ended.with_context(|| format!("it has not ended within {limit:?}"))
    }

    async fn kill(&self, pod: &str) -> anyhow::Result<()> {
        let own_name = self.own_name(pod);
        let status = self.pods().get(&own_name).await.map_err(in_words)?.status;
        let status = status.unwrap_or_default();
        // Whoever still sees a sidecar beside containers that have ended tells it to end, and it has
        // ended by then. The other way round it would be started again.
        let statuses = [status.container_statuses, status.init_container_statuses];
        let running = statuses.into_iter().flatten().flatten().filter(|status| {
            let state = status.state.as_ref();
            state.is_some_and(|state| state.running.is_some())
        });
        let running = running.filter_map(|status| status.container_id);
        images::kill(&self.cluster.node, &Vec::from_iter(running)).await?;
        self.end_of(pod).await;
        Ok(())
    }

    async fn stop(&self) {
        tokio::select! {
            biased;
            // What is left of the run stays in the cluster. Whoever runs something on it when it
            // answers again finds that, and that its owner is dead.
            _ = self.lost() => {
                self.lacks("what has happened since the cluster no longer answers".to_owned());
                self.removed.store(true, Ordering::Relaxed);
            }
            () = self.stop_in_order() => {}
        }
    }

    fn missing(&self) -> Vec<String> {
        self.missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        let why = lost.wait_for(Option::is_some).await;
        let Some(why) = why.ok().and_then(|why| why.clone()) else {
            // The watch over the cluster has ended with the run.
            return std::future::pending().await;
        };
        let limit = pulse::RHYTHM.limit;
        format!(
            "the cluster has not answered for {limit:?}: {why}. `cargo xtask cluster status` tells of it, and `cargo \
             xtask cluster up` starts it again"
        )
    }

    fn evidence(&self) -> Vec<Evidence> {
        let mut events: Vec<core::Event> = self.told.borrow().values().cloned().collect();
        events.sort_by_key(|event| event.last_timestamp.clone().map(|time| time.0));
        let list = List {
            items: events,
            ..List::default()
        };
        // What came as JSON can be written as such.
        let content = serde_json::to_vec_pretty(&list).unwrap_or_default();
        vec![Evidence {
            name: EVENTS_FILE,
            content,
        }]
    }
}

impl KindPods {
    async fn stop_in_order(&self) {
        // No event is written once the namespace is going: each pod has its first one before that.
        let mut told = self.told.subscribe();
        let of_each = told.wait_for(|events| {
            let mut applied = self.applied().into_iter();
            applied.all(|pod| {
                let mut events = events.values();
                events.any(|event| event.involved_object.name.as_ref() == Some(&pod.name))
            })
        });
        // They are evidence, and no part of the recording: a run is as good without.
        let _ = tokio::time::timeout(TELLING, of_each).await;
        let pods = self.applied();
        let is_first = self.stopping.send_if_modified(|stopping| {
            let before = stopping.len();
            stopping.extend(pods.iter().map(|pod| pod.name.clone()));
            stopping.len() > before
        });
        let grace = pods.iter().map(|pod| pod.grace).max().unwrap_or(GRACE);
        if !self.over_already() && is_first {
            let mut trouble = None;
            for pod in pods.iter().map(|pod| &pod.name) {
                if let Err(error) = self.end(pod).await {
                    trouble = Some(format!(
                        "the end of pod {pod}, which cannot be told to end: {error}"
                    ));
                }
            }
            if let Some(trouble) = trouble {
                self.lacks(trouble);
            } else if tokio::time::timeout(grace + MARGIN, self.ended())
                .await
                .is_err()
            {
                let words = "the last words of pods that did not end in time".to_owned();
                self.lacks(words);
            }
        }
        self.remove().await;
    }

    fn lacks(&self, what: String) {
        let missing = self.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn over_already(&self) -> bool {
        self.over.has_changed().is_err()
    }

    /// Has the namespace removed, and all that is left in it.
    async fn remove(&self) {
        self.lease.remove(&self.cluster.client).await;
        self.removed.store(true, Ordering::Relaxed);
    }

    async fn ended(&self) {
        // Nothing is ever sent: what comes is the end of the sender.
        let _ = self.over.clone().changed().await;
    }
}
