//! The `docker` engine: the kubelet of this harness, over containers of a Docker daemon.
//!
//! A pod is a pause container, which holds the network, and containers that join it, with Docker
//! volumes between them. Several pods of a run are on a network of its own. What does the work is
//! testcontainers, and the client that it is made of.

mod link;
mod node;
mod pod;
mod remains;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use testcontainers::bollard;
use testcontainers::bollard::query_parameters::{ImportImageOptions, RemoveImageOptions};
use testcontainers::core::client::docker_client_instance;
use tokio::io::AsyncReadExt;

use super::local::LocalPods;
use super::{Applied, Engine, EngineKind};
use crate::image::{Image, PACKAGE_LABEL, Progress};
use crate::manifest::{Manifest, PodSecurity};
use node::Node;

/// The package whose only program is the pause container's.
const PAUSE: &str = "pause";

/// What is said where Docker cannot be reached.
const NO_DAEMON: &str = "no Docker daemon answers; is it running, does DOCKER_HOST name it, and may this user speak to it? \
                         https://docs.docker.com/engine/install/ says how to have one";

/// What is sent of an archive at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The engine that needs a Docker daemon, on whatever machine that runs.
pub struct Docker {
    client: bollard::Docker,
    pause: Image,
    /// The daemon's version, and whether it can limit memory and CPU.
    version: String,
    limits_memory: bool,
    limits_cpu: bool,
    /// Whether it keeps images in containerd, and names them by their manifests.
    containerd: bool,
}

impl Docker {
    /// Finds the daemon, as `DOCKER_HOST` or the usual sockets say, and makes the image of the
    /// pause container.
    ///
    /// # Errors
    ///
    /// If no daemon answers, with what would help; or if the image cannot be made.
    pub async fn new(
        workspace: &Path,
        progress: impl FnMut(Progress<'_>) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let client = docker_client_instance().await.context(NO_DAEMON)?;
        // The daemon may be older than the client.
        let client = client.negotiate_version().await.context(NO_DAEMON)?;
        let info = client
            .info()
            .await
            .context("Docker tells nothing of itself")?;
        if info.os_type.as_deref() != Some("linux") {
            bail!("this Docker daemon runs Windows containers; switch it to Linux containers");
        }
        let folder = workspace.to_owned();
        let build = tokio::task::spawn_blocking(move || {
            let mut progress = progress;
            crate::image::build(&folder, PAUSE, &mut progress)
        });
        let images = build.await.context("the build has panicked")??;
        let pause = images
            .into_iter()
            .next()
            .context("there is no image of the pause container")?;
        let engine = Self {
            client,
            pause,
            version: info.server_version.unwrap_or_default(),
            limits_memory: info.memory_limit == Some(true),
            limits_cpu: info.cpu_cfs_quota == Some(true),
            containerd: info
                .driver_status
                .iter()
                .flatten()
                .flatten()
                .any(|word| word.starts_with("io.containerd.snapshotter")),
        };
        engine.load_one(&engine.pause).await?;
        Ok(engine)
    }

    /// Has the daemon load an image, unless it has it, and removes the one that had its name.
    async fn load_one(&self, image: &Image) -> anyhow::Result<()> {
        let before = self.client.inspect_image(&image.name).await.ok();
        let id = before.as_ref().and_then(|before| before.id.as_deref());
        if id.is_some_and(|id| is_id_of(id, image)) {
            return Ok(());
        }
        let file = tokio::fs::File::from_std(image.open_archive()?);
        let chunks = futures_util::stream::try_unfold(file, async |mut file| {
            let mut chunk = vec![0; CHUNK];
            let length = file.read(&mut chunk).await?;
            chunk.truncate(length);
            std::io::Result::Ok((length > 0).then_some((hyper::body::Bytes::from(chunk), file)))
        });
        let options = ImportImageOptions {
            quiet: true,
            ..ImportImageOptions::default()
        };
        let load = self.client.import_image_stream(options, chunks, None);
        load.try_collect::<Vec<_>>()
            .await
            .with_context(|| format!("Docker does not load {}", image.name))?;
        let after = self
            .client
            .inspect_image(&image.name)
            .await?
            .id
            .unwrap_or_default();
        if !is_id_of(&after, image) {
            bail!(
                "Docker loaded {} as {after}, which is not {}",
                image.name,
                image.id
            );
        }
        // What had the name is of no use without it, unless somebody runs it.
        if let (Some(id), Some(config)) = (
            id,
            before.as_ref().and_then(|before| before.config.as_ref()),
        ) && config
            .labels
            .iter()
            .flatten()
            .any(|(name, _)| name == PACKAGE_LABEL)
        {
            let _ = self
                .client
                .remove_image(id, None::<RemoveImageOptions>, None)
                .await;
        }
        Ok(())
    }
}

/// Whether Docker's id of an image is that of ours: the digest of its configuration, or, where
/// Docker keeps images in containerd, of its manifest.
fn is_id_of(id: &str, image: &Image) -> bool {
    id == image.id || id == image.manifest_digest
}

#[async_trait]
impl Engine for Docker {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (limited, of) in [(self.limits_memory, "memory"), (self.limits_cpu, "CPU")] {
            if !limited {
                notes.push(format!(
                    "this Docker daemon ({}) does not enforce limits of {of}; `docker info` says why",
                    self.version
                ));
            }
        }
        notes
    }

    fn enforces_memory_limits(&self) -> bool {
        self.limits_memory
    }

    async fn load(&self, images: &[Image]) -> anyhow::Result<()> {
        try_join_all(images.iter().map(|image| self.load_one(image))).await?;
        Ok(())
    }

    async fn apply(
        &self,
        manifest: &Manifest,
        level: PodSecurity,
        images: &[Image],
    ) -> anyhow::Result<Applied> {
        manifest.check(EngineKind::Docker, level)?;
        let node = Node::new(&self.client, &self.pause, self.containerd, manifest).await?;
        LocalPods::start(Arc::new(node), manifest, images, self.load(images)).await
    }

    async fn sweep(&self) -> anyhow::Result<Vec<String>> {
        remains::sweep(&self.client).await
    }

    async fn clean(&self) -> anyhow::Result<Vec<String>> {
        let mut removed = remains::sweep(&self.client).await?;
        removed.extend(remains::forget_images(&self.client).await?);
        Ok(removed)
    }
}
