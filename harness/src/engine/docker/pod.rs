//! A pod on a Docker daemon: a pause container that holds the network, containers that join it,
//! and volumes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use pause::{Answer, VOLUMES, WireFile};
use testcontainers::bollard::Docker;
use testcontainers::bollard::container::LogOutput;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use testcontainers::bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig,
};
use testcontainers::bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, KillContainerOptions,
    StartContainerOptions, WaitContainerOptions,
};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::link::Link;
use super::node::Owner;
use super::remains::{self, PAUSE};
use crate::image::Image;
use crate::kubelet::runtime::{
    Connection, ContainerSpec, ExitStatus, Mount as VolumeMount, PodSettings, Process, Runtime,
    StartError, VolumeFile, VolumeSpec,
};

/// A start that takes this long has failed.
const START: Duration = Duration::from_secs(300);
/// What is held of a container's lines that the harness has not read yet, in bytes.
const BUFFER: usize = 256 << 10;
/// As many processes as this can a container have, so that one that goes wild spares the machine.
const PROCESSES: i64 = 1024;
const SIGKILL: i32 = 9;
/// The exit code of a process that it has ended.
const KILLED: i32 = 128 + SIGKILL;
/// How long Docker has to learn that the kernel killed a container that has a limit of memory, which
/// nobody else has killed.
const OOM_NEWS: Duration = Duration::from_secs(3);
/// The program of the pause container.
pub(super) const PROGRAM: &str = "/pause";
/// What the pause container may do as root: give volumes their owners and modes, and write files
/// that others own.
const RIGHTS: [&str; 4] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"];

/// As container runtimes set it: a pod's ports are its own, so none is privileged.
const LOW_PORTS: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");
/// See `host.conf(5)`.
const ALL_ADDRESSES: &str = "RESOLV_MULTI=on";
/// Docker takes `::1` away where its network has no IPv6.
const IPV6: (&str, &str) = ("net.ipv6.conf.all.disable_ipv6", "0");

/// A pod: containers and volumes that bear the id of a run.
pub(super) struct Pod {
    docker: Docker,
    owner: Owner,
    link: Link,
    /// The pause container's image, and whether Docker names images by their manifests.
    image: Image,
    containerd: bool,
    /// The pause container, until the pod has ended, and what Docker calls it.
    pause: Mutex<Option<ContainerAsync<GenericImage>>>,
    pause_id: String,
    ip: IpAddr,
    settings: PodSettings,
    /// What Docker calls the processes that the kubelet knows by name.
    processes: Arc<Mutex<HashMap<String, Reference>>>,
    /// The containers that were sent SIGKILL.
    killed: Killed,
    /// Each looks after a container, and removes it when it has ended.
    keepers: Mutex<JoinSet<()>>,
    execs: AtomicU64,
    ended: AtomicBool,
}

/// Containers, as Docker calls them.
type Killed = Arc<Mutex<HashSet<String>>>;

/// What Docker calls a process.
#[derive(Clone, Debug)]
enum Reference {
    /// The first one of a container.
    Container(String),
    /// One that was run in a container.
    Exec(String),
}

impl Pod {
    /// Starts a pause container, with the volumes that the pod will have.
    pub(super) async fn start(
        docker: &Docker,
        image: &Image,
        containerd: bool,
        network: Option<&str>,
        settings: &PodSettings,
        owner: &Owner,
    ) -> anyhow::Result<Self> {
        let started = Self::start_as(docker, image, containerd, network, settings, owner).await;
        if started.is_err() {
            // The first error is the one to tell; the next run finds what is left.
            let _ = remains::remove_pod(docker, owner).await;
        }
        started
    }

    async fn start_as(
        docker: &Docker,
        image: &Image,
        containerd: bool,
        network: Option<&str>,
        settings: &PodSettings,
        owner: &Owner,
    ) -> anyhow::Result<Self> {
        let mounts = settings.volumes.iter().map(|volume| Mount {
            target: Some(format!("{VOLUMES}/{}", volume.name)),
            volume_options: Some(MountVolumeOptions {
                labels: Some(owner.labels()),
                driver_config: volume.in_memory.then(|| in_memory(volume.capacity)),
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..volume_mount(owner, &volume.name)
        });
        // ANCHOR: pause
        let host = HostConfig {
            mounts: Some(mounts.collect()),
            network_mode: network.map(ToOwned::to_owned),
            // A name of a Service that leads nowhere yet is asked of DNS, and the daemon passes that
            // on. A cluster knows its own names, and says at once that there is none.
            dns_options: network.map(|_| ["timeout:1", "attempts:1"].map(str::to_owned).into()),
            ipc_mode: Some("shareable".to_owned()),
            ..host_config(&RIGHTS.map(str::to_owned))
        };
        let start = |sysctls: &[(&str, &str)]| {
            let sysctls = sysctls
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            let host = HostConfig {
                sysctls: Some(sysctls.collect()),
                ..host.clone()
            };
            request(image, containerd, owner, "pause", host)
                .with_hostname(&settings.hostname)
                .with_label(PAUSE, "true")
                .with_user("0:0")
                .start()
        };
        // ANCHOR_END: pause
        let mut container = start(&[LOW_PORTS, IPV6]).await;
        if container
            .as_ref()
            .is_err_and(|error| error.to_string().contains("ipv6"))
        {
            // The kernel has no IPv6 at all.
            remains::remove_pod(docker, owner).await?;
            container = start(&[LOW_PORTS]).await;
        }
        let container = container.context("Docker does not start the pause container")?;
        let id = container.id().to_owned();
        let link = Link::new(docker, &id).await?;
        let found = docker
            .inspect_container(&id, None::<InspectContainerOptions>)
            .await?;
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks);
        let ip = networks
            .into_iter()
            .flatten()
            .find_map(|(_, network)| network.ip_address?.parse().ok());
        let ip = ip.context(
            "the pause container has no address; does Docker have its network `bridge`?",
        )?;
        let hosts = pause::Request::Hosts(settings.hosts_file(ip));
        link.ask(&hosts).await.context("cannot write /etc/hosts")?;
        Ok(Self {
            docker: docker.clone(),
            owner: owner.clone(),
            link,
            image: image.clone(),
            containerd,
            pause: Mutex::new(Some(container)),
            pause_id: id,
            ip,
            settings: settings.clone(),
            processes: Arc::default(),
            killed: Killed::default(),
            keepers: Mutex::default(),
            execs: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        })
    }

    /// The mounts of a container, as Docker has them.
    async fn mounts(&self, mounts: &[VolumeMount]) -> anyhow::Result<Vec<Mount>> {
        let mut all = Vec::new();
        for mount in mounts {
            let from = if mount.sub_path.as_os_str().is_empty() {
                volume_mount(&self.owner, &mount.volume)
            } else {
                self.sub_path(&mount.volume, &mount.sub_path).await?
            };
            all.push(Mount {
                target: Some(mount.path.to_string_lossy().into_owned()),
                read_only: Some(mount.read_only),
                ..from
            });
        }
        Ok(all)
    }

    /// A folder or file of a volume, where the daemon has it: older daemons can mount nothing but
    /// whole volumes otherwise.
    async fn sub_path(&self, volume: &str, path: &Path) -> anyhow::Result<Mount> {
        let question = pause::Request::SubPath {
            volume: volume.to_owned(),
            path: path.to_owned(),
        };
        let Answer::SubPath(inside) = self.link.ask(&question).await? else {
            bail!(
                "the pause container answers another question than where {} is",
                path.display()
            );
        };
        let at = self
            .docker
            .inspect_volume(&self.owner.name(volume))
            .await?
            .mountpoint;
        Ok(Mount {
            typ: Some(MountType::BIND),
            source: Some(format!("{at}/{}", inside.display())),
            ..Mount::default()
        })
    }

    /// Kills a program that was run in a container. Docker has no call for that, so a container
    /// does it that sees all processes of the machine that Docker runs on.
    async fn kill_exec(&self, exec: &str) -> anyhow::Result<()> {
        let found = self.docker.inspect_exec(exec).await?;
        let pid = found.pid.filter(|_| found.running == Some(true));
        let pid = pid.context("it does not run")?;
        let host = HostConfig {
            pid_mode: Some("host".to_owned()),
            network_mode: Some("none".to_owned()),
            ..host_config(&["KILL".to_owned()])
        };
        let name = format!("kill-{pid}");
        let killer = request(&self.image, self.containerd, &self.owner, &name, host)
            .with_user("0:0")
            .with_cmd([pause::KILL.to_owned(), pid.to_string()])
            .start()
            .await?;
        exit_code(&self.docker, killer.id()).await?;
        Ok(killer.rm().await?)
    }

    fn reference(&self, process: &str) -> anyhow::Result<Reference> {
        let found = lock(&self.processes).get(process).cloned();
        found.with_context(|| format!("{process} does not run"))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds a lock of this module can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Docker's id of an image: the digest of its configuration, or of its manifest where it keeps
/// images in containerd. By that, what runs is what was built, whatever bears its name now.
fn digest(image: &Image, containerd: bool) -> &str {
    if containerd {
        &image.manifest_digest
    } else {
        &image.id
    }
}

fn volume_mount(owner: &Owner, volume: &str) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(owner.name(volume)),
        volume_options: Some(MountVolumeOptions {
            // Docker would fill an empty volume with what the image has at its place.
            no_copy: Some(true),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

fn in_memory(capacity: u64) -> MountVolumeOptionsDriverConfig {
    let options = [
        ("type", "tmpfs"),
        ("device", "tmpfs"),
        ("o", &format!("size={capacity}")),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    MountVolumeOptionsDriverConfig {
        name: Some("local".to_owned()),
        options: Some(options.into()),
    }
}

/// What all containers have in common: no right that is not given, and a log that takes little room,
/// for whoever asks `docker logs`.
fn host_config(capabilities: &[String]) -> HostConfig {
    let log = [
        ("max-size", "20m"),
        ("max-file", "1"),
        ("compress", "false"),
    ];
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(capabilities.to_vec()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".to_owned()),
            config: Some(
                log.map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            ),
        }),
        init: Some(false),
        pids_limit: Some(PROCESSES),
        ..HostConfig::default()
    }
}

/// A container of a run that runs the pause container's program. `host` is all that is taken of its host configuration.
fn request(
    image: &Image,
    containerd: bool,
    owner: &Owner,
    name: &str,
    host: HostConfig,
) -> ContainerRequest<GenericImage> {
    let digest = digest(image, containerd);
    let (algorithm, digest) = digest.split_once(':').unwrap_or(("sha256", digest));
    GenericImage::new(algorithm, digest)
        .with_container_name(owner.name(name))
        .with_labels(owner.labels())
        .with_startup_timeout(START)
        .with_host_config_modifier(move |config| *config = host.clone())
}

/// Looks after a container: passes on what it prints, tells how it ended, and removes it.
async fn keep(
    docker: Docker,
    container: String,
    limit: Option<Killed>,
    said: Said,
    output: DuplexStream,
    exited: oneshot::Sender<ExitStatus>,
) {
    let end = async {
        let Ok(code) = exit_code(&docker, &container).await else {
            return;
        };
        // The kubelet may have given up.
        let _ = exited.send(ExitStatus {
            code,
            out_of_memory: match limit {
                Some(killed) if code == KILLED && !lock(&killed).contains(&container) => {
                    ran_out_of_memory(&docker, &container).await
                }
                _ => false,
            },
        });
    };
    tokio::join!(pass_on(said, output), end);
    // Where it cannot be removed, the end of the pod tries again, and then the next run.
    let _ = remains::remove_container(&docker, &container).await;
}

/// Whether a container was killed for its use of memory. The kernel tells Docker of that on another
/// way than of the container's end, and maybe a moment later.
async fn ran_out_of_memory(docker: &Docker, container: &str) -> bool {
    let ask = async {
        loop {
            let found = docker
                .inspect_container(container, None::<InspectContainerOptions>)
                .await;
            match found.map(|found| found.state.and_then(|state| state.oom_killed)) {
                Ok(Some(true)) => return true,
                Ok(_) => tokio::time::sleep(OOM_NEWS / 100).await,
                Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(OOM_NEWS, ask).await.unwrap_or(false)
}

/// What a process prints, as Docker sends it.
type Said = Pin<Box<dyn Stream<Item = Result<LogOutput, DockerError>> + Send>>;

/// Passes on what a process prints, to its last byte.
async fn pass_on(mut said: Said, mut output: DuplexStream) {
    while let Some(Ok(part)) = said.next().await {
        if output.write_all(&part.into_bytes()).await.is_err() {
            // Nobody reads it any more.
            return;
        }
    }
}

/// Waits for the end of a container.
async fn exit_code(docker: &Docker, container: &str) -> Result<i32, DockerError> {
    let mut wait = std::pin::pin!(docker.wait_container(container, None::<WaitContainerOptions>));
    match wait.next().await {
        Some(Ok(ended)) => Ok(ended.status_code as i32),
        // What the client calls an error is any other code than 0.
        Some(Err(DockerError::DockerContainerWaitError { code, .. })) => Ok(code as i32),
        Some(Err(error)) => Err(error),
        None => Err(DockerError::IOError {
            err: io::Error::other("Docker stopped waiting for the container"),
        }),
    }
}

fn failed(step: impl Into<String>, error: &anyhow::Error) -> StartError {
    StartError {
        step: step.into(),
        error: format!("{error:#}"),
    }
}

/// What Docker says of a failure, without the words of its client.
fn words(error: DockerError) -> String {
    match error {
        DockerError::DockerResponseServerError { message, .. } => message,
        other => other.to_string(),
    }
}

#[async_trait]
impl Runtime for Pod {
    fn pod_ip(&self) -> IpAddr {
        self.ip
    }

    async fn create_volume(&self, volume: VolumeSpec) -> anyhow::Result<()> {
        let prepare = pause::Request::Prepare {
            volume: volume.name,
            mode: volume.mode,
            group: volume.group,
        };
        self.link.ask(&prepare).await?;
        Ok(())
    }

    async fn write_files(&self, volume: &str, files: Vec<VolumeFile>) -> anyhow::Result<()> {
        let files = files.into_iter().map(|file| WireFile {
            path: file.path,
            mode: file.mode,
            group: file.group,
            content: file.content.0,
        });
        let write = pause::Request::Write {
            volume: volume.to_owned(),
            files: files.collect(),
        };
        self.link.ask(&write).await?;
        Ok(())
    }

    async fn volume_usage(&self, volume: &str) -> anyhow::Result<u64> {
        let usage = pause::Request::Usage {
            volume: volume.to_owned(),
        };
        match self.link.ask(&usage).await? {
            Answer::Usage(bytes) => Ok(bytes),
            other => bail!("the pause container answered {other:?} to a question for bytes"),
        }
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Process, StartError> {
        let mounts = self.mounts(&spec.mounts).await;
        let mounts = mounts.map_err(|error| failed("mount the volumes", &error))?;
        let mut security = Vec::new();
        if !spec.allow_privilege_escalation {
            security.push("no-new-privileges".to_owned());
        }
        if !spec.seccomp {
            security.push("seccomp=unconfined".to_owned());
        }
        let host = HostConfig {
            mounts: Some(mounts),
            group_add: Some(spec.groups.iter().map(ToString::to_string).collect()),
            readonly_rootfs: Some(spec.read_only_root),
            security_opt: Some(security),
            memory: spec.memory_limit.map(|bytes| bytes as i64),
            // As on a node: what does not fit into memory is not swapped out either.
            memory_swap: spec.memory_limit.map(|bytes| bytes as i64),
            nano_cpus: spec.cpu_limit.map(|milli| milli as i64 * 1_000_000),
            ..host_config(&spec.capabilities)
        };
        // ANCHOR: join
        let of_pause = format!("container:{}", self.pause_id);
        let host = HostConfig {
            network_mode: Some(of_pause.clone()),
            ipc_mode: Some(of_pause.clone()),
            pid_mode: self.settings.share_process_namespace.then_some(of_pause),
            ..host
        };
        // ANCHOR_END: join
        let (program, arguments) = spec.command.split_first().ok_or_else(|| StartError {
            step: "run the container".to_owned(),
            error: "there is no program to run".to_owned(),
        })?;
        let env = spec.env.iter();
        let env = env.map(|(name, value)| format!("{name}={value}"));
        // The names of Services are in the hosts file, of which glibc takes the first address of a
        // name and no other, unless it is told to take all, as it does of what DNS says.
        let all_addresses = (!self.owner.is_alone).then(|| ALL_ADDRESSES.to_owned());
        let body = ContainerCreateBody {
            image: Some(digest(&spec.image, self.containerd).to_owned()),
            entrypoint: Some(vec![program.clone()]),
            cmd: Some(arguments.to_vec()),
            env: Some(all_addresses.into_iter().chain(env).collect()),
            user: Some(format!("{}:{}", spec.uid, spec.gid)),
            working_dir: Some(spec.working_dir.to_string_lossy().into_owned()),
            labels: Some(self.owner.labels()),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let refused = |error: DockerError| StartError {
            step: format!("run {program}"),
            error: words(error),
        };
        let name = CreateContainerOptions {
            name: Some(self.owner.name(&spec.id)),
            ..CreateContainerOptions::default()
        };
        let created = self.docker.create_container(Some(name), body).await;
        let id = created.map_err(refused)?.id;
        // Before the start, which testcontainers would not let us: no word is lost, and none goes
        // through a log driver, of which each changes something.
        let attach = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let begin = async {
            let attached = self.docker.attach_container(&id, Some(attach)).await?;
            self.docker
                .start_container(&id, None::<StartContainerOptions>)
                .await?;
            Ok(attached.output)
        };
        let said: Said = match begin.await {
            Ok(said) => said,
            Err(error) => {
                // The first error is the one to tell.
                let _ = remains::remove_container(&self.docker, &id).await;
                return Err(refused(error));
            }
        };
        let limit = spec.memory_limit.map(|_| self.killed.clone());
        lock(&self.processes).insert(spec.id.clone(), Reference::Container(id.clone()));
        let (output, printed) = tokio::io::duplex(BUFFER);
        let (exited, exit) = oneshot::channel();
        lock(&self.keepers).spawn(keep(self.docker.clone(), id, limit, said, printed, exited));
        Ok(Process {
            id: spec.id,
            output: Box::pin(output),
            exit,
        })
    }

    async fn signal(&self, process: &str, signal: i32) -> anyhow::Result<()> {
        match self.reference(process)? {
            Reference::Container(id) => {
                if signal == SIGKILL {
                    lock(&self.killed).insert(id.clone());
                }
                let options = KillContainerOptions {
                    signal: signal.to_string(),
                };
                self.docker
                    .kill_container(&id, Some(options))
                    .await
                    .map_err(|error| anyhow::anyhow!("cannot signal {process}: {}", words(error)))
            }
            // The kubelet sends no other.
            Reference::Exec(exec) => self.kill_exec(&exec).await,
        }
    }

    async fn exec(&self, container: &str, command: &[String]) -> Result<Process, StartError> {
        let step = || format!("run {} in {container}", command.join(" "));
        let refused = |error: DockerError| StartError {
            step: step(),
            error: words(error),
        };
        let Ok(Reference::Container(id)) = self.reference(container) else {
            return Err(StartError {
                step: step(),
                error: "it does not run".to_owned(),
            });
        };
        let program = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self
            .docker
            .create_exec(&id, program)
            .await
            .map_err(refused)?
            .id;
        let attached = self
            .docker
            .start_exec(&exec, None::<StartExecOptions>)
            .await
            .map_err(refused)?;
        let StartExecResults::Attached { output: said, .. } = attached else {
            return Err(StartError {
                step: step(),
                error: "Docker did not attach to it".to_owned(),
            });
        };
        let name = format!(
            "{container}.exec{}",
            self.execs.fetch_add(1, Ordering::Relaxed)
        );
        lock(&self.processes).insert(name.clone(), Reference::Exec(exec.clone()));
        let (output, printed) = tokio::io::duplex(BUFFER);
        let (exited, exit) = oneshot::channel();
        let (docker, processes, known) =
            (self.docker.clone(), self.processes.clone(), name.clone());
        lock(&self.keepers).spawn(async move {
            pass_on(said, printed).await;
            if let Ok(code) = exec_code(&docker, &exec).await {
                let _ = exited.send(ExitStatus {
                    code,
                    out_of_memory: false,
                });
            }
            lock(&processes).remove(&known);
        });
        Ok(Process {
            id: name,
            output: Box::pin(output),
            exit,
        })
    }

    async fn connect(&self, address: IpAddr, port: u16) -> io::Result<Connection> {
        self.link.connect(SocketAddr::new(address, port)).await
    }

    async fn publish(&self, names: &[(IpAddr, Vec<String>)]) -> anyhow::Result<()> {
        let hosts = self.settings.hosts_file_with(self.ip, names);
        let hosts = self.link.ask(&pause::Request::Hosts(hosts)).await;
        hosts.context("cannot write /etc/hosts")?;
        Ok(())
    }

    async fn lost(&self) -> String {
        self.link.over().await;
        if self.ended.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        match self.docker.ping().await {
            Ok(_) => "the pause container of the pod has ended, and not by the harness: was it \
                      removed, or does Docker shut down?"
                .to_owned(),
            Err(error) => format!(
                "the Docker daemon no longer answers: {}; start it again",
                words(error)
            ),
        }
    }

    fn kill(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.link.hang_up();
        let Some(pause) = lock(&self.pause).take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let (docker, owner) = (self.docker.clone(), self.owner.clone());
                // If this does not come to its end, the next run does it.
                runtime.spawn(async move {
                    let _ = pause.rm().await;
                    let _ = remains::remove_pod(&docker, &owner).await;
                });
            }
            // It has hung up, so the container ends by itself; to drop it takes a runtime.
            Err(_) => std::mem::forget(pause),
        }
    }

    async fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let containers: Vec<_> = lock(&self.processes)
            .values()
            .filter_map(|reference| match reference {
                Reference::Container(id) => Some(id.clone()),
                Reference::Exec(_) => None,
            })
            .collect();
        // One that cannot be killed has ended.
        let kill = |id: String| async move {
            let _ = self
                .docker
                .kill_container(&id, None::<KillContainerOptions>)
                .await;
        };
        join_all(containers.into_iter().map(kill)).await;
        let mut keepers = std::mem::take(&mut *lock(&self.keepers));
        while keepers.join_next().await.is_some() {}
        // Last of the containers: while it is there, nobody takes the run for one that was killed.
        let pause = lock(&self.pause).take();
        if let Some(pause) = pause {
            let _ = pause.rm().await;
        }
        self.link.hang_up();
        // Volumes, and containers that did not start. What cannot be removed, the next run removes.
        let _ = remains::remove_pod(&self.docker, &self.owner).await;
    }
}

/// The exit code of a program that was run in a container, and has closed its output.
async fn exec_code(docker: &Docker, exec: &str) -> Result<i32, DockerError> {
    // Docker has no call that waits for it.
    let mut pause = Duration::from_millis(1);
    loop {
        let found = docker.inspect_exec(exec).await?;
        if found.running != Some(true)
            && let Some(code) = found.exit_code
        {
            return Ok(code as i32);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
