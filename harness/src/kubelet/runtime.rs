//! What the kubelet asks of the machine below it: Kubernetes calls this the container runtime
//! interface. The kubelet decides what runs when; a runtime starts it.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use crate::byte_string::ByteString;
use crate::image::Image;

/// The isolated surroundings of one pod, in which containers can be started.
///
/// Dropping the last handle ends every process in it.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// The pod's own address.
    fn pod_ip(&self) -> IpAddr;

    /// Makes an empty volume.
    async fn create_volume(&self, volume: VolumeSpec) -> anyhow::Result<()>;

    /// Replaces all files of a volume, so that a reader sees either the old ones or the new.
    async fn write_files(&self, volume: &str, files: Vec<VolumeFile>) -> anyhow::Result<()>;

    /// The bytes that a volume holds.
    async fn volume_usage(&self, volume: &str) -> anyhow::Result<u64>;

    /// Starts a container.
    async fn start(&self, container: ContainerSpec) -> Result<Process, StartError>;

    /// Sends a signal to the first process of a container, or to one that `exec` started.
    async fn signal(&self, process: &str, signal: i32) -> anyhow::Result<()>;

    /// Runs a program in a container that runs, with the container's environment and rights.
    async fn exec(&self, container: &str, command: &[String]) -> Result<Process, StartError>;

    /// Connects to a TCP port in the pod's network, or fails as `connect(2)` does.
    async fn connect(&self, address: IpAddr, port: u16) -> io::Result<Connection>;

    /// Has these names lead to these addresses in the pod, and no others besides its own.
    async fn publish(&self, names: &[(IpAddr, Vec<String>)]) -> anyhow::Result<()> {
        anyhow::ensure!(
            names.is_empty(),
            "this engine runs one pod, and no Services"
        );
        Ok(())
    }

    /// Has every process of the pod end, and does not wait for it.
    fn kill(&self);

    /// Ends every process of the pod, and returns when none is left.
    async fn end(&self);

    /// Waits until nothing is learned of the pod any more, though nobody has ended it, and says why
    /// in one line, with what would help.
    async fn lost(&self) -> String {
        std::future::pending().await
    }
}

/// What a pod's surroundings are made from.
#[derive(Clone, Debug)]
pub struct PodSettings {
    /// The pod's host name.
    pub hostname: String,
    /// Lines for every container's `/etc/hosts`, besides those of the pod itself.
    pub host_aliases: Vec<(IpAddr, Vec<String>)>,
    /// Whether the containers see each other's processes.
    pub share_process_namespace: bool,
    /// The volumes that will be made.
    pub volumes: Vec<VolumeSpec>,
}

impl PodSettings {
    /// What the kubelet writes into `/etc/hosts` of every container of a pod with this address.
    #[must_use]
    pub fn hosts_file(&self, ip: IpAddr) -> String {
        let mut hosts = format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n\
             {ip}\t{}\n",
            self.hostname
        );
        if !self.host_aliases.is_empty() {
            hosts.push_str("\n# Entries added by HostAliases.\n");
        }
        for (ip, names) in &self.host_aliases {
            hosts.push_str(&format!("{ip}\t{}\n", names.join("\t")));
        }
        hosts
    }

    /// The same, with the names of Services, which a pod of a cluster asks its DNS for: its own hosts
    /// file comes first there, and what that knows is not asked for.
    #[must_use]
    pub fn hosts_file_with(&self, ip: IpAddr, services: &[(IpAddr, Vec<String>)]) -> String {
        let mut hosts = self.hosts_file(ip);
        let own = hosts.clone();
        let is_known = |name: &&String| own.split_whitespace().any(|word| word == **name);
        for (ip, names) in services {
            let names = names.iter().filter(|name| !is_known(name));
            let names = Vec::from_iter(names.map(String::as_str)).join("\t");
            if !names.is_empty() {
                hosts.push_str(&format!("{ip}\t{names}\n"));
            }
        }
        hosts
    }
}

/// A two-way stream of bytes to a port in a pod.
pub type Connection = Box<dyn ReadWrite>;

/// What a [`Connection`] can do.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A process that a runtime has started.
pub struct Process {
    /// What [`Runtime::signal`] calls it.
    pub id: String,
    /// What it prints, on both streams. It ends when the last process that could print has ended.
    pub output: Pin<Box<dyn AsyncRead + Send>>,
    /// Resolves to its exit status when it has ended.
    pub exit: oneshot::Receiver<ExitStatus>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The exit code; 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// Whether the kernel killed it because its container used more memory than its limit.
    pub out_of_memory: bool,
}

/// Why a container's process did not start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartError {
    /// What was being done, as in `run /input-sidecar`.
    pub step: String,
    /// What came back, as in `No such file or directory`.
    pub error: String,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {}: {}", self.step, self.error)
    }
}

impl std::error::Error for StartError {}

/// A volume of a pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Its name in the pod.
    pub name: String,
    /// The mode of its root folder.
    pub mode: u32,
    /// The group that owns its root folder, where `fsGroup` says so.
    pub group: Option<u32>,
    /// The bytes after which a write fails with `ENOSPC`, where the volume is in memory.
    pub capacity: u64,
    /// Whether it must be in memory. Any other may be.
    pub in_memory: bool,
}

/// A file of a volume that is made from a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeFile {
    /// Where, relative to the volume's root.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// The group that owns it, where `fsGroup` says so.
    pub group: Option<u32>,
    /// What it holds.
    pub content: ByteString,
}

impl VolumeFile {
    /// The file as it is written.
    #[cfg(target_os = "linux")]
    pub(crate) fn borrow(&self) -> pause::File<'_> {
        pause::File {
            path: &self.path,
            mode: self.mode,
            group: self.group,
            content: &self.content.0,
        }
    }
}

/// Everything a runtime must know to start a container: the manifest's wishes, resolved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// A name that no other container of the pod has, now or before.
    pub id: String,
    /// The image.
    pub image: Image,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// The folder that it starts in.
    pub working_dir: PathBuf,
    /// The user id that it runs as.
    pub uid: u32,
    /// The group id that it runs as.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Capabilities that it may hold, as `CHOWN`. A user other than root starts with none of
    /// them, as on Kubernetes.
    pub capabilities: Vec<String>,
    /// Whether a program can give it more rights than it has (setuid files do).
    pub allow_privilege_escalation: bool,
    /// Whether its root filesystem can be written to.
    pub read_only_root: bool,
    /// Whether system calls are filtered as `RuntimeDefault` says.
    pub seccomp: bool,
    /// Volumes, in the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// The bytes of memory after which the kernel kills it, where limits can be enforced.
    pub memory_limit: Option<u64>,
    /// Thousandths of a processor, where limits can be enforced.
    pub cpu_limit: Option<u64>,
}

/// A volume's place in a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// The folder or file of the volume that is mounted; empty for all of it.
    pub sub_path: PathBuf,
    /// Where the container sees it.
    pub path: PathBuf,
    /// Whether the container can write to it.
    pub read_only: bool,
}
