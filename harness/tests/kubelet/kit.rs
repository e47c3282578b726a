//! A pod's life as a timeline: a test says what its processes do, and reads what the kubelet made
//! of it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use harness::diagnosis::in_words;
use harness::engine::{Change, Event, PodChange, What};
use harness::image::{Image, ImageConfig};
use harness::kubelet::Kubelet;
use harness::kubelet::runtime::{
    Connection, ContainerSpec, ExitStatus, Process, Runtime, StartError, VolumeFile, VolumeSpec,
};
use harness::manifest::Manifest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// What a process does.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    ends: Option<(Duration, i32)>,
    on_sigterm: Option<(Duration, i32)>,
    says: Vec<&'static str>,
    start_error: Option<&'static str>,
}

/// It runs until it is told to end, and then ends at once.
pub(crate) fn stays() -> Play {
    Play {
        ends: None,
        on_sigterm: Some((Duration::ZERO, 0)),
        says: Vec::new(),
        start_error: None,
    }
}

/// It ends by itself after so many seconds with this exit code.
pub(crate) fn ends(after: u64, code: i32) -> Play {
    Play {
        ends: Some((Duration::from_secs(after), code)),
        ..stays()
    }
}

/// It is no program that can be run.
pub(crate) fn cannot_start() -> Play {
    Play {
        start_error: Some("No such file or directory"),
        ..stays()
    }
}

impl Play {
    /// Once told to end, it needs so many seconds.
    pub(crate) fn leaves_after(mut self, seconds: u64) -> Self {
        self.on_sigterm = Some((Duration::from_secs(seconds), 0));
        self
    }

    /// Only SIGKILL ends it.
    pub(crate) fn ignores_sigterm(mut self) -> Self {
        self.on_sigterm = None;
        self
    }

    /// It prints these lines first.
    pub(crate) fn says(mut self, lines: &[&'static str]) -> Self {
        self.says = lines.to_vec();
        self
    }
}

/// What is at a port of the pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// Nobody listens.
    Refuses,
    /// It answers with this status.
    Answers(u16),
    /// It accepts, and says nothing.
    Hangs,
}

/// A runtime whose processes do what the test says.
#[derive(Default)]
pub(crate) struct Stage {
    scripts: Mutex<Scripts>,
}

#[derive(Default)]
struct Scripts {
    begin: Option<Instant>,
    containers: HashMap<String, Vec<Play>>,
    execs: HashMap<String, Vec<Play>>,
    ports: HashMap<u16, Vec<Port>>,
    usage: HashMap<String, u64>,
    running: HashMap<String, mpsc::UnboundedSender<i32>>,
    execs_begun: usize,
    files: HashMap<String, Vec<VolumeFile>>,
    volumes: Vec<VolumeSpec>,
    started: Vec<ContainerSpec>,
    calls: Vec<String>,
}

/// Takes the next of a script; the last one stays.
fn next<T: Clone>(script: Option<&mut Vec<T>>) -> Option<T> {
    let script = script?;
    if script.len() > 1 {
        Some(script.remove(0))
    } else {
        script.first().cloned()
    }
}

impl Stage {
    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().unwrap()
    }

    fn note(&self, call: String) {
        let mut scripts = self.scripts();
        let at = scripts.begin.unwrap().elapsed();
        scripts.calls.push(format!("{} {call}", seconds(at)));
    }

    /// Has a process do its play. It is told signals through the channel that is kept under `id`.
    fn perform(self: &Arc<Self>, id: &str, play: Play) -> Process {
        let (signals, mut told) = mpsc::unbounded_channel();
        self.scripts().running.insert(id.to_owned(), signals);
        let (mut stdout, output) = duplex(64 << 10);
        let (ended, exit) = oneshot::channel();
        let (stage, name) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            for line in &play.says {
                stdout
                    .write_all(format!("{line}\n").as_bytes())
                    .await
                    .unwrap();
            }
            let mut end = play
                .ends
                .map(|(after, code)| (Instant::now() + after, code));
            let code = loop {
                let (when, code) =
                    end.unwrap_or((Instant::now() + Duration::from_secs(1 << 30), 0));
                tokio::select! {
                    () = sleep_until(when) => break code,
                    signal = told.recv() => match signal {
                        Some(SIGTERM) => if let Some((after, code)) = play.on_sigterm {
                            end = Some((Instant::now() + after, code));
                        },
                        Some(signal) => break 128 + signal,
                        None => break 128 + SIGKILL,
                    },
                }
            };
            stage.scripts().running.remove(&name);
            drop(stdout);
            // Whoever started it may have lost interest.
            let _ = ended.send(ExitStatus {
                code,
                out_of_memory: false,
            });
        });
        Process {
            id: id.to_owned(),
            output: Box::pin(output),
            exit,
        }
    }
}

/// A handle that the kubelet can own.
struct Handle(Arc<Stage>);

#[async_trait]
impl Runtime for Handle {
    fn pod_ip(&self) -> IpAddr {
        Ipv4Addr::new(10, 244, 0, 10).into()
    }

    async fn create_volume(&self, volume: VolumeSpec) -> anyhow::Result<()> {
        self.0.scripts().volumes.push(volume);
        Ok(())
    }

    async fn write_files(&self, volume: &str, files: Vec<VolumeFile>) -> anyhow::Result<()> {
        let mut scripts = self.0.scripts();
        let made = scripts.volumes.iter().any(|other| other.name == volume);
        anyhow::ensure!(made, "there is no volume {volume}");
        scripts.files.insert(volume.to_owned(), files);
        Ok(())
    }

    async fn volume_usage(&self, volume: &str) -> anyhow::Result<u64> {
        Ok(self.0.scripts().usage.get(volume).copied().unwrap_or(0))
    }

    async fn start(&self, container: ContainerSpec) -> Result<Process, StartError> {
        let name = container.id.split('.').next().unwrap().to_owned();
        let play = next(self.0.scripts().containers.get_mut(&name)).unwrap_or_else(stays);
        if let Some(error) = play.start_error {
            let step = format!("run {}", container.command[0]);
            return Err(StartError {
                step,
                error: error.to_owned(),
            });
        }
        let id = container.id.clone();
        self.0.scripts().started.push(container);
        Ok(self.0.perform(&id, play))
    }

    async fn signal(&self, process: &str, signal: i32) -> anyhow::Result<()> {
        let name = match signal {
            SIGTERM => "SIGTERM",
            SIGKILL => "SIGKILL",
            _ => "a signal",
        };
        let (container, start) = process.split_once('.').unwrap();
        let whose = if start.starts_with('@') {
            "'s program"
        } else {
            ""
        };
        self.0.note(format!("{name} to {container}{whose}"));
        let scripts = self.0.scripts();
        let running = scripts.running.get(process).context("it does not run")?;
        Ok(running.send(signal)?)
    }

    async fn exec(&self, container: &str, command: &[String]) -> Result<Process, StartError> {
        let words = command.join(" ");
        let container = container.split('.').next().unwrap().to_owned();
        self.0.note(format!("{container} runs {words}"));
        let play = next(self.0.scripts().execs.get_mut(&words)).unwrap_or_else(|| ends(0, 0));
        let id = {
            let mut scripts = self.0.scripts();
            scripts.execs_begun += 1;
            format!("{container}.@{}", scripts.execs_begun)
        };
        Ok(self.0.perform(&id, play))
    }

    async fn connect(&self, address: IpAddr, port: u16) -> io::Result<Connection> {
        assert_eq!(
            address,
            self.pod_ip(),
            "probes and hooks go to the pod's address"
        );
        let there = next(self.0.scripts().ports.get_mut(&port)).unwrap_or(Port::Refuses);
        let (ours, theirs) = duplex(64 << 10);
        match there {
            Port::Refuses => {
                self.0.note(format!("port {port} refuses"));
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Port::Answers(status) => tokio::spawn(answer(self.0.clone(), port, theirs, status)),
            Port::Hangs => tokio::spawn(async move {
                let _held = theirs;
                std::future::pending::<()>().await;
            }),
        };
        Ok(Box::new(ours))
    }

    fn kill(&self) {}

    async fn end(&self) {}
}

/// Reads a request, answers it, and notes both.
async fn answer(stage: Arc<Stage>, port: u16, mut stream: DuplexStream, status: u16) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            // A TCP probe says nothing.
            Err(_) => return stage.note(format!("port {port} accepts")),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let agent = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("user-agent"))
        .unwrap_or_default();
    stage.note(format!(
        "port {port}: {}, {agent}, {status}",
        head.lines().next().unwrap()
    ));
    let location = if (300..400).contains(&status) {
        "location: /next\r\n"
    } else {
        ""
    };
    let answer = format!("HTTP/1.1 {status} x\r\n{location}content-length: 0\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// A pod, and what its processes do.
pub(crate) struct Case {
    manifest: Manifest,
    stage: Arc<Stage>,
}

/// A pod from its `spec`, in YAML; `image: app` is an image that is there.
pub(crate) fn pod(spec: &str) -> Case {
    let (spec, objects) = spec.split_once("\n---").unwrap_or((spec, ""));
    let spec = spec.replace('\n', "\n  ");
    let objects = if objects.is_empty() {
        String::new()
    } else {
        format!("\n---{objects}")
    };
    let text =
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: pod}}\nspec:\n  {spec}{objects}\n");
    let manifest =
        Manifest::parse("pod.yaml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    Case {
        manifest,
        stage: Arc::default(),
    }
}

impl Case {
    /// What a container does, start by start; the last is repeated. Without this, it stays.
    pub(crate) fn plays(self, container: &str, plays: impl Into<Vec<Play>>) -> Self {
        self.stage
            .scripts()
            .containers
            .insert(container.to_owned(), plays.into());
        self
    }

    /// What a program does that probes and hooks run. Without this, it ends with exit code 0.
    pub(crate) fn program(self, command: &str, plays: impl Into<Vec<Play>>) -> Self {
        self.stage
            .scripts()
            .execs
            .insert(command.to_owned(), plays.into());
        self
    }

    /// What whoever connects to a port meets, time by time; the last is repeated.
    pub(crate) fn port(self, port: u16, there: impl Into<Vec<Port>>) -> Self {
        self.stage.scripts().ports.insert(port, there.into());
        self
    }

    /// How many bytes a volume holds.
    pub(crate) fn holds(self, volume: &str, bytes: u64) -> Self {
        self.stage.scripts().usage.insert(volume.to_owned(), bytes);
        self
    }

    /// Begins the pod's life.
    pub(crate) fn begin(self) -> Life {
        let begin = Instant::now();
        self.stage.scripts().begin = Some(begin);
        let image = |program: &str| Image {
            name: format!("{program}:1"),
            program: program.to_owned(),
            package: String::new(),
            id: format!("sha256:{program}"),
            manifest_digest: String::new(),
            layer_digest: String::new(),
            archive: PathBuf::new(),
            config: ImageConfig {
                entrypoint: vec![format!("/{program}")],
                cmd: Vec::new(),
                env: Vec::new(),
                working_dir: String::new(),
                user: "65532:65532".to_owned(),
            },
        };
        let (sender, events) = mpsc::channel(1 << 16);
        let Manifest {
            pods,
            config_maps,
            secrets,
            ..
        } = &self.manifest;
        let runtime: Arc<dyn Runtime> = Arc::new(Handle(self.stage.clone()));
        let handle = Arc::downgrade(&runtime);
        let images = [image("app"), image("other")];
        let kubelet = Kubelet::start(runtime, &pods[0], config_maps, secrets, &images, sender);
        Life {
            kubelet: Arc::new(kubelet.unwrap()),
            stage: self.stage,
            handle,
            begin,
            events,
            story: Vec::new(),
        }
    }

    /// Lives for so many seconds.
    pub(crate) async fn after(self, seconds: u64) -> Life {
        let mut life = self.begin();
        life.goes_on_for(seconds).await;
        life
    }
}

/// The life of a pod.
pub(crate) struct Life {
    pub(crate) kubelet: Arc<Kubelet>,
    stage: Arc<Stage>,
    handle: Weak<dyn Runtime>,
    begin: Instant,
    events: mpsc::Receiver<Event>,
    story: Vec<String>,
}

impl Life {
    /// Lets so many seconds pass.
    pub(crate) async fn goes_on_for(&mut self, seconds: u64) {
        // What is due at the end of this time has then happened.
        sleep(Duration::from_secs(seconds) + Duration::from_millis(1)).await;
        while let Ok(event) = self.events.try_recv() {
            self.story.extend(told(&event));
        }
    }

    /// Ends the pod in order, and waits until it has ended.
    pub(crate) async fn stops(&mut self) {
        self.kubelet.stop().await;
        self.goes_on_for(0).await;
    }

    /// Orders the pod to end, and does not wait.
    pub(crate) fn stop_begins(&self) -> tokio::task::JoinHandle<()> {
        let kubelet = self.kubelet.clone();
        tokio::spawn(async move { kubelet.stop().await })
    }

    /// What happened, by the second.
    #[track_caller]
    pub(crate) fn was(&self, expected: &str) {
        same(&self.story, expected);
    }

    /// What happened to one container, or to the `pod`.
    #[track_caller]
    pub(crate) fn of(&self, name: &str, expected: &str) {
        same(&self.told_of(name), expected);
    }

    /// What happened to one container, or to the `pod`, a line each.
    pub(crate) fn told_of(&self, name: &str) -> Vec<String> {
        let mine = |line: &&String| line.split(' ').nth(1).is_some_and(|word| word == name);
        self.story.iter().filter(mine).cloned().collect()
    }

    /// What the runtime was asked, by the second; within a moment, in any order.
    #[track_caller]
    pub(crate) fn asked(&self, expected: &str) {
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines.sort_by_key(|line| moment(line));
            lines
        };
        let expected = expected
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        same(
            &sorted(self.stage.scripts().calls.clone()),
            &sorted(expected).join("\n"),
        );
    }

    /// How the containers were started.
    pub(crate) fn started(&self) -> Vec<ContainerSpec> {
        self.stage.scripts().started.clone()
    }

    /// The volumes that were made.
    pub(crate) fn volumes(&self) -> Vec<VolumeSpec> {
        self.stage.scripts().volumes.clone()
    }

    /// The files of a volume: path, octal mode, content.
    pub(crate) fn files(&self, volume: &str) -> Vec<String> {
        let scripts = self.stage.scripts();
        let files = scripts.files.get(volume).into_iter().flatten();
        files
            .map(|file| {
                format!(
                    "{} {:o} {}",
                    file.path.display(),
                    file.mode,
                    file.content.text()
                )
            })
            .collect()
    }

    /// Ends a process as if by itself, with a signal.
    pub(crate) fn kill(&self, id: &str, signal: i32) {
        self.stage.scripts().running[id].send(signal).unwrap();
    }

    /// Changes how many bytes a volume holds.
    pub(crate) fn fill(&self, volume: &str, bytes: u64) {
        self.stage.scripts().usage.insert(volume.to_owned(), bytes);
    }

    /// The kubelet's end of the runtime, for as long as something holds it.
    pub(crate) fn runtime(&self) -> Weak<dyn Runtime> {
        self.handle.clone()
    }

    /// How long the pod has lived.
    pub(crate) fn age(&self) -> Duration {
        self.begin.elapsed()
    }
}

fn seconds(at: Duration) -> String {
    format!("{:.1}", at.as_secs_f64())
}

/// The tenth of a second that a line begins with.
fn moment(line: &str) -> Option<u64> {
    line.split(' ').next()?.replace('.', "").parse().ok()
}

/// An event as a line of the story.
fn told(event: &Event) -> Option<String> {
    let at = seconds(event.at);
    Some(match &event.what {
        What::Pod(change) => {
            let words = match change {
                PodChange::Initialized => "initialized".to_owned(),
                PodChange::Ready(true) => "ready".to_owned(),
                PodChange::Ready(false) => "not ready".to_owned(),
                PodChange::Stopping => "stopping".to_owned(),
                PodChange::Succeeded => "succeeded".to_owned(),
                PodChange::Failed { reason, message } => {
                    format!("failed {reason} {message}").trim().to_owned()
                }
            };
            format!("{at} pod {words}")
        }
        What::Container {
            name,
            change: Change::Line(line),
        } => format!("{at} {name} | {}", line.text()),
        What::Container { name, change } => format!("{at} {name} {}", in_words(change)?),
    })
}

#[track_caller]
fn same(lines: &[String], expected: &str) {
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert!(
        lines == expected,
        "it was\n    {}\nand should have been\n    {}\n",
        lines.join("\n    "),
        expected.join("\n    ")
    );
}
