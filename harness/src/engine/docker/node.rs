//! What the pods of a run have in common: its id, and a network where there are several.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::NetworkCreateRequest;

use super::pod::Pod;
use super::remains::{self, POD, RUN};
use crate::engine::local;
use crate::image::Image;
use crate::kubelet;
use crate::kubelet::runtime::Runtime;
use crate::manifest::{Manifest, pod};

/// Makes the pods of a run.
pub(super) struct Node {
    docker: Docker,
    run: String,
    /// The run's own network. A single pod can do without.
    network: Option<String>,
    /// The pause container's image, and whether Docker names images by their manifests.
    image: Image,
    containerd: bool,
}

impl Node {
    pub(super) async fn new(
        docker: &Docker,
        image: &Image,
        containerd: bool,
        manifest: &Manifest,
    ) -> anyhow::Result<Self> {
        let run = super::super::run_id();
        let mut network = None;
        if manifest.pods.len() > 1 || !manifest.services.is_empty() {
            let name = format!("sidecar-workbook-{run}");
            let create = NetworkCreateRequest {
                name: name.clone(),
                labels: Some(HashMap::from([(RUN.to_owned(), run.clone())])),
                ..NetworkCreateRequest::default()
            };
            docker
                .create_network(create)
                .await
                .context("Docker does not make a network for the pods")?;
            network = Some(name);
        }
        Ok(Self {
            docker: docker.clone(),
            run,
            network,
            image: image.clone(),
            containerd,
        })
    }
}

#[async_trait]
impl local::Node for Node {
    async fn make(&self, pod: &pod::Pod) -> anyhow::Result<Arc<dyn Runtime>> {
        let owner = Owner {
            run: self.run.clone(),
            pod: pod.metadata.name.clone(),
            is_alone: self.network.is_none(),
        };
        let settings = kubelet::settings(pod)?;
        let network = self.network.as_deref();
        let pod = Pod::start(
            &self.docker,
            &self.image,
            self.containerd,
            network,
            &settings,
            &owner,
        );
        Ok(Arc::new(pod.await?))
    }

    async fn end(&self) {
        if self.network.is_none() {
            // The pod has removed all that was its own.
            return;
        }
        // What cannot be removed, the next run removes.
        let _ = remains::remove(&self.docker, &self.run).await;
    }

    fn kill(&self) {
        if self.network.is_none() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (docker, run) = (self.docker.clone(), self.run.clone());
            // If this does not come to its end, the next run does it.
            runtime.spawn(async move { remains::remove(&docker, &run).await });
        }
    }
}

/// Whose a container or a volume is.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) run: String,
    pub(super) pod: String,
    /// Whether the pod is the only one of its run, whose things need not be told from others.
    pub(super) is_alone: bool,
}

impl Owner {
    /// What Docker is to call something of the pod.
    pub(super) fn name(&self, of: &str) -> String {
        let Self { run, pod, .. } = self;
        if self.is_alone {
            format!("sidecar-workbook-{run}-{of}")
        } else {
            format!("sidecar-workbook-{run}-{pod}-{of}")
        }
    }

    /// The labels by which it is found again.
    pub(super) fn labels(&self) -> HashMap<String, String> {
        let labels = [(RUN, &self.run), (POD, &self.pod)];
        let labels = labels.map(|(label, value)| (label.to_owned(), value.clone()));
        labels.into()
    }
}
