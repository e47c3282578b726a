//! Pods on an engine that has no Kubernetes of its own: a kubelet of this harness for each, over the
//! engine's runtime.

mod endpoints;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Applied, Event, PodChange, Pods, Target, What};
use crate::image::Image;
use crate::kubelet::Kubelet;
use crate::kubelet::runtime::{Connection, Runtime};
use crate::manifest::Manifest;
use crate::manifest::pod::{ConfigMap, Metadata, Pod, Secret};
use endpoints::Endpoints;

/// As many events wait as this; then the containers wait, as they do for a slow log on a node.
const EVENTS: usize = 1024;

/// Where an engine makes the pods of a run.
#[async_trait]
pub(super) trait Node: Send + Sync + 'static {
    /// Makes the surroundings of a pod.
    async fn make(&self, pod: &Pod) -> anyhow::Result<Arc<dyn Runtime>>;

    /// Removes what the pods had in common, once they have ended.
    async fn end(&self) {}

    /// Has that removed, and does not wait for it.
    fn kill(&self) {}
}

/// The pods of a run.
pub(super) struct LocalPods {
    node: Arc<dyn Node>,
    images: Vec<Image>,
    begin: Instant,
    events: mpsc::Sender<Event>,
    pods: Mutex<Vec<Arc<LocalPod>>>,
    objects: Mutex<Objects>,
    endpoints: Arc<Endpoints>,
}

/// What pods refer to.
#[derive(Clone, Default)]
struct Objects {
    config_maps: Vec<ConfigMap>,
    secrets: Vec<Secret>,
}

/// A pod, and the surroundings that were made for it.
struct Made {
    pod: Pod,
    runtime: Arc<dyn Runtime>,
}

/// A pod, and the kubelet that runs it.
struct LocalPod {
    /// What it is recorded under.
    name: String,
    runtime: Arc<dyn Runtime>,
    kubelet: Kubelet,
}

impl LocalPods {
    /// Has a kubelet run each pod of a manifest on `node`, once the images are there.
    pub(super) async fn start(
        node: Arc<dyn Node>,
        manifest: &Manifest,
        images: &[Image],
        load: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Applied> {
        let (sender, events) = mpsc::channel(EVENTS);
        let pods = Self {
            node,
            images: images.to_vec(),
            begin: Instant::now(),
            events: sender,
            pods: Mutex::default(),
            objects: Mutex::default(),
            endpoints: Arc::default(),
        };
        // The pods' surroundings are made while their images are looked for.
        let (made, loaded) = tokio::join!(pods.make(manifest), load);
        let made = match (made, loaded) {
            (Ok(made), Ok(())) => made,
            (Ok(made), Err(error)) => {
                end_all(made).await;
                pods.node.end().await;
                return Err(error);
            }
            (Err(error), _) => {
                pods.node.end().await;
                return Err(error);
            }
        };
        pods.run(manifest, made).await?;
        let pods = Box::new(pods);
        Ok(Applied { pods, events })
    }

    /// Makes the surroundings of a manifest's pods.
    async fn make(&self, manifest: &Manifest) -> anyhow::Result<Vec<Made>> {
        let mut at_work = JoinSet::new();
        for (place, pod) in manifest.pods.iter().map(Pod::made).enumerate() {
            let node = self.node.clone();
            at_work.spawn(async move {
                let runtime = node.make(&pod).await;
                (place, runtime.map(|runtime| Made { pod, runtime }))
            });
        }
        let (mut made, mut failure) = (Vec::new(), None);
        for (place, one) in at_work.join_all().await {
            match one {
                Ok(one) => made.push((place, one)),
                Err(error) => failure = Some(error),
            }
        }
        made.sort_by_key(|(place, _)| *place);
        let made = made.into_iter().map(|(_, one)| one).collect();
        match failure {
            None => Ok(made),
            Some(error) => {
                end_all(made).await;
                Err(error)
            }
        }
    }

    /// Has kubelets run the pods of a manifest, in the surroundings that were made for them.
    async fn run(&self, manifest: &Manifest, made: Vec<Made>) -> anyhow::Result<()> {
        let objects = {
            let mut objects = lock(&self.objects);
            objects.config_maps.extend(manifest.config_maps.clone());
            objects.secrets.extend(manifest.secrets.clone());
            objects.clone()
        };
        let members = made.iter().map(|Made { pod, runtime }| {
            let name = pod.recorded_name().to_owned();
            let metadata = Metadata {
                name,
                ..pod.metadata.clone()
            };
            (metadata, runtime.clone())
        });
        self.endpoints.add(&manifest.services, members).await;
        for Made { pod, runtime } in made {
            let (sender, events) = mpsc::channel(1);
            let before = self.begin.elapsed();
            let kubelet = Kubelet::start(
                runtime.clone(),
                &pod,
                &objects.config_maps,
                &objects.secrets,
                &self.images,
                sender,
            )?;
            let passer = PassOn {
                events: self.events.clone(),
                before,
                endpoints: self.endpoints.clone(),
                runtime: runtime.clone(),
            };
            tokio::spawn(passer.run(events));
            lock(&self.pods).push(Arc::new(LocalPod {
                name: pod.recorded_name().to_owned(),
                runtime,
                kubelet,
            }));
        }
        Ok(())
    }

    fn all(&self) -> Vec<Arc<LocalPod>> {
        lock(&self.pods).clone()
    }

    fn pod(&self, name: &str) -> anyhow::Result<Arc<LocalPod>> {
        let pods = lock(&self.pods);
        let found = pods.iter().find(|pod| pod.name == name);
        found
            .cloned()
            .with_context(|| format!("there is no pod {name}"))
    }
}

impl Drop for LocalPods {
    fn drop(&mut self) {
        // Others may hold a pod for a moment longer, but nobody ends it in order any more.
        for pod in self.all() {
            pod.runtime.kill();
        }
        self.node.kill();
    }
}

async fn end_all(made: Vec<Made>) {
    for one in made {
        one.runtime.end().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds a lock of this module can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings the events of one pod to whoever records the run.
struct PassOn {
    events: mpsc::Sender<Event>,
    /// How long the run had lasted when the pod began.
    before: Duration,
    endpoints: Arc<Endpoints>,
    runtime: Arc<dyn Runtime>,
}

impl PassOn {
    async fn run(self, mut events: mpsc::Receiver<Event>) {
        while let Some(mut event) = events.recv().await {
            event.at += self.before;
            let mut is_over = false;
            if let What::Pod(change) = &event.what {
                // Whoever hears of it can rely on the names.
                self.endpoints.note(&event.pod, change).await;
                is_over = matches!(change, PodChange::Succeeded | PodChange::Failed { .. });
            }
            if self.events.send(event).await.is_err() {
                // Nobody listens any more: the run is over.
                return;
            }
            // With its processes a pod's address goes, which others may still try to reach.
            if is_over && self.endpoints.has_others() {
                self.runtime.end().await;
            }
        }
    }
}

#[async_trait]
impl Pods for LocalPods {
    async fn connect(&self, pod: &str, port: u16) -> io::Result<Connection> {
        let pod = self.pod(pod).map_err(io::Error::other)?;
        let connect = |ip: IpAddr| pod.runtime.connect(ip, port);
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
        let pod = self.pod(target.pod)?;
        let mut process = pod.kubelet.exec(target.container, command).await?;
        let mut said = Vec::new();
        process.output.read_to_end(&mut said).await?;
        let status = process.exit.await.context("the pod ended")?;
        Ok((status.code, said))
    }

    async fn signal(&self, target: Target<'_>, signal: i32) -> anyhow::Result<()> {
        let pod = self.pod(target.pod)?;
        pod.kubelet.signal(target.container, signal).await
    }

    async fn replace_image(&self, target: Target<'_>, image: &str) -> anyhow::Result<()> {
        let pod = self.pod(target.pod)?;
        pod.kubelet.replace_image(target.container, image)
    }

    async fn update(&self, map: &ConfigMap) -> anyhow::Result<()> {
        {
            let mut objects = lock(&self.objects);
            let maps = &mut objects.config_maps;
            maps.retain(|old| old.metadata.name != map.metadata.name);
            maps.push(map.clone());
        }
        for pod in self.all() {
            pod.kubelet.update_config_map(map).await?;
        }
        Ok(())
    }

    async fn apply(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let made = self.make(manifest).await?;
        self.run(manifest, made).await
    }

    async fn delete(&self, pod: &str) -> anyhow::Result<()> {
        let pod = self.pod(pod)?;
        pod.kubelet.stop().await;
        pod.runtime.end().await;
        Ok(())
    }

    async fn kill(&self, pod: &str) -> anyhow::Result<()> {
        self.pod(pod)?.kubelet.kill().await
    }

    async fn stop(&self) {
        let mut stops = JoinSet::new();
        for pod in self.all() {
            stops.spawn(async move {
                tokio::select! {
                    biased;
                    _ = pod.runtime.lost() => {}
                    () = pod.kubelet.stop() => {}
                }
                pod.runtime.end().await;
            });
        }
        while stops.join_next().await.is_some() {}
        self.node.end().await;
    }

    async fn discard(&self) {
        let mut ends = JoinSet::new();
        for pod in self.all() {
            ends.spawn(async move {
                pod.kubelet.leave();
                pod.runtime.end().await;
            });
        }
        while ends.join_next().await.is_some() {}
        self.node.end().await;
    }

    fn missing(&self) -> Vec<String> {
        self.endpoints.missing()
    }

    async fn lost(&self) -> String {
        let pods = self.all();
        let mut watches = Vec::from_iter(pods.iter().map(|pod| pod.runtime.lost()));
        std::future::poll_fn(|context| {
            for watch in &mut watches {
                if let Poll::Ready(why) = watch.as_mut().poll(context) {
                    return Poll::Ready(why);
                }
            }
            Poll::Pending
        })
        .await
    }
}
