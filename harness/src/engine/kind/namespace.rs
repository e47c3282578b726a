//! The namespace of a run: made, found ready, removed, and swept up after a run that was killed.

use std::fs::{self, File, TryLockError};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::cluster::{MANAGED_BY, NAME};
use crate::engine::state;
use crate::manifest::PodSecurity;

/// The label with a run's id.
const RUN: &str = "sidecar-workbook/run";
/// The label with the time after which a namespace may go, in seconds since 1970. A run that was
/// killed on this machine is known to be dead at once; this is for those of another machine.
const EXPIRES: &str = "sidecar-workbook/expires";
/// How long a namespace lives at most if nobody can tell whether its run does.
const LIFE: Duration = Duration::from_secs(60 * 60);
/// How long a new namespace may take until pods can be made in it.
const FURNISHED: Duration = Duration::from_secs(60);

/// A namespace that a run has to itself.
///
/// While it is held, so is the lock of its file: the kernel gives that back even if the run is
/// killed, and so everyone on this machine can tell whether the run lives.
pub(super) struct Lease {
    pub(super) name: String,
    file: PathBuf,
    _lock: File,
}

impl Lease {
    /// Makes a namespace that enforces `level`, and waits until pods can be made in it.
    pub(super) async fn new(client: &Client, level: PodSecurity) -> anyhow::Result<Self> {
        let (run, lease) = Self::take()?;
        let expires = (SystemTime::now() + LIFE)
            .duration_since(UNIX_EPOCH)?
            .as_secs();
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {
                "name": lease.name,
                "labels": {
                    MANAGED_BY: NAME,
                    RUN: run,
                    EXPIRES: expires.to_string(),
                    "pod-security.kubernetes.io/enforce": level.to_string(),
                    "pod-security.kubernetes.io/enforce-version": "latest",
                },
            },
        }))?;
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("cannot make namespace {}", lease.name))?;
        // Admission refuses a pod whose ServiceAccount is not there, and a kubelet that does not
        // find the cluster's certificate puts off the pod for a second.
        let ready = async {
            tokio::try_join!(
                arrival::<ServiceAccount>(client, &lease.name, "default"),
                arrival::<ConfigMap>(client, &lease.name, "kube-root-ca.crt"),
            )
        };
        if !matches!(tokio::time::timeout(FURNISHED, ready).await, Ok(Ok(_))) {
            lease.remove(client).await;
            bail!(
                "namespace {} still has no ServiceAccount `default` after {FURNISHED:?}: the cluster's controllers do \
                 not work; `cargo xtask cluster down` and `up` make it again",
                lease.name
            );
        }
        Ok(lease)
    }

    /// Takes a name that nobody has, and the lock that belongs to it.
    fn take() -> anyhow::Result<(String, Self)> {
        let folder = runs()?;
        for _ in 0..100 {
            let run = super::super::run_id();
            let file = folder.join(&run);
            match File::create_new(&file) {
                Ok(lock) => {
                    lock.lock()
                        .with_context(|| format!("cannot lock {}", file.display()))?;
                    let name = format!("workbook-{run}");
                    return Ok((
                        run,
                        Self {
                            name,
                            file,
                            _lock: lock,
                        },
                    ));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", file.display()));
                }
            }
        }
        bail!("no name for a run is free in {}", folder.display())
    }

    /// Has the cluster remove the namespace, and does not wait for it.
    pub(super) async fn remove(&self, client: &Client) {
        let namespaces = Api::<Namespace>::all(client.clone());
        let how = DeleteParams::default();
        let deleted = super::persist(|| namespaces.delete(&self.name, &how)).await;
        // Otherwise the next run finds it, and that its owner is dead.
        if deleted.is_ok() {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Waits until a namespace has an object that the cluster makes by itself.
async fn arrival<K>(client: &Client, namespace: &str, name: &str) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Send
        + serde::de::DeserializeOwned
        + 'static,
{
    let objects = Api::<K>::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(objects, config).default_backoff().applied_objects();
    let mut events = std::pin::pin!(events);
    loop {
        match events.try_next().await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => bail!("the watch has ended"),
            // It begins again by itself.
            Err(_) => {}
        }
    }
}

/// Removes the namespaces of runs that are dead, and says which those were.
pub(super) async fn sweep(client: &Client) -> anyhow::Result<Vec<String>> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={NAME},{RUN}"));
    let folder = runs()?;
    let mut swept = Vec::new();
    let listed = namespaces
        .list(&ours)
        .await
        .context("cannot list namespaces")?;
    let mut runs = Vec::new();
    for namespace in &listed {
        let Some(run) = namespace.labels().get(RUN) else {
            continue;
        };
        runs.push(run.clone());
        let goes = namespace.metadata.deletion_timestamp.is_some();
        let lives = lives(&folder.join(run)).unwrap_or_else(|| !is_over(namespace));
        if goes || lives {
            continue;
        }
        let name = namespace.name_any();
        namespaces
            .delete(&name, &DeleteParams::default())
            .await
            .with_context(|| format!("cannot remove namespace {name}"))?;
        let _ = fs::remove_file(folder.join(run));
        swept.push(format!("namespace {name} of a run that was killed"));
    }
    // Files of dead runs whose namespaces are gone, with a cluster that was taken down perhaps.
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let run = entry.file_name().to_string_lossy().into_owned();
        if !runs.contains(&run) && lives(&entry.path()) == Some(false) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(swept)
}

/// Whether the run with this file lives; nothing if it has no file here.
fn lives(file: &std::path::Path) -> Option<bool> {
    let file = File::open(file).ok()?;
    Some(matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn is_over(namespace: &Namespace) -> bool {
    let expires = namespace
        .labels()
        .get(EXPIRES)
        .and_then(|expires| expires.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // A label that cannot be read was not written by the workbook.
    matches!((expires, now), (Some(expires), Ok(now)) if now.as_secs() > expires)
}

/// The folder with a file for each run.
fn runs() -> anyhow::Result<PathBuf> {
    let folder = state::folder()?.join("runs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
