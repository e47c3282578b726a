//! The workbook's own cluster: brought up, found again, proved its own, and taken down.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, Config};
use serde_json::json;

use super::images;
use super::tool;
use crate::engine::state::{self, kubeconfig};
use crate::image::Image;

/// What kind calls the cluster.
pub const NAME: &str = "sidecar-workbook";

/// The label that every object of the workbook carries.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The ConfigMap in `kube-system` that proves a cluster the workbook's own.
const MARKER: &str = "sidecar-workbook";
/// The least version of kind: its default node image is Kubernetes 1.37.
const KIND: (u32, u32) = (0, 33);
/// The one command that mends a missing or old kind.
pub(super) const INSTALL: &str = "`go install sigs.k8s.io/kind@v0.33.0` installs it";
/// How long a cluster that was just made or started may take until its node is ready.
const READY: Duration = Duration::from_secs(120);

/// What is told about a long step, a line each.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// The state of the workbook's cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none.
    Absent,
    /// It is up.
    Up {
        /// The version of Kubernetes, as `v1.37.2`.
        version: String,
        /// Its nodes.
        nodes: Vec<String>,
        /// The harness's own kubeconfig for it.
        kubeconfig: PathBuf,
    },
    /// It exists, and does not answer.
    Down {
        /// What went wrong when it was asked.
        why: String,
    },
    /// A cluster of that name that the workbook did not make.
    NotOurs,
}

/// A connection to the workbook's cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    /// The node's name, which is the name of its container too.
    pub(super) node: String,
}

/// Brings the cluster up, if it is not. `node_image` names another node image than kind's own.
///
/// # Errors
///
/// If kind is missing or too old, if the cluster cannot be made, or if there is a cluster of that
/// name that is not the workbook's.
pub async fn up(node_image: Option<&str>, progress: Progress<'_>) -> anyhow::Result<()> {
    bring_up(node_image, progress).await.map(|_| ())
}

pub(super) async fn bring_up(
    node_image: Option<&str>,
    progress: Progress<'_>,
) -> anyhow::Result<Cluster> {
    if let Some(cluster) = connect().await? {
        return Ok(cluster);
    }
    check_kind().await?;
    // Two that come at once would make it twice: the second waits, and finds it made.
    let _lock = lock(progress).await?;
    discard_unfinished(progress).await?;
    if exists().await? {
        return match connect_anew().await? {
            Found::Ours(cluster) => Ok(cluster),
            Found::NotOurs => Err(not_ours()),
            Found::Silent(_) => revive(progress).await,
        };
    }
    create(node_image, progress).await
}

/// Takes the cluster down, and all that the harness knows of it. Returns whether there was one.
///
/// # Errors
///
/// If it is not the workbook's, or kind cannot remove it.
pub async fn down(progress: Progress<'_>) -> anyhow::Result<bool> {
    check_kind().await?;
    let _lock = lock(progress).await?;
    let unfinished = discard_unfinished(progress).await?;
    if !exists().await? {
        forget()?;
        return Ok(unfinished);
    }
    match connect_anew().await? {
        Found::Ours(_) => {}
        Found::NotOurs => return Err(not_ours()),
        Found::Silent(_) => {
            // Only the cluster itself can prove whose it is.
            revive(progress).await?;
        }
    }
    delete(progress).await?;
    Ok(true)
}

/// The state of the cluster.
///
/// # Errors
///
/// If kind fails, or the state of the harness cannot be read.
pub async fn status() -> anyhow::Result<Status> {
    let found = if kubeconfig()?.is_file() {
        ask().await?
    } else {
        Found::Silent("there is no kubeconfig".to_owned())
    };
    let found = match found {
        Found::Silent(_) => match check_kind().await {
            // Without kind, nobody has made one that could be found.
            Err(_) => return Ok(Status::Absent),
            Ok(()) if !exists().await? => return Ok(Status::Absent),
            Ok(()) => connect_anew().await?,
        },
        found => found,
    };
    Ok(match found {
        Found::NotOurs => Status::NotOurs,
        Found::Silent(why) => Status::Down { why },
        Found::Ours(cluster) => {
            let version = cluster.client.apiserver_version().await?.git_version;
            let nodes = Api::<Node>::all(cluster.client)
                .list(&ListParams::default())
                .await?;
            Status::Up {
                version,
                nodes: nodes
                    .into_iter()
                    .filter_map(|node| node.metadata.name)
                    .collect(),
                kubeconfig: kubeconfig()?,
            }
        }
    })
}

/// The environment in which `kubectl` speaks to the cluster: variables and their values.
///
/// # Errors
///
/// If the cluster is not up.
pub async fn env() -> anyhow::Result<Vec<(&'static str, String)>> {
    connect().await?.with_context(is_absent)?;
    Ok(vec![("KUBECONFIG", kubeconfig()?.display().to_string())])
}

/// Gets images into the cluster, and returns the names of those that it did not have.
///
/// # Errors
///
/// If the cluster is not up, or does not take them.
pub async fn load(images: &[Image]) -> anyhow::Result<Vec<String>> {
    let cluster = connect().await?.with_context(is_absent)?;
    let held = images::held(&cluster.node).await?;
    let lacking = images::lacking(&held, images);
    images::load(&cluster.node, held, &lacking).await?;
    Ok(lacking.into_iter().map(|image| image.name).collect())
}

fn is_absent() -> String {
    format!("the cluster {NAME} is not up; `cargo xtask cluster up` brings it up")
}

/// Connects to the cluster, if it is up.
///
/// # Errors
///
/// If a cluster of that name is not the workbook's.
pub(super) async fn connect() -> anyhow::Result<Option<Cluster>> {
    if kubeconfig()?.is_file() {
        // The usual case costs no program to be run.
        match ask().await? {
            Found::Ours(cluster) => return Ok(Some(cluster)),
            Found::NotOurs => return Err(not_ours()),
            Found::Silent(_) => {}
        }
    }
    if unfinished()?.exists() || check_kind().await.is_err() || !exists().await? {
        return Ok(None);
    }
    match connect_anew().await? {
        Found::Ours(cluster) => Ok(Some(cluster)),
        Found::NotOurs => Err(not_ours()),
        Found::Silent(_) => Ok(None),
    }
}

fn not_ours() -> anyhow::Error {
    anyhow::anyhow!(
        "there is a kind cluster named {NAME} that the workbook did not make: it has no ConfigMap {MARKER} in \
         kube-system labelled {MANAGED_BY}={NAME}. It is left alone. If nobody needs it, \
         `kind delete cluster --name {NAME}` removes it"
    )
}

/// What answers where the kubeconfig points.
enum Found {
    Ours(Cluster),
    NotOurs,
    /// Nothing that can be understood.
    Silent(String),
}

/// Asks the cluster that the harness's kubeconfig names for its proof.
async fn ask() -> anyhow::Result<Found> {
    let client = match client().await {
        Ok(client) => client,
        Err(error) => return Ok(Found::Silent(format!("{error:#}"))),
    };
    let markers = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
    let marker = match markers.get_opt(MARKER).await {
        Ok(marker) => marker,
        Err(error) => return Ok(Found::Silent(error.to_string())),
    };
    let label = marker.and_then(|marker| marker.metadata.labels?.remove(MANAGED_BY));
    if label.as_deref() != Some(NAME) {
        return Ok(Found::NotOurs);
    }
    Ok(Found::Ours(Cluster::of(client).await?))
}

/// Makes the kubeconfig again, as kind knows it, and asks.
async fn connect_anew() -> anyhow::Result<Found> {
    let config = match tool::output("kind", &["get", "kubeconfig", "--name", NAME]).await {
        Ok(config) => config,
        // The node's container, which has it, stands still.
        Err(error) => return Ok(Found::Silent(format!("{error:#}"))),
    };
    write_private(&kubeconfig()?, &config)?;
    let found = ask().await?;
    if matches!(found, Found::NotOurs) {
        forget()?;
    }
    Ok(found)
}

async fn client() -> anyhow::Result<Client> {
    let path = kubeconfig()?;
    let kubeconfig =
        Kubeconfig::read_from(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("cannot use {}", path.display()))?;
    // It is on this machine, where no proxy is on the way.
    config.proxy_url = None;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}

impl Cluster {
    async fn of(client: Client) -> anyhow::Result<Self> {
        let nodes = Api::<Node>::all(client.clone());
        let nodes = nodes.list(&ListParams::default()).await;
        let mut nodes = nodes.context("cannot list the nodes")?.into_iter();
        let node = nodes.find_map(|node| node.metadata.name);
        let node = node.with_context(|| format!("the cluster {NAME} has no node"))?;
        Ok(Self { client, node })
    }

    /// Waits until the cluster's node takes pods: kind returns some seconds earlier.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        let events = watch_object(nodes, &self.node).default_backoff();
        let mut events = std::pin::pin!(events);
        let ready = async {
            loop {
                match events.next().await {
                    Some(Ok(Some(node))) if takes_pods(&node) => return,
                    // The watch begins again by itself.
                    _ => {}
                }
            }
        };
        tokio::time::timeout(READY, ready).await.with_context(|| {
            format!(
                "the node of cluster {NAME} is not ready after {READY:?}; `cargo xtask cluster down` and `up` make it \
                 again"
            )
        })
    }
}

fn takes_pods(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten();
    let mut ready = ready.filter(|condition| condition.type_ == "Ready");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready.any(|condition| condition.status == "True")
        && taints.is_none_or(|taints| {
            taints
                .iter()
                .all(|taint| taint.effect == "PreferNoSchedule")
        })
}

async fn create(node_image: Option<&str>, progress: Progress<'_>) -> anyhow::Result<Cluster> {
    let (unfinished, config) = (unfinished()?, kubeconfig()?);
    // Who is killed from here on leaves a cluster without a marker; this file says whose it is.
    fs::write(&unfinished, "").with_context(|| format!("cannot write {}", unfinished.display()))?;
    let path = config.display().to_string();
    let mut arguments = vec!["create", "cluster", "--name", NAME, "--kubeconfig", &path];
    if let Some(image) = node_image {
        arguments.extend(["--image", image]);
    }
    tool::narrate("kind", &arguments, progress).await?;
    let client = client().await?;
    let marker: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": MARKER, "labels": {MANAGED_BY: NAME}},
        "data": {"about": "This cluster was made by the sidecar workbook, which may remove it."},
    }))?;
    Api::<ConfigMap>::namespaced(client.clone(), "kube-system")
        .create(&PostParams::default(), &marker)
        .await
        .context("the new cluster cannot be marked as the workbook's")?;
    fs::remove_file(&unfinished)?;
    Cluster::of(client).await
}

/// Starts the node's container again: after a restart of the machine it stands still.
async fn revive(progress: Progress<'_>) -> anyhow::Result<Cluster> {
    let nodes = tool::output("kind", &["get", "nodes", "--name", NAME]).await?;
    let mut arguments = vec!["start"];
    arguments.extend(nodes.split_whitespace());
    progress("starting the cluster's node again");
    tool::output("docker", &arguments).await?;
    let answers = async {
        loop {
            match connect_anew().await? {
                Found::Ours(cluster) => return Ok(cluster),
                Found::NotOurs => return Err(not_ours()),
                // Nothing tells when an API server will answer.
                Found::Silent(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    };
    tokio::time::timeout(READY, answers)
        .await
        .with_context(|| {
            format!(
                "the cluster {NAME} does not answer {READY:?} after its node was started; \
             `kind delete cluster --name {NAME}` removes it"
            )
        })?
}

/// Removes a cluster that was being made when its maker was killed.
async fn discard_unfinished(progress: Progress<'_>) -> anyhow::Result<bool> {
    if !unfinished()?.exists() {
        return Ok(false);
    }
    progress("removing a cluster that was never finished");
    delete(progress).await?;
    Ok(true)
}

async fn delete(progress: Progress<'_>) -> anyhow::Result<()> {
    let config = kubeconfig()?.display().to_string();
    let arguments = ["delete", "cluster", "--name", NAME, "--kubeconfig", &config];
    tool::narrate("kind", &arguments, progress).await?;
    forget()
}

/// Removes what the harness keeps of a cluster.
fn forget() -> anyhow::Result<()> {
    for path in [kubeconfig()?, unfinished()?] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn exists() -> anyhow::Result<bool> {
    let clusters = tool::output("kind", &["get", "clusters"]).await?;
    Ok(clusters.lines().any(|line| line.trim() == NAME))
}

/// Whether kind is there, and new enough.
async fn check_kind() -> anyhow::Result<()> {
    let said = tool::output("kind", &["version"]).await?;
    let version = parse_version(&said).with_context(|| {
        format!(
            "`kind version` says `{}`, not a version; {INSTALL}",
            said.trim()
        )
    })?;
    if version < KIND {
        let (major, minor) = version;
        bail!(
            "kind {major}.{minor} is too old: the workbook needs {}.{}; {INSTALL}",
            KIND.0,
            KIND.1
        );
    }
    Ok(())
}

/// The version in `kind v0.33.0 go1.26.8 linux/amd64`.
fn parse_version(said: &str) -> Option<(u32, u32)> {
    let version = said
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v'))?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Takes the lock that bringing up and taking down need.
async fn lock(progress: Progress<'_>) -> anyhow::Result<File> {
    let path = state::folder()?.join("cluster.lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress("waiting for another run that brings the cluster up or down");
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .context("the thread that waits has panicked")?
        .with_context(|| format!("cannot lock {}", path.display()))
}

/// The file that is there while a cluster is made.
fn unfinished() -> anyhow::Result<PathBuf> {
    Ok(state::folder()?.join("cluster-unfinished"))
}

/// Writes a file that holds a key: nobody else may read it, and who reads it meanwhile finds the
/// old one or the new.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = path.with_extension(format!("unfinished-{}", std::process::id()));
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        std::io::Write::write_all(&mut options.open(&unfinished)?, text.as_bytes())?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_kind_is_read() {
        assert_eq!(
            parse_version("kind v0.33.0 go1.26.8 linux/amd64\n"),
            Some((0, 33))
        );
        assert_eq!(parse_version("kind v1.2.0-alpha go1.30"), Some((1, 2)));
        assert_eq!(parse_version("what?"), None);
    }
}
