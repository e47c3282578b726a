//! Which pods each Service leads to, kept in every pod's `/etc/hosts`: a cluster has its EndpointSlices
//! and its DNS for that.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use tokio::sync::Mutex;

use crate::engine::PodChange;
use crate::kubelet::runtime::Runtime;
use crate::manifest::pod::Metadata;
use crate::manifest::service::Service;

/// The Services of a run, and its pods.
#[derive(Default)]
pub(super) struct Endpoints {
    /// Locked while pods are told, so that news does not overtake news.
    state: Mutex<State>,
    pods: AtomicUsize,
    missing: SyncMutex<Vec<String>>,
}

#[derive(Default)]
struct State {
    services: Vec<Service>,
    pods: Vec<Member>,
    /// What the pods were told last.
    told: Names,
}

/// Addresses, each with the names that lead to it.
type Names = Vec<(IpAddr, Vec<String>)>;

struct Member {
    metadata: Metadata,
    runtime: Arc<dyn Runtime>,
    ready: bool,
    /// It was told to end, after which no Service leads to it, whether it is ready or not.
    ends: bool,
    over: bool,
}

impl Endpoints {
    /// Adds Services, and pods that will be started.
    pub(super) async fn add(
        &self,
        services: &[Service],
        pods: impl Iterator<Item = (Metadata, Arc<dyn Runtime>)>,
    ) {
        let mut state = self.state.lock().await;
        state.services.extend_from_slice(services);
        state.pods.extend(pods.map(|(metadata, runtime)| Member {
            metadata,
            runtime,
            ready: false,
            ends: false,
            over: false,
        }));
        self.pods.store(state.pods.len(), Ordering::Relaxed);
        // Newcomers have been told nothing yet.
        state.told.clear();
        self.tell(&mut state).await;
    }

    /// Whether there is more than one pod.
    pub(super) fn has_others(&self) -> bool {
        self.pods.load(Ordering::Relaxed) > 1
    }

    /// Takes note of what happened to a pod, and tells all pods if names change by it.
    pub(super) async fn note(&self, pod: &str, change: &PodChange) {
        let mut state = self.state.lock().await;
        let mut pods = state.pods.iter_mut();
        let Some(member) = pods.find(|member| member.metadata.name == pod) else {
            return;
        };
        match change {
            PodChange::Ready(ready) => member.ready = *ready,
            PodChange::Stopping => member.ends = true,
            PodChange::Succeeded | PodChange::Failed { .. } => member.over = true,
            PodChange::Initialized => {}
        }
        self.tell(&mut state).await;
    }

    /// What the pods could not be told, a line each.
    pub(super) fn missing(&self) -> Vec<String> {
        let missing = self.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn tell(&self, state: &mut State) {
        let names = state.names();
        if names == state.told {
            return;
        }
        for member in state.pods.iter().filter(|member| !member.over) {
            let told = member.runtime.publish(&names).await;
            // Who ends need not know any more.
            if let (Err(error), false) = (told, member.ends) {
                let missing = self.missing.lock();
                let mut missing = missing.unwrap_or_else(PoisonError::into_inner);
                let pod = &member.metadata.name;
                missing.push(format!("the names of Services in pod {pod}: {error:#}"));
            }
        }
        state.told = names;
    }
}

impl State {
    fn names(&self) -> Names {
        let names = self.services.iter().flat_map(|service| {
            let members = self.pods.iter().filter(|member| {
                let is_published =
                    member.ready && !member.ends || service.spec.publish_not_ready_addresses;
                is_published && !member.over && service.selects(&member.metadata)
            });
            members.map(|member| (member.runtime.pod_ip(), service.names().to_vec()))
        });
        names.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use async_trait::async_trait;

    use super::*;
    use crate::kubelet::runtime::{
        Connection, ContainerSpec, Process, StartError, VolumeFile, VolumeSpec,
    };
    use crate::manifest::Manifest;

    /// A pod that remembers the names that it was told.
    struct Told {
        ip: u8,
        names: SyncMutex<Vec<String>>,
        times: AtomicUsize,
    }

    #[async_trait]
    impl Runtime for Told {
        fn pod_ip(&self) -> IpAddr {
            [10, 0, 0, self.ip].into()
        }

        async fn publish(&self, names: &[(IpAddr, Vec<String>)]) -> anyhow::Result<()> {
            let lines = names.iter().map(|(ip, names)| format!("{} {ip}", names[0]));
            *self.names.lock().unwrap_or_else(PoisonError::into_inner) = lines.collect();
            self.times.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        async fn create_volume(&self, _volume: VolumeSpec) -> anyhow::Result<()> {
            unreachable!()
        }

        async fn write_files(&self, _volume: &str, _files: Vec<VolumeFile>) -> anyhow::Result<()> {
            unreachable!()
        }

        async fn volume_usage(&self, _volume: &str) -> anyhow::Result<u64> {
            unreachable!()
        }

        async fn start(&self, _container: ContainerSpec) -> Result<Process, StartError> {
            unreachable!()
        }

        async fn signal(&self, _process: &str, _signal: i32) -> anyhow::Result<()> {
            unreachable!()
        }

        async fn exec(&self, _container: &str, _command: &[String]) -> Result<Process, StartError> {
            unreachable!()
        }

        async fn connect(&self, _address: IpAddr, _port: u16) -> io::Result<Connection> {
            unreachable!()
        }

        fn kill(&self) {}

        async fn end(&self) {}
    }

    const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: ready}
spec: {clusterIP: None, selector: {role: peer}}
---
apiVersion: v1
kind: Service
metadata: {name: all}
spec: {clusterIP: None, selector: {role: peer}, publishNotReadyAddresses: true}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {role: peer}}
spec: {containers: [{name: app, image: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {role: peer}}
spec: {containers: [{name: app, image: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {role: other}}
spec: {containers: [{name: app, image: a}]}
";

    #[tokio::test]
    async fn names_lead_to_pods_that_are_ready_and_stay() {
        let manifest = Manifest::parse("pods.yaml", MANIFEST).expect("a manifest");
        let pods = Vec::from_iter([1, 2, 3].map(|ip| {
            Arc::new(Told {
                ip,
                names: SyncMutex::default(),
                times: AtomicUsize::new(0),
            })
        }));
        let told = || {
            let names = |pod: &Arc<Told>| {
                let names = pod.names.lock();
                names.unwrap_or_else(PoisonError::into_inner).join(", ")
            };
            let each = Vec::from_iter(pods.iter().map(names));
            assert!(each.iter().all(|one| *one == each[2]), "{each:?}");
            each[2].clone()
        };
        let endpoints = Endpoints::default();
        let members = manifest.pods.iter().zip(&pods);
        let members = members.map(|(pod, told)| {
            let runtime: Arc<dyn Runtime> = told.clone();
            (pod.metadata.clone(), runtime)
        });
        endpoints.add(&manifest.services, members).await;
        assert!(endpoints.has_others());
        assert_eq!(told(), "all 10.0.0.1, all 10.0.0.2");
        endpoints.note("two", &PodChange::Ready(true)).await;
        assert_eq!(told(), "ready 10.0.0.2, all 10.0.0.1, all 10.0.0.2");
        // Nothing that changes no name is told.
        let times = pods[2].times.load(Ordering::Relaxed);
        endpoints.note("other", &PodChange::Ready(true)).await;
        endpoints.note("two", &PodChange::Initialized).await;
        assert_eq!(pods[2].times.load(Ordering::Relaxed), times);
        endpoints.note("one", &PodChange::Ready(true)).await;
        endpoints.note("two", &PodChange::Stopping).await;
        assert_eq!(told(), "ready 10.0.0.1, all 10.0.0.1, all 10.0.0.2");
        endpoints.note("one", &PodChange::Ready(false)).await;
        assert_eq!(told(), "all 10.0.0.1, all 10.0.0.2");
        let failed = PodChange::Failed {
            reason: String::new(),
            message: String::new(),
        };
        endpoints.note("other", &failed).await;
        assert_eq!(told(), "all 10.0.0.1, all 10.0.0.2");
    }
}
