//! The `sandbox` engine: the kubelet of this harness, over pods made of Linux namespaces.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;

use super::local::{LocalPods, Node};
use super::{Applied, Engine, EngineKind, NotHere};
use crate::image::Image;
use crate::kubelet;
use crate::kubelet::runtime::Runtime;
use crate::manifest::pod::{Container, Pod, Volume};
use crate::manifest::{Manifest, PodSecurity};
use crate::sandbox::{self, Cgroups, Forbidden, Ids};

/// How to have limits enforced.
const DELEGATE: &str = "To have them, a cgroup (version 2) must be delegated: as a user of a machine with systemd, begin \
                        the command with `systemd-run --user --scope -p Delegate=yes`";

/// The engine that needs nothing but Linux.
#[derive(Clone, Debug)]
pub struct Sandbox {
    program: PathBuf,
    found: sandbox::Findings,
}

impl Sandbox {
    /// Finds out whether this machine lets this user make pods, by making one. `program` is run
    /// as the supervisor of every pod; see [`sandbox::supervise_if_asked`].
    ///
    /// # Errors
    ///
    /// Says what forbids it, and what would help.
    pub async fn new(program: PathBuf) -> Result<Self, Forbidden> {
        let found = sandbox::probe(&program).await?;
        Ok(Self { program, found })
    }

    /// How pods get their user and group ids here.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.found.ids
    }
}

#[async_trait]
impl Node for Sandbox {
    async fn make(&self, pod: &Pod) -> anyhow::Result<Arc<dyn Runtime>> {
        let cgroups = self.found.cgroups.as_ref();
        let settings = kubelet::settings(pod)?;
        let runtime = sandbox::Pod::start(&self.program, &settings, cgroups).await?;
        Ok(Arc::new(runtime))
    }
}

#[async_trait]
impl Engine for Sandbox {
    fn kind(&self) -> EngineKind {
        EngineKind::Sandbox
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match &self.found.cgroups {
            None => notes.push(format!(
                "limits of memory and CPU are not enforced; what a cluster would kill, runs on. {DELEGATE}"
            )),
            Some(cgroups) => {
                notes.push(
                    "limits of memory are enforced; what a container writes to an emptyDir counts, as \
                     all of them live in memory here"
                        .to_owned(),
                );
                if !cgroups.limits("cpu") {
                    notes.push(format!("limits of CPU are not enforced. {DELEGATE}"));
                }
            }
        }
        if self.found.ids.is_single() {
            notes.push(
                "one user id stands for all: permissions between users are not enforced".to_owned(),
            );
        }
        if !self.found.own_proc {
            notes.push(
                "the kernel refuses a /proc of its own here; containers see this machine's processes by name"
                    .to_owned(),
            );
        }
        notes
    }

    fn enforces_memory_limits(&self) -> bool {
        self.found.cgroups.is_some()
    }

    /// The sandbox reads images where they were made.
    async fn load(&self, _images: &[Image]) -> anyhow::Result<()> {
        Ok(())
    }

    async fn apply(
        &self,
        manifest: &Manifest,
        level: PodSecurity,
        images: &[Image],
    ) -> anyhow::Result<Applied> {
        manifest.check(EngineKind::Sandbox, level)?;
        let pod = manifest.pods.first().context("the manifest has no Pod")?;
        let refused = match self.found.ids.is_single() {
            true => refuse_ownership(pod, images),
            false => refuse_ids(pod),
        };
        refused.context(NotHere(EngineKind::Sandbox))?;
        // It reads images where they were made.
        let load = std::future::ready(Ok(()));
        LocalPods::start(Arc::new(self.clone()), manifest, images, load).await
    }

    /// A pod's processes and mounts end with the harness, however that ends; empty cgroups stay.
    async fn sweep(&self) -> anyhow::Result<Vec<String>> {
        let swept = self.found.cgroups.as_ref().map(Cgroups::sweep);
        swept
            .unwrap_or_else(|| Ok(Vec::new()))
            .context("cannot remove a cgroup")
    }
}

/// An id that the pod's user namespace does not have can own no file in it.
fn refuse_ids(pod: &Pod) -> anyhow::Result<()> {
    let of_pod = &pod.spec.security_context;
    let mut ids = vec![
        (
            "spec.securityContext.runAsUser".to_owned(),
            of_pod.run_as_user,
        ),
        (
            "spec.securityContext.runAsGroup".to_owned(),
            of_pod.run_as_group,
        ),
        ("spec.securityContext.fsGroup".to_owned(), of_pod.fs_group),
    ];
    for group in &of_pod.supplemental_groups {
        let field = "spec.securityContext.supplementalGroups";
        ids.push((field.to_owned(), Some(*group)));
    }
    for (_, container) in pod.spec.all_containers() {
        let (of, context) = (&container.name, &container.security_context);
        ids.push((format!("runAsUser of {of}"), context.run_as_user));
        ids.push((format!("runAsGroup of {of}"), context.run_as_group));
    }
    for (field, id) in ids {
        if let Some(id) = id.filter(|id| *id >= sandbox::COUNT) {
            anyhow::bail!(
                "{field}: {id}: the sandbox has the ids from 0 to {}",
                sandbox::COUNT - 1
            );
        }
    }
    Ok(())
}

/// A pod that depends on who owns a file cannot be shown with a single id: to the kernel, all its
/// users are one.
fn refuse_ownership(pod: &Pod, images: &[Image]) -> anyhow::Result<()> {
    let spec = &pod.spec;
    let way_out = "this machine gives the sandbox a single user id, so all users of the pod would be the same to the \
                   kernel. Way out: `sudo apt install uidmap` and `sudo usermod --add-subuids 100000-165535 \
                   --add-subgids 100000-165535 $USER`, or run as root";
    if let Some(group) = spec.security_context.fs_group {
        anyhow::bail!("spec.securityContext.fsGroup: {group}: {way_out}");
    }
    if !spec.security_context.supplemental_groups.is_empty() {
        anyhow::bail!("spec.securityContext.supplementalGroups: {way_out}");
    }
    let user = |container: &Container| {
        let context = &container.security_context;
        let of_manifest = context.run_as_user.or(spec.security_context.run_as_user);
        of_manifest.or_else(|| {
            let image = images.iter().find(|image| image.name == container.image)?;
            image.config.user.split(':').next()?.parse().ok()
        })
    };
    for volume in &spec.volumes {
        let mut users = spec
            .all_containers()
            .map(|(_, container)| container)
            .filter(|container| {
                let mut mounts = container.volume_mounts.iter();
                mounts.any(|mount| mount.name == volume.name)
            })
            .filter_map(|container| Some((user(container)?, &container.name)));
        if volume.empty_dir.is_none() {
            // Its files are root's.
            let other = users.find(|(user, _)| *user != 0);
            if let Some((user, name)) = other.filter(|_| is_private(volume)) {
                anyhow::bail!(
                    "volume {} has files that only root may read, and {name} runs as user {user}: {way_out}",
                    volume.name
                );
            }
        } else if let Some((first, one)) = users.next()
            && let Some((_, other)) = users.find(|(user, _)| *user != first)
        {
            anyhow::bail!(
                "volume {} is shared by {one} and {other}, which run as different users: {way_out}",
                volume.name
            );
        }
    }
    Ok(())
}

/// Whether a volume that is made from an object has files that not everyone may read.
fn is_private(volume: &Volume) -> bool {
    let (items, default_mode) = match (&volume.config_map, &volume.secret) {
        (Some(source), _) => (&source.items, source.default_mode),
        (None, Some(source)) => (&source.items, source.default_mode),
        (None, None) => return false,
    };
    let private = |mode: Option<u32>| mode.is_some_and(|mode| mode & 0o004 == 0);
    if items.is_empty() {
        private(default_mode)
    } else {
        items.iter().any(|item| private(item.mode.or(default_mode)))
    }
}
