//! A pod on an engine that has no Kubernetes of its own: the kubelet of this harness over the
//! engine's runtime.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::{Applied, Pods, Target};
use crate::image::Image;
use crate::kubelet::Kubelet;
use crate::kubelet::runtime::{Connection, Runtime};
use crate::manifest::Manifest;
use crate::manifest::pod::{ConfigMap, Pod};

/// As many events wait as this; then the containers wait, as they do for a slow log on a node.
const EVENTS: usize = 1024;

/// A pod, and the kubelet that runs it.
pub(super) struct LocalPod {
    runtime: Arc<dyn Runtime>,
    kubelet: Kubelet,
}

impl LocalPod {
    /// Has a kubelet run the pod of a manifest on `runtime`.
    pub(super) fn start(
        runtime: Arc<dyn Runtime>,
        pod: &Pod,
        manifest: &Manifest,
        images: &[Image],
    ) -> anyhow::Result<Applied> {
        let (sender, events) = mpsc::channel(EVENTS);
        let kubelet = Kubelet::start(
            runtime.clone(),
            pod,
            &manifest.config_maps,
            &manifest.secrets,
            images,
            sender,
        )?;
        Ok(Applied {
            pods: Box::new(Self { runtime, kubelet }),
            events,
        })
    }
}

impl Drop for LocalPod {
    fn drop(&mut self) {
        // Others may hold the pod for a moment longer, but nobody ends it in order any more.
        self.runtime.kill();
    }
}

#[async_trait]
impl Pods for LocalPod {
    async fn connect(&self, _pod: &str, port: u16) -> io::Result<Connection> {
        let connect = |ip: IpAddr| self.runtime.connect(ip, port);
        let refused = match connect(Ipv4Addr::LOCALHOST.into()).await {
            Ok(connection) => return Ok(connection),
            Err(refused) => refused,
        };
        // Not every pod has this address: what is told is why the other did not answer.
        connect(Ipv6Addr::LOCALHOST.into())
            .await
            .map_err(|_| refused)
    }

    async fn exec(&self, target: Target<'_>, command: &[String]) -> anyhow::Result<(i32, Vec<u8>)> {
        let mut process = self.kubelet.exec(target.container, command).await?;
        let mut said = Vec::new();
        process.output.read_to_end(&mut said).await?;
        let status = process.exit.await.context("the pod ended")?;
        Ok((status.code, said))
    }

    async fn signal(&self, target: Target<'_>, signal: i32) -> anyhow::Result<()> {
        self.kubelet.signal(target.container, signal).await
    }

    async fn replace_image(&self, target: Target<'_>, image: &str) -> anyhow::Result<()> {
        self.kubelet.replace_image(target.container, image)
    }

    async fn update(&self, map: &ConfigMap) -> anyhow::Result<()> {
        self.kubelet.update_config_map(map).await
    }

    async fn stop(&self) {
        tokio::select! {
            biased;
            _ = self.runtime.lost() => {}
            () = self.kubelet.stop() => {}
        }
        self.runtime.end().await;
    }

    async fn lost(&self) -> String {
        self.runtime.lost().await
    }
}
