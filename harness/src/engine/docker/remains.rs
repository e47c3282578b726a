//! What runs leave on a daemon: the labels by which it is known, and its removal.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use futures_util::future::join_all;
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::{
    ContainerSummary, ContainerSummaryStateEnum, Network, Volume,
};
use testcontainers::bollard::query_parameters::{
    ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions,
    RemoveContainerOptions, RemoveImageOptions, RemoveVolumeOptions,
};

use super::node::Owner;
pub(super) use crate::engine::RUN_LABEL as RUN;
use crate::image::PACKAGE_LABEL;

/// The label of the pause container, without which a run is over: it ends when the harness does.
pub(super) const PAUSE: &str = "sidecar-workbook.pause";

/// The label of what a pod of a run has; its value is the pod's name.
pub(super) const POD: &str = "sidecar-workbook.pod";

/// How long a run may take to start its pause container. What is older and has none that runs is
/// left over.
const START: Duration = Duration::from_secs(120);

/// Removes the containers, volumes and networks of runs that are over, and says what that was.
pub(super) async fn sweep(docker: &Docker) -> anyhow::Result<Vec<String>> {
    let (containers, volumes) = list(docker, &[RUN.to_owned()]).await?;
    let networks = networks(docker, RUN).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let is_new = |created: i64| now.as_secs() as i64 - created < START.as_secs() as i64;
    let alive = |container: &&ContainerSummary| {
        let labels = container.labels.as_ref();
        let is_pause = labels.is_some_and(|labels| labels.contains_key(PAUSE));
        is_pause
            && match container.state {
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::REMOVING) => {
                    true
                }
                Some(ContainerSummaryStateEnum::CREATED) => is_new(container.created.unwrap_or(0)),
                _ => false,
            }
    };
    let living: HashSet<&String> = containers
        .iter()
        .filter(alive)
        .filter_map(|container| run(container.labels.as_ref()))
        .collect();
    let dead = |labels: Option<&HashMap<String, String>>| {
        run(labels).filter(|run| !living.contains(run)).cloned()
    };
    let mut runs: HashSet<String> = containers
        .iter()
        .filter_map(|container| dead(container.labels.as_ref()))
        .collect();
    // A volume that a pause container is being made with is there before the container.
    let old = volumes.iter().filter(|volume| {
        let created = volume.created_at.map(|created| created.unix_timestamp());
        !is_new(created.unwrap_or(0))
    });
    runs.extend(old.filter_map(|volume| dead(Some(&volume.labels))));
    let old = networks.iter().filter(|network| {
        let created = network.created.map(|created| created.unix_timestamp());
        !is_new(created.unwrap_or(0))
    });
    runs.extend(old.filter_map(|network| dead(network.labels.as_ref())));
    let mut removed = Vec::new();
    for run in runs {
        remove(docker, &run)
            .await
            .with_context(|| format!("cannot remove what run {run} left on Docker"))?;
        removed.push(format!("the containers, volumes and networks of run {run}"));
    }
    Ok(removed)
}

fn run(labels: Option<&HashMap<String, String>>) -> Option<&String> {
    labels?.get(RUN)
}

/// Removes the containers of a run, and then its volumes and networks.
pub(super) async fn remove(docker: &Docker, run: &str) -> anyhow::Result<()> {
    let label = format!("{RUN}={run}");
    remove_labelled(docker, std::slice::from_ref(&label)).await?;
    for network in networks(docker, &label).await? {
        let name = network.name.unwrap_or_default();
        unless_gone(docker.remove_network(&name).await)?;
    }
    Ok(())
}

/// Removes the containers of a pod, and then its volumes.
pub(super) async fn remove_pod(docker: &Docker, owner: &Owner) -> anyhow::Result<()> {
    let Owner { run, pod, .. } = owner;
    remove_labelled(docker, &[format!("{RUN}={run}"), format!("{POD}={pod}")]).await
}

async fn remove_labelled(docker: &Docker, labels: &[String]) -> anyhow::Result<()> {
    let (containers, volumes) = list(docker, labels).await?;
    let ids = containers
        .iter()
        .filter_map(|container| container.id.as_deref());
    for removed in join_all(ids.map(|id| remove_container(docker, id))).await {
        removed?;
    }
    let names = volumes.iter().map(|volume| volume.name.as_str());
    for removed in
        join_all(names.map(|name| docker.remove_volume(name, None::<RemoveVolumeOptions>))).await
    {
        unless_gone(removed)?;
    }
    Ok(())
}

/// Removes a container, and ends it before that if it runs.
pub(super) async fn remove_container(docker: &Docker, id: &str) -> anyhow::Result<()> {
    let force = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    unless_gone(docker.remove_container(id, Some(force)).await)
}

/// Somebody else may be removing it, or have done so.
fn unless_gone(removed: Result<(), testcontainers::bollard::errors::Error>) -> anyhow::Result<()> {
    use testcontainers::bollard::errors::Error;
    match removed {
        Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => Ok(()),
        other => Ok(other?),
    }
}

async fn list(
    docker: &Docker,
    labels: &[String],
) -> anyhow::Result<(Vec<ContainerSummary>, Vec<Volume>)> {
    let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
    let containers = ListContainersOptions {
        all: true,
        filters: Some(filters.clone()),
        ..ListContainersOptions::default()
    };
    let volumes = ListVolumesOptions {
        filters: Some(filters),
    };
    let containers = docker.list_containers(Some(containers)).await?;
    let volumes = docker.list_volumes(Some(volumes)).await?;
    Ok((containers, volumes.volumes.unwrap_or_default()))
}

async fn networks(docker: &Docker, label: &str) -> anyhow::Result<Vec<Network>> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListNetworksOptions {
        filters: Some(filters),
    };
    Ok(docker.list_networks(Some(options)).await?)
}

/// Removes every image of the workbook that no container uses, and says which these were.
pub(super) async fn forget_images(docker: &Docker) -> anyhow::Result<Vec<String>> {
    let filters = HashMap::from([("label".to_owned(), vec![PACKAGE_LABEL.to_owned()])]);
    let options = ListImagesOptions {
        filters: Some(filters),
        ..ListImagesOptions::default()
    };
    let mut removed = Vec::new();
    for image in docker.list_images(Some(options)).await? {
        let name = image.repo_tags.first().unwrap_or(&image.id);
        let force = RemoveImageOptions {
            force: image.repo_tags.len() > 1,
            ..RemoveImageOptions::default()
        };
        if docker
            .remove_image(&image.id, Some(force), None)
            .await
            .is_ok()
        {
            removed.push(format!("image {name} from Docker"));
        }
    }
    Ok(removed)
}
