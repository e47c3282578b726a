//! The kubelet: decides what of a pod runs when, as the one on a Kubernetes node does.
//!
//! It is the same for every engine that has no Kubernetes of its own. Below it, a
//! [`runtime::Runtime`] starts processes; above it, whoever runs a pod sees [`Event`]s.
//!
//! Source for all of it: <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/>,
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-termination/> and
//! <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>.

mod action;
mod backoff;
mod container;
mod job;
mod resolve;
pub mod runtime;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::engine::{Change, Event, PodChange, What};
use crate::image::Image;
use crate::manifest::pod::{ConfigMap, Container, Pod, Quantity, RestartPolicy, Role, Secret};
use action::SIGKILL;
use resolve::{Known, ObjectKind, Waiting};
use runtime::{PodSettings, Process, Runtime};

/// How long a pod has to end, unless its manifest says otherwise.
const GRACE: Duration = Duration::from_secs(30);
/// How long a pod has to end that is evicted for what it wrote.
const EVICTION_GRACE: Duration = Duration::from_secs(1);
/// How often the size of volumes is looked at.
const VOLUME_CHECK: Duration = Duration::from_secs(1);
/// How long the kubelet waits before it tries again what it could not do.
const RETRY: Duration = Duration::from_secs(10);

/// What the surroundings of a pod are to be.
///
/// # Errors
///
/// If an address of `hostAliases` is none.
pub fn settings(pod: &Pod) -> anyhow::Result<PodSettings> {
    let spec = &pod.spec;
    let aliases = spec.host_aliases.iter().map(|alias| {
        let ip = alias
            .ip
            .parse()
            .with_context(|| format!("hostAliases: {} is no IP address", alias.ip))?;
        Ok((ip, alias.hostnames.clone()))
    });
    let volumes = spec.volumes.iter();
    Ok(PodSettings {
        hostname: spec
            .hostname
            .clone()
            .unwrap_or_else(|| pod.metadata.name.clone()),
        host_aliases: aliases.collect::<anyhow::Result<_>>()?,
        share_process_namespace: spec.share_process_namespace,
        volumes: volumes
            .map(|volume| resolve::volume_spec(pod, volume))
            .collect(),
    })
}

/// A pod that the kubelet runs.
///
/// When it is dropped, it leaves the pod.
pub struct Kubelet {
    shared: Arc<Shared>,
    work: AbortHandle,
    /// Closed when the pod has ended.
    over: watch::Receiver<()>,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What all containers of a pod have in common.
struct Shared {
    runtime: Arc<dyn Runtime>,
    pod: Pod,
    known: watch::Sender<Known>,
    stop: watch::Sender<Option<Stop>>,
    /// All its processes are killed: none is started again, and none is told to end.
    killed: AtomicBool,
    slots: Vec<Slot>,
    /// Whether the pod is ready. Locked while that is told, so that news does not overtake news.
    ready: Mutex<bool>,
    /// The volumes that have been made. Locked while one is written.
    volumes: Mutex<HashSet<String>>,
    /// How often containers were started again.
    restarts: watch::Sender<u32>,
    begin: Instant,
    events: mpsc::Sender<Event>,
}

/// The order to end.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// How long the whole pod has.
    grace: Duration,
}

/// A container of the pod, and what is known of it.
struct Slot {
    role: Role,
    /// What the manifest says of it; its image can be replaced while it runs.
    wanted: watch::Sender<Container>,
    state: watch::Sender<State>,
}

/// What is known of a container.
#[derive(Clone, Debug, Default)]
struct State {
    phase: Phase,
    /// It was started once, or that failed: the next one may be.
    attempted: bool,
    /// Its startup probe has succeeded, if it has one.
    started: bool,
    /// It can be sent requests.
    ready: bool,
    /// What the runtime calls the process that runs.
    running: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It has not been started, and perhaps never will be.
    #[default]
    Pending,
    /// It runs, or will again.
    Active,
    /// It has ended for good, with this exit code.
    Over(i32),
}

impl Kubelet {
    /// Runs `pod` on `runtime`. What happens is sent to `events`, until the pod has ended.
    ///
    /// # Errors
    ///
    /// If a value of a ConfigMap or Secret is not base64 where it must be.
    pub fn start(
        runtime: Arc<dyn Runtime>,
        pod: &Pod,
        config_maps: &[ConfigMap],
        secrets: &[Secret],
        images: &[Image],
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let images = images
            .iter()
            .map(|image| (image.name.clone(), image.clone()));
        let mut known = Known {
            images: images.collect(),
            ..Known::default()
        };
        for map in config_maps {
            known.add_config_map(map)?;
        }
        for secret in secrets {
            let values = resolve::values(&secret.string_data, &secret.data)
                .with_context(|| format!("Secret {}", secret.metadata.name))?;
            known
                .objects
                .insert((ObjectKind::Secret, secret.metadata.name.clone()), values);
        }
        let slots = pod.spec.all_containers().map(|(role, container)| Slot {
            role,
            wanted: watch::Sender::new(container.clone()),
            state: watch::Sender::default(),
        });
        let shared = Arc::new(Shared {
            runtime,
            pod: pod.clone(),
            known: watch::Sender::new(known),
            stop: watch::Sender::default(),
            killed: AtomicBool::new(false),
            slots: slots.collect(),
            ready: Mutex::new(false),
            volumes: Mutex::default(),
            restarts: watch::Sender::default(),
            begin: Instant::now(),
            events,
        });
        let (at_work, over) = watch::channel(());
        let pod = shared.clone();
        let work = tokio::spawn(async move {
            run_pod(pod).await;
            drop(at_work);
        });
        Ok(Self {
            shared,
            work: work.abort_handle(),
            over,
        })
    }

    /// Ends the pod in order, and returns when it has ended.
    pub async fn stop(&self) {
        let seconds = self.shared.pod.spec.termination_grace_period_seconds;
        let grace = seconds.map_or(GRACE, Duration::from_secs);
        if self.shared.order_stop(grace) {
            self.shared.tell(PodChange::Stopping).await;
        }
        self.ended().await;
    }

    /// Does nothing more for the pod.
    pub fn leave(&self) {
        self.work.abort();
    }

    /// Kills the first process of every container at once, as the loss of a node does, and returns
    /// when the pod has ended.
    ///
    /// # Errors
    ///
    /// If the pod's `restartPolicy` has containers started again.
    pub async fn kill(&self) -> anyhow::Result<()> {
        let shared = &self.shared;
        ensure!(
            shared.pod.spec.restart_policy == RestartPolicy::Never,
            "its containers would be started again: `restartPolicy: Never` keeps them from that"
        );
        shared.killed.store(true, Ordering::SeqCst);
        let mut signals = JoinSet::new();
        for slot in &shared.slots {
            let running = slot.state.borrow().running.clone();
            let runtime = shared.runtime.clone();
            // A process that has ended meanwhile need not be killed.
            signals.spawn(async move {
                if let Some(id) = running {
                    let _ = runtime.signal(&id, SIGKILL).await;
                }
            });
        }
        while signals.join_next().await.is_some() {}
        self.ended().await;
        Ok(())
    }

    /// Returns when the pod has ended.
    pub async fn ended(&self) {
        // Nothing is ever sent: what comes is the end of the sender. A panic is an end too, and
        // has told its own story on standard error.
        let _ = self.over.clone().changed().await;
    }

    /// Sends a signal to the first process of a container.
    ///
    /// # Errors
    ///
    /// If the container does not run.
    pub async fn signal(&self, container: &str, signal: i32) -> anyhow::Result<()> {
        let id = self.running(container)?;
        self.shared.runtime.signal(&id, signal).await
    }

    /// Runs a program in a container.
    ///
    /// # Errors
    ///
    /// If the container does not run, or the program cannot be started.
    pub async fn exec(&self, container: &str, command: &[String]) -> anyhow::Result<Process> {
        let id = self.running(container)?;
        Ok(self.shared.runtime.exec(&id, command).await?)
    }

    /// Gives a container another image. It alone is started again.
    ///
    /// # Errors
    ///
    /// If the pod has no such container.
    pub fn replace_image(&self, container: &str, image: &str) -> anyhow::Result<()> {
        let slot = self.slot(container)?;
        slot.wanted
            .send_modify(|wanted| image.clone_into(&mut wanted.image));
        Ok(())
    }

    /// Puts a ConfigMap in the place of the one of that name, and writes the volumes anew that
    /// are made from it. Environment variables are read when a container starts, so they change
    /// only with its next start.
    ///
    /// # Errors
    ///
    /// If a value is not base64 where it must be, or a volume cannot be written.
    pub async fn update_config_map(&self, map: &ConfigMap) -> anyhow::Result<()> {
        // A volume that is still to be made waits for this, and is made from what is new.
        let made = self.shared.volumes.lock().await;
        let mut known = self.shared.known.borrow().clone();
        known.add_config_map(map)?;
        for volume in &self.shared.pod.spec.volumes {
            let source = volume.config_map.as_ref();
            if made.contains(&volume.name)
                && source.is_some_and(|source| source.name == map.metadata.name)
            {
                let files = resolve::volume_files(&self.shared.pod, volume, &known)
                    .map_err(|waiting| anyhow::anyhow!(waiting.message))?;
                self.shared
                    .runtime
                    .write_files(&volume.name, files.unwrap_or_default())
                    .await?;
            }
        }
        self.shared.known.send_replace(known);
        Ok(())
    }

    fn slot(&self, container: &str) -> anyhow::Result<&Slot> {
        let pod = self.shared.pod.recorded_name();
        let mut slots = self.shared.slots.iter();
        slots
            .find(|slot| slot.wanted.borrow().name == container)
            .with_context(|| format!("pod {pod} has no container {container}"))
    }

    fn running(&self, container: &str) -> anyhow::Result<String> {
        let slot = self.slot(container)?;
        let running = slot.state.borrow().running.clone();
        running.with_context(|| format!("container {container} does not run"))
    }
}

impl Known {
    fn add_config_map(&mut self, map: &ConfigMap) -> anyhow::Result<()> {
        let name = &map.metadata.name;
        let values = resolve::values(&map.data, &map.binary_data)
            .with_context(|| format!("ConfigMap {name}"))?;
        self.objects
            .insert((ObjectKind::ConfigMap, name.clone()), values);
        Ok(())
    }
}

/// From the first volume to the last word of the last sidecar.
async fn run_pod(shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    let mut workers = JoinSet::new();
    let outcome = tokio::select! {
        outcome = shared.life(&mut workers) => outcome,
        () = stopped(&mut stop) => Outcome::Stopped,
    };
    if let Outcome::GivenUp(_, grace) = &outcome
        && shared.order_stop(*grace)
    {
        shared.tell(PodChange::Stopping).await;
    }
    // Native sidecars are still there when the others have ended by themselves. What order they
    // end in, each of them knows.
    let seconds = shared.pod.spec.termination_grace_period_seconds;
    if !shared.killed.load(Ordering::SeqCst) {
        shared.order_stop(seconds.map_or(GRACE, Duration::from_secs));
    }
    while workers.join_next().await.is_some() {}
    match outcome {
        Outcome::Succeeded => shared.tell(PodChange::Succeeded).await,
        Outcome::Failed(Failure { reason, message })
        | Outcome::GivenUp(Failure { reason, message }, _) => {
            let (reason, message) = (reason.to_owned(), message);
            shared.tell(PodChange::Failed { reason, message }).await;
        }
        Outcome::Stopped => {}
    }
}

/// Waits for the order to end.
async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        std::future::pending().await
    }
}

/// How a pod's life ended.
enum Outcome {
    Succeeded,
    Failed(Failure),
    /// Its containers run, and are told to end within so long.
    GivenUp(Failure, Duration),
    Stopped,
}

/// Why a pod, or the Job that it is of, has failed.
#[derive(Default)]
struct Failure {
    /// Kubernetes' word for it; empty where a container's end says it all.
    reason: &'static str,
    message: String,
}

impl Shared {
    /// Init containers one after the other, then all others, until they have ended.
    async fn life(self: &Arc<Self>, workers: &mut JoinSet<()>) -> Outcome {
        self.make_volumes().await;
        let eviction = self.watch_volumes();
        let run = async {
            for (index, slot) in self
                .slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.role != Role::Main)
            {
                self.begin_container(workers, index);
                let mut state = slot.state.subscribe();
                let arrived = |state: &State| {
                    matches!(state.phase, Phase::Over(_))
                        || slot.role == Role::Sidecar && state.started
                };
                // The sender lives in `self`.
                let code = state
                    .wait_for(arrived)
                    .await
                    .map_or(Phase::Over(1), |state| state.phase);
                if slot.role == Role::Init && code != Phase::Over(0) {
                    return Outcome::Failed(self.failure());
                }
            }
            self.tell(PodChange::Initialized).await;
            for (index, slot) in self.main() {
                self.begin_container(workers, index);
                let _ = slot
                    .state
                    .subscribe()
                    .wait_for(|state| state.attempted)
                    .await;
            }
            let mut succeeded = true;
            for (_, slot) in self.main() {
                let mut state = slot.state.subscribe();
                let over = state
                    .wait_for(|state| matches!(state.phase, Phase::Over(_)))
                    .await;
                succeeded &= over.is_ok_and(|state| state.phase == Phase::Over(0));
            }
            if succeeded {
                Outcome::Succeeded
            } else {
                Outcome::Failed(self.failure())
            }
        };
        tokio::select! {
            outcome = run => outcome,
            failure = eviction => Outcome::GivenUp(failure, EVICTION_GRACE),
            (failure, grace) = self.watch_job() => Outcome::GivenUp(failure, grace),
        }
    }

    fn main(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.role == Role::Main)
    }

    fn begin_container(self: &Arc<Self>, workers: &mut JoinSet<()>, index: usize) {
        self.slots[index]
            .state
            .send_modify(|state| state.phase = Phase::Active);
        workers.spawn(container::run(self.clone(), index));
    }

    /// Makes the volumes; tries again while a ConfigMap or Secret is missing.
    async fn make_volumes(&self) {
        for volume in &self.pod.spec.volumes {
            let mut known = self.known.subscribe();
            loop {
                let attempt = {
                    let mut made = self.volumes.lock().await;
                    let files =
                        resolve::volume_files(&self.pod, volume, &known.borrow_and_update());
                    let attempt = match files {
                        Ok(files) => {
                            let spec = resolve::volume_spec(&self.pod, volume);
                            self.make_volume(spec, files).await
                        }
                        Err(waiting) => Err(waiting),
                    };
                    if attempt.is_ok() {
                        made.insert(volume.name.clone());
                    }
                    attempt
                };
                let Err(waiting) = attempt else { break };
                for slot in &self.slots {
                    self.wait(slot, &waiting).await;
                }
                tokio::select! {
                    _ = known.changed() => {}
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    async fn make_volume(
        &self,
        spec: runtime::VolumeSpec,
        files: Option<Vec<runtime::VolumeFile>>,
    ) -> Result<(), Waiting> {
        let name = spec.name.clone();
        let make = async {
            self.runtime.create_volume(spec).await?;
            match files {
                Some(files) => self.runtime.write_files(&name, files).await,
                None => Ok(()),
            }
        };
        make.await.map_err(|error| Waiting {
            reason: "FailedMount",
            message: format!("MountVolume.SetUp failed for volume \"{name}\" : {error:#}"),
        })
    }

    /// Returns when a volume has grown past its limit: the pod must end, and this is why.
    async fn watch_volumes(&self) -> Failure {
        let limits: HashMap<String, (u64, Quantity)> = self
            .pod
            .spec
            .volumes
            .iter()
            .filter_map(|volume| {
                let limit = volume.empty_dir.as_ref()?.size_limit.clone()?;
                Some((volume.name.clone(), (limit.whole()?, limit)))
            })
            .collect();
        if limits.is_empty() {
            std::future::pending().await
        }
        let mut ticks = tokio::time::interval(VOLUME_CHECK);
        loop {
            ticks.tick().await;
            for (name, (bytes, limit)) in &limits {
                // A pod that is gone fills no volume.
                let used = self.runtime.volume_usage(name).await.unwrap_or(0);
                if used > *bytes {
                    let message = format!(
                        "Usage of EmptyDir volume \"{name}\" exceeds the limit \"{}\". ",
                        limit.0
                    );
                    return Failure {
                        reason: "Evicted",
                        message,
                    };
                }
            }
        }
    }

    /// The first order holds: it cannot be taken back or put off. Returns whether it was this one.
    fn order_stop(&self, grace: Duration) -> bool {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(Stop { grace });
            first
        })
    }

    /// Waits until a container may be told to end: native sidecars after the containers of the
    /// pod, the last started first. Nobody waits for an init container.
    async fn turn_to_end(&self, index: usize) {
        if self.slots[index].role != Role::Sidecar {
            return;
        }
        let later = self.slots.iter().skip(index + 1);
        for slot in later.filter(|slot| slot.role != Role::Init) {
            let _ = slot
                .state
                .subscribe()
                .wait_for(|state| state.phase != Phase::Active)
                .await;
        }
    }

    /// Tells what happened to the pod.
    async fn tell(&self, change: PodChange) {
        self.send(What::Pod(change)).await;
    }

    /// Tells what happened to a container.
    async fn tell_of(&self, name: &str, change: Change) {
        self.send(What::Container {
            name: name.to_owned(),
            change,
        })
        .await;
    }

    async fn wait(&self, slot: &Slot, waiting: &Waiting) {
        let name = slot.wanted.borrow().name.clone();
        let change = Change::Waiting {
            reason: waiting.reason.to_owned(),
            message: waiting.message.clone(),
        };
        self.tell_of(&name, change).await;
    }

    async fn send(&self, what: What) {
        let event = Event {
            at: self.begin.elapsed(),
            pod: self.pod.recorded_name().to_owned(),
            what,
        };
        // Nobody listens any more: the run is over.
        let _ = self.events.send(event).await;
    }

    /// Notes that a container is ready or not, and whether that changes the pod's readiness.
    async fn set_ready(&self, slot: &Slot, ready: bool) {
        let changed = slot
            .state
            .send_if_modified(|state| std::mem::replace(&mut state.ready, ready) != ready);
        if changed {
            let name = slot.wanted.borrow().name.clone();
            self.tell_of(&name, Change::Ready(ready)).await;
        }
        let mut ready = self.ready.lock().await;
        let mut of_pod = self.slots.iter().filter(|slot| slot.role != Role::Init);
        let all = of_pod.all(|slot| slot.state.borrow().ready);
        if std::mem::replace(&mut *ready, all) != all {
            self.tell(PodChange::Ready(all)).await;
        }
    }
}
