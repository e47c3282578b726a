//! The life of one container: its starts, its probes, its ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

use super::action::{self, SIGKILL};
use super::backoff::Backoff;
use super::runtime::{ExitStatus, Process};
use super::{GRACE, Phase, RETRY, Shared, Slot, resolve, stopped};
use crate::byte_string::ByteString;
use crate::engine::Change;
use crate::manifest::pod::{Container, Probe, Role};

/// However long the pod's grace was, this much of it is left to whoever is told to end last.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// A longer line is passed on in pieces, in bytes.
const LONGEST_LINE: u64 = 16 << 20;
const SIGTERM: i32 = 15;

/// How a run of the container ended.
enum End {
    /// By itself, or because a probe or hook failed.
    Exited(i32),
    /// It was never started, and may be later.
    NotStarted,
    /// It gets another image.
    Replaced,
    /// The pod ends.
    Stopped(i32),
}

/// Runs container `index` of the pod until it has ended for good.
pub(super) async fn run(shared: Arc<Shared>, index: usize) {
    let slot = &shared.slots[index];
    let mut stop = shared.stop.subscribe();
    let mut wanted = slot.wanted.subscribe();
    let mut backoff = Backoff::default();
    let mut starts = 0;
    let code = loop {
        let end = run_once(&shared, index, starts, &mut wanted).await;
        shared.set_ready(slot, false).await;
        slot.state.send_modify(|state| {
            state.started = false;
            state.attempted = true;
        });
        let code = match end {
            End::Exited(code) => code,
            End::Stopped(code) => break code,
            End::NotStarted => continue,
            End::Replaced => {
                starts += 1;
                backoff = Backoff::default();
                continue;
            }
        };
        starts += 1;
        let ends = stop.borrow().is_some() || shared.killed.load(Ordering::SeqCst);
        if ends || !shared.pod.spec.starts_again(slot.role, code) {
            break code;
        }
        let pause = backoff.pause(Instant::now());
        if !pause.is_zero() {
            let name = slot.wanted.borrow().name.clone();
            let message = format!(
                "back-off {} restarting failed container={name} pod={}",
                in_words(pause),
                resolve::full_name(&shared.pod)
            );
            shared
                .tell_of(
                    &name,
                    Change::Waiting {
                        reason: "CrashLoopBackOff".to_owned(),
                        message,
                    },
                )
                .await;
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(&mut stop) => break code,
                // Another image has done nothing yet that it must wait for.
                Ok(()) = wanted.changed() => backoff = Backoff::default(),
            }
        }
    };
    slot.state
        .send_modify(|state| state.phase = Phase::Over(code));
}

/// A time span as Kubernetes writes it: `10s`, `1m20s`, `5m0s`.
fn in_words(span: Duration) -> String {
    match (span.as_secs() / 60, span.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// One start of the container, to its end.
async fn run_once(
    shared: &Arc<Shared>,
    index: usize,
    starts: u32,
    wanted: &mut watch::Receiver<Container>,
) -> End {
    let slot = &shared.slots[index];
    let mut stop = shared.stop.subscribe();
    let mut known = shared.known.subscribe();
    let container = wanted.borrow_and_update().clone();
    if stop.borrow().is_some() || shared.killed.load(Ordering::SeqCst) {
        return End::Stopped(0);
    }

    let id = format!("{}.{starts}", container.name);
    let ip = shared.runtime.pod_ip();
    let resolved = {
        let known = known.borrow_and_update();
        resolve::container(&shared.pod, &container, &known, ip, id).map(|spec| {
            (
                spec,
                known
                    .images
                    .get(&container.image)
                    .map(|image| image.id.clone())
                    .unwrap_or_default(),
            )
        })
    };
    let (spec, image) = match resolved {
        Ok(resolved) => resolved,
        Err(waiting) => {
            shared.wait(slot, &waiting).await;
            slot.state.send_modify(|state| state.attempted = true);
            return tokio::select! {
                () = stopped(&mut stop) => End::Stopped(0),
                _ = wanted.changed() => End::NotStarted,
                _ = known.changed() => End::NotStarted,
                () = sleep(RETRY) => End::NotStarted,
            };
        }
    };
    let process = shared.runtime.start(spec).await;
    let count_restart = || {
        let again = |restarts: &mut u32| *restarts += u32::from(starts > 0);
        shared.restarts.send_modify(again);
    };
    let process = match process {
        Ok(process) => process,
        Err(error) => {
            let (reason, message) = ("StartError".to_owned(), error.to_string());
            shared
                .tell_of(
                    &container.name,
                    Change::Ended {
                        exit_code: 128,
                        reason,
                        message,
                    },
                )
                .await;
            count_restart();
            return End::Exited(128);
        }
    };
    shared
        .tell_of(
            &container.name,
            Change::Started {
                restarts: starts,
                image,
            },
        )
        .await;
    count_restart();
    slot.state
        .send_modify(|state| state.running = Some(process.id.clone()));
    let mut instance = Instance::new(shared, slot, index, container, process);
    let end = instance.live(&mut stop, wanted).await;
    slot.state.send_modify(|state| state.running = None);
    instance.bury(end).await
}

/// A container that runs.
struct Instance<'a> {
    shared: &'a Arc<Shared>,
    slot: &'a Slot,
    index: usize,
    container: Container,
    id: String,
    exit: oneshot::Receiver<ExitStatus>,
    /// Reads its lines.
    reader: JoinSet<()>,
    started: Instant,
}

/// Why a container's run is over.
enum Why {
    Exited,
    /// A probe or hook failed.
    Failed,
    Replaced,
    Stopped,
}

impl<'a> Instance<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        slot: &'a Slot,
        index: usize,
        container: Container,
        process: Process,
    ) -> Self {
        let mut reader = JoinSet::new();
        reader.spawn(read_lines(
            shared.clone(),
            container.name.clone(),
            process.output,
        ));
        Self {
            shared,
            slot,
            index,
            container,
            id: process.id,
            exit: process.exit,
            reader,
            started: Instant::now(),
        }
    }

    /// Watches over the container until it has ended.
    async fn live(
        &mut self,
        stop: &mut watch::Receiver<Option<super::Stop>>,
        wanted: &mut watch::Receiver<Container>,
    ) -> (Why, ExitStatus) {
        let grace_of_pod = self
            .shared
            .pod
            .spec
            .termination_grace_period_seconds
            .map_or(GRACE, Duration::from_secs);
        if let Some(hook) = self.container.lifecycle.post_start.clone() {
            // Until it returns, the container does not count as started.
            let shared = self.shared.clone();
            let (container, id) = (self.container.clone(), self.id.clone());
            let hook = action::hook(
                shared.runtime.as_ref(),
                &container,
                &id,
                &hook,
                Duration::MAX,
            );
            tokio::select! {
                status = &mut self.exit => return (Why::Exited, ended(status)),
                () = stopped(stop) => {
                    let grace = stop.borrow().map_or(GRACE, |stop| stop.grace);
                    return (Why::Stopped, self.kill(grace, true).await);
                }
                result = hook => if let Err(message) = result {
                    let what = "postStart".to_owned();
                    shared.tell_of(&container.name, Change::Unhealthy { what, message }).await;
                    return (Why::Failed, self.kill(grace_of_pod, false).await);
                }
            }
        }
        let (tell, mut judged) = mpsc::channel(4);
        let mut probes = JoinSet::new();
        let container = self.container.clone();
        match &container.startup_probe {
            Some(probe) => self.begin_probe(&mut probes, Kind::Startup, probe, &tell),
            None => self.started(&mut probes, &tell).await,
        }
        self.slot.state.send_modify(|state| state.attempted = true);
        loop {
            tokio::select! {
                status = &mut self.exit => return (Why::Exited, ended(status)),
                () = stopped(stop) => {
                    probes.shutdown().await;
                    let grace = stop.borrow().map_or(GRACE, |stop| stop.grace);
                    return (Why::Stopped, self.kill(grace, true).await);
                }
                Ok(()) = wanted.changed() => {
                    probes.shutdown().await;
                    return (Why::Replaced, self.kill(grace_of_pod, false).await);
                }
                Some((kind, healthy)) = judged.recv() => match (kind, healthy) {
                    (Kind::Startup, true) => self.started(&mut probes, &tell).await,
                    (Kind::Readiness, ready) => {
                        if !ready && !self.slot.state.borrow().ready {
                            // It has never been ready: that is news too.
                            self.shared.tell_of(&container.name, Change::Ready(false)).await;
                        }
                        self.shared.set_ready(self.slot, ready).await;
                    }
                    (Kind::Liveness, true) => {}
                    (Kind::Startup | Kind::Liveness, false) => {
                        probes.shutdown().await;
                        let probe = if kind == Kind::Startup { &container.startup_probe } else { &container.liveness_probe };
                        let seconds = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
                        let grace = seconds.map_or(grace_of_pod, Duration::from_secs);
                        return (Why::Failed, self.kill(grace, false).await);
                    }
                },
            }
        }
    }

    /// The container has started up: the other probes begin.
    async fn started(&self, probes: &mut JoinSet<()>, tell: &mpsc::Sender<(Kind, bool)>) {
        self.slot.state.send_modify(|state| state.started = true);
        if let Some(probe) = &self.container.liveness_probe {
            self.begin_probe(probes, Kind::Liveness, probe, tell);
        }
        match &self.container.readiness_probe {
            Some(probe) => self.begin_probe(probes, Kind::Readiness, probe, tell),
            None if self.slot.role == Role::Init => {}
            None => self.shared.set_ready(self.slot, true).await,
        }
    }

    fn begin_probe(
        &self,
        probes: &mut JoinSet<()>,
        kind: Kind,
        probe: &Probe,
        tell: &mpsc::Sender<(Kind, bool)>,
    ) {
        probes.spawn(watch_health(
            self.shared.clone(),
            self.container.clone(),
            self.id.clone(),
            kind,
            probe.clone(),
            self.started,
            tell.clone(),
        ));
    }

    /// Ends the container: its `preStop` hook, SIGTERM, and SIGKILL when its time is over.
    async fn kill(&mut self, grace: Duration, in_turn: bool) -> ExitStatus {
        let begin = Instant::now();
        let runtime = self.shared.runtime.as_ref();
        // Without any grace, nobody waits for a hook.
        let hook = self.container.lifecycle.pre_stop.as_ref();
        if let Some(hook) = hook.filter(|_| !grace.is_zero()) {
            tokio::select! {
                status = &mut self.exit => return ended(status),
                result = action::hook(runtime, &self.container, &self.id, hook, grace) => if let Err(message) = result {
                    let what = "preStop".to_owned();
                    self.shared.tell_of(&self.container.name, Change::Unhealthy { what, message }).await;
                }
            }
        }
        if in_turn {
            tokio::select! {
                status = &mut self.exit => return ended(status),
                _ = timeout_at(begin + grace, self.shared.turn_to_end(self.index)) => {}
            }
        }
        let left = grace.saturating_sub(begin.elapsed()).max(LEAST_GRACE);
        // A signal that cannot be sent finds nobody to end.
        let _ = runtime.signal(&self.id, SIGTERM).await;
        if let Ok(status) = timeout(left, &mut self.exit).await {
            return ended(status);
        }
        let _ = runtime.signal(&self.id, SIGKILL).await;
        ended((&mut self.exit).await)
    }

    /// Waits for its last line, and tells its end.
    async fn bury(mut self, (why, status): (Why, ExitStatus)) -> End {
        while self.reader.join_next().await.is_some() {}
        let reason = match (status.code, status.out_of_memory) {
            (_, true) => "OOMKilled",
            (0, false) => "Completed",
            _ => "Error",
        };
        let change = Change::Ended {
            exit_code: status.code,
            reason: reason.to_owned(),
            message: String::new(),
        };
        self.shared.tell_of(&self.container.name, change).await;
        match why {
            Why::Exited | Why::Failed => End::Exited(status.code),
            Why::Replaced => End::Replaced,
            Why::Stopped => End::Stopped(status.code),
        }
    }
}

/// A runtime that is gone has taken the process with it.
fn ended(status: Result<ExitStatus, oneshot::error::RecvError>) -> ExitStatus {
    status.unwrap_or(ExitStatus {
        code: 128 + SIGKILL,
        out_of_memory: false,
    })
}

/// The three probes that a container can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn field(self) -> &'static str {
        match self {
            Self::Startup => "startupProbe",
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
        }
    }
}

/// Probes a container, and tells each time when it is healthy from then on or not.
async fn watch_health(
    shared: Arc<Shared>,
    container: Container,
    id: String,
    kind: Kind,
    probe: Probe,
    started: Instant,
    tell: mpsc::Sender<(Kind, bool)>,
) {
    // It counts from the container's start, also for those that had to wait for a startup probe.
    let delay = Duration::from_secs(probe.initial_delay_seconds.unwrap_or(0).into());
    sleep_until(started + delay).await;
    let mut ticks = interval(Duration::from_secs(
        probe.period_seconds.unwrap_or(10).max(1).into(),
    ));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut succeeded, mut failed, mut healthy) = (0, 0, None);
    loop {
        ticks.tick().await;
        match action::probe(shared.runtime.as_ref(), &container, &id, &probe).await {
            Ok(()) => (succeeded, failed) = (succeeded + 1, 0),
            Err(message) => {
                (succeeded, failed) = (0, failed + 1);
                let what = kind.field().to_owned();
                shared
                    .tell_of(&container.name, Change::Unhealthy { what, message })
                    .await;
            }
        }
        let now = if succeeded >= probe.success_threshold.unwrap_or(1) && succeeded > 0 {
            Some(true)
        } else if failed >= probe.failure_threshold.unwrap_or(3) && failed > 0 {
            Some(false)
        } else {
            healthy
        };
        if let Some(state) = now.filter(|_| now != healthy) {
            healthy = now;
            let told = tell.send((kind, state)).await;
            // A startup probe has done its work when it has succeeded once.
            if told.is_err() || kind == Kind::Startup {
                return;
            }
        }
    }
}

/// Passes on what a container prints, line by line.
async fn read_lines(shared: Arc<Shared>, name: String, output: impl AsyncRead + Unpin) {
    let mut output = BufReader::with_capacity(64 << 10, output);
    loop {
        let mut line = Vec::new();
        match (&mut output)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                // As containerd does, which takes a carriage return for a part of the line's end.
                if line.pop_if(|last| *last == b'\n').is_some() {
                    line.pop_if(|last| *last == b'\r');
                }
                shared.tell_of(&name, Change::Line(ByteString(line))).await;
            }
        }
    }
}
