//! The `kind` engine: a real cluster, whose word counts. Each run has a namespace to itself.

pub mod cluster;
mod connection;
mod follow;
mod images;
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
use crate::manifest::pod::ConfigMap;
use crate::manifest::{Manifest, Object, PodSecurity};
use cluster::Cluster;
use namespace::Lease;
use watch::Stage;

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
    /// The ids of the images that the node holds, as far as this engine has made sure.
    held: Mutex<HashSet<String>>,
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
        Ok(Self {
            cluster,
            held: Mutex::default(),
        })
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
        // Held while they are sent: runs side by side wait for one import and need none of their own.
        let mut held = self.held.lock().await;
        let wanted: Vec<Image> = images
            .iter()
            .filter(|image| !held.contains(&image.id))
            .cloned()
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        images::load(&self.cluster.node, &wanted).await?;
        held.extend(wanted.into_iter().map(|image| image.id));
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
        let stopping = value::Sender::new(false);
        let missing = Arc::new(SyncMutex::new(Vec::new()));
        let (started, has_started) = value::channel(HashSet::new());
        let started = Arc::new(started);
        let told = watch::Told::default();
        let stage = Stage {
            client: client.clone(),
            namespace: lease.name.clone(),
            begin: Instant::now(),
            events: sender,
            stopping: stopping.subscribe(),
            missing: missing.clone(),
            started,
            told: told.clone(),
        };
        let mut work = JoinSet::new();
        let (at_work, over) = value::channel(());
        let pods = manifest.pods.clone();
        work.spawn(async move {
            watch::watch(stage, pods).await;
            drop(at_work);
        });
        let (silent, lost) = value::channel(None);
        let asked = client.clone();
        work.spawn(async move {
            let why = pulse::silence(&asked, pulse::RHYTHM).await;
            silent.send_replace(Some(why));
        });
        let graces = manifest.pods.iter().map(|pod| {
            let grace = pod.spec.termination_grace_period_seconds;
            grace.map_or(GRACE, Duration::from_secs)
        });
        let pods = KindPods {
            cluster: self.cluster.clone(),
            grace: graces.max().unwrap_or(GRACE),
            names: manifest
                .pods
                .iter()
                .map(|pod| pod.metadata.name.clone())
                .collect(),
            lease: Arc::new(lease),
            removed: false.into(),
            started: has_started,
            stopping,
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

/// Applies the objects of a manifest, the pods last: what they need is there when they start.
async fn apply_all(client: &Client, manifest: &Manifest, namespace: &str) -> anyhow::Result<()> {
    let pods = manifest
        .objects
        .iter()
        .filter(|object| object.kind == "Pod");
    let others = manifest
        .objects
        .iter()
        .filter(|object| object.kind != "Pod");
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
    let resource = if matches!(object.kind.as_str(), "Pod" | "ConfigMap" | "Secret") {
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
    names: Vec<String>,
    /// How long the slowest pod has to end.
    grace: Duration,
    /// The pods of which a container was started.
    started: value::Receiver<HashSet<String>>,
    stopping: value::Sender<bool>,
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
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.lease.name)
    }

    /// The id of a container that runs.
    async fn running(&self, target: Target<'_>) -> anyhow::Result<String> {
        let Target { pod, container } = target;
        let status = self.pods().get(pod).await.map_err(in_words)?.status;
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
        let (pods, how) = (self.pods(), DeleteParams::default());
        match persist(|| pods.delete(pod, &how)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            ended => ended.map(|_| ()),
        }
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
            .wait_for(|started| started.contains(pod))
            .await
            .is_err()
        {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the pod has ended",
            ));
        }
        connection::open(&self.pods(), pod, port).await
    }

    async fn exec(&self, target: Target<'_>, command: &[String]) -> anyhow::Result<(i32, Vec<u8>)> {
        self.running(target).await?;
        let how = AttachParams::default()
            .container(target.container)
            .stdout(true)
            .stderr(true)
            .max_stdout_buf_size(EXEC)
            .max_stderr_buf_size(EXEC);
        let process = self.pods().exec(target.pod, command, &how).await;
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
        let pods = self.pods();
        let spec = pods
            .get(pod)
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
            .patch(pod, &PatchParams::default(), &Patch::Strategic(patch))
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
        for pod in &self.names {
            self.pods()
                .patch(pod, &PatchParams::default(), &Patch::Merge(&touched))
                .await
                .map_err(in_words)?;
        }
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
            let mut names = self.names.iter().map(Some);
            names.all(|pod| {
                let mut events = events.values();
                events.any(|event| event.involved_object.name.as_ref() == pod)
            })
        });
        // They are evidence, and no part of the recording: a run is as good without.
        let _ = tokio::time::timeout(TELLING, of_each).await;
        if !self.over_already() && !self.stopping.send_replace(true) {
            let mut trouble = None;
            for pod in &self.names {
                if let Err(error) = self.end(pod).await {
                    trouble = Some(format!(
                        "the end of pod {pod}, which cannot be told to end: {error}"
                    ));
                }
            }
            if let Some(trouble) = trouble {
                self.lacks(trouble);
            } else if tokio::time::timeout(self.grace + MARGIN, self.ended())
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
