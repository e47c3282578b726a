//! What the rest of the harness knows of engines: one trait, and the events that a run yields.

#[cfg(feature = "docker")]
mod docker;
mod event;
#[cfg(feature = "kind")]
pub mod kind;
#[cfg(any(target_os = "linux", feature = "docker"))]
mod local;
#[cfg(target_os = "linux")]
mod sandbox;
mod state;

use std::fmt;
use std::io;
use std::str::FromStr;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::image::Image;
use crate::kubelet::runtime::Connection;
use crate::manifest::pod::ConfigMap;
use crate::manifest::{Manifest, PodSecurity};

#[cfg(feature = "docker")]
pub use docker::Docker;
pub use event::{Change, Event, PodChange, What};
#[cfg(feature = "kind")]
pub use kind::Kind;
#[cfg(target_os = "linux")]
pub use sandbox::Sandbox;
pub use state::cluster_may_be_up;

/// The engines that a Pod manifest can run on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Linux namespaces that the harness makes itself.
    Sandbox,
    /// A Docker daemon.
    Docker,
    /// A kind cluster.
    Kind,
}

impl EngineKind {
    /// Every engine, from the quickest to the one whose word counts.
    pub const ALL: [Self; 3] = [Self::Sandbox, Self::Docker, Self::Kind];

    /// The name that `--engine` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Docker => "docker",
            Self::Kind => "kind",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or_else(|| {
                format!("there is no engine `{name}`; there are sandbox, docker and kind")
            })
    }
}

/// The label of every container, volume and network that a run makes on Docker; its value is the
/// run's id.
pub const RUN_LABEL: &str = "sidecar-workbook.run";

/// What an error has in its chain if this machine lacks what a scenario needs, and another machine
/// would have run it.
#[derive(Clone, Copy, Debug)]
pub struct NotHere(
    /// The engine.
    pub EngineKind,
);

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot run it on this machine, and `--engine kind` can",
            self.0
        )
    }
}

/// A machine that runs Pod manifests.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> EngineKind;

    /// What a reader should know of this machine's limits before a run, a line each.
    fn notes(&self) -> Vec<String>;

    /// Whether a container that uses more memory than its limit is killed.
    fn enforces_memory_limits(&self) -> bool;

    /// Makes images available. One that the engine already has is not sent again.
    async fn load(&self, images: &[Image]) -> anyhow::Result<()>;

    /// Applies the objects of a manifest, in surroundings of their own that enforce `level`, and
    /// makes its images available meanwhile, as [`Engine::load`] does.
    ///
    /// Fails before anything runs if the engine or the level refuses the manifest.
    async fn apply(
        &self,
        manifest: &Manifest,
        level: PodSecurity,
        images: &[Image],
    ) -> anyhow::Result<Applied>;

    /// Removes what runs that were killed have left, and says what that was, a line each.
    async fn sweep(&self) -> anyhow::Result<Vec<String>>;

    /// Removes that, and also what is kept to make the next run quicker.
    async fn clean(&self) -> anyhow::Result<Vec<String>> {
        self.sweep().await
    }
}

/// The objects of a manifest, while they run.
pub struct Applied {
    /// To act on them.
    pub pods: Box<dyn Pods>,
    /// What happens, until all pods have ended and every line of theirs has been sent.
    pub events: mpsc::Receiver<Event>,
}

/// The pods of a run.
///
/// When it is dropped, what it stands for is ended and removed.
#[async_trait]
pub trait Pods: Send + Sync {
    /// Connects to a TCP port of a pod, on its `localhost`, as `kubectl port-forward` does.
    async fn connect(&self, pod: &str, port: u16) -> io::Result<Connection>;

    /// Runs a program in a container, to its end: its exit code and what it printed.
    async fn exec(&self, target: Target<'_>, command: &[String]) -> anyhow::Result<(i32, Vec<u8>)>;

    /// Sends a signal to the first process of a container.
    async fn signal(&self, target: Target<'_>, signal: i32) -> anyhow::Result<()>;

    /// Gives a container another image; it alone is started again.
    async fn replace_image(&self, target: Target<'_>, image: &str) -> anyhow::Result<()>;

    /// Puts a ConfigMap in the place of the one of that name.
    async fn update(&self, map: &ConfigMap) -> anyhow::Result<()>;

    /// Applies the objects of another manifest beside those that run, as `kubectl apply` does. The
    /// manifest has passed [`Manifest::check_beside`].
    async fn apply(&self, manifest: &Manifest) -> anyhow::Result<()>;

    /// Ends one pod in order and waits for its end, as `kubectl delete pod` does.
    async fn delete(&self, pod: &str) -> anyhow::Result<()>;

    /// Kills the first process of every container of a pod at once, as the loss of a node does. Its
    /// `restartPolicy` is `Never`: nothing of it is started again.
    async fn kill(&self, pod: &str) -> anyhow::Result<()>;

    /// Ends every pod in order, and removes all that was applied.
    async fn stop(&self);

    /// Removes all that was applied at once: no pod ends in order where the engine can spare that.
    async fn discard(&self) {
        self.stop().await;
    }

    /// What the events lack, a line each, once the pods have ended.
    fn missing(&self) -> Vec<String> {
        Vec::new()
    }

    /// Waits until the engine no longer learns what happens to the pods, and says why in one line,
    /// with what would help. Then the machine is at fault, and the run can neither succeed nor fail.
    async fn lost(&self) -> String {
        std::future::pending().await
    }

    /// What else there is for who looks into a run that failed, once the pods have ended.
    fn evidence(&self) -> Vec<Evidence> {
        Vec::new()
    }
}

/// A file that tells of a run what its recording does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The file's name.
    pub name: &'static str,
    /// What is in it.
    pub content: Vec<u8>,
}

/// A container of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The pod's name.
    pub pod: &'a str,
    /// The container's name.
    pub container: &'a str,
}

/// An id for a run: by chance, no other has it.
#[cfg(any(feature = "docker", feature = "kind"))]
fn run_id() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let number = RandomState::new().build_hasher().finish();
    format!("{:010x}", number & 0xff_ffff_ffff)
}
