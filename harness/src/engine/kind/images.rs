//! Images in the cluster: only those that the node does not hold, all in one import.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::tool;
use crate::image::Image;

/// The namespace of containerd in which the kubelet's images and containers are.
pub(super) const CONTAINERD: &str = "--namespace=k8s.io";
/// The label that the kubelet's side of containerd gives to an image that it knows.
const KNOWN: &str = "io.cri-containerd.image=managed";
/// How often the node is asked whether it knows an image that it has taken in.
const ASKED: usize = 50;

/// The images that a node holds: names, as containerd has them, and the digest of each one's
/// manifest.
pub(super) type Held = BTreeMap<String, String>;

/// Gets images into a node that holds those, and returns what it holds then.
pub(super) async fn load(node: &str, mut held: Held, images: &[Image]) -> anyhow::Result<Held> {
    let missing = lacking(&held, images);
    if missing.is_empty() {
        return Ok(held);
    }
    let names: Vec<String> = missing.iter().map(|image| image.name.clone()).collect();
    // In one command, since each costs as much as the import itself. No option more: with
    // `--digests` the kubelet names the archive, not the image.
    let import = format!("ctr {CONTAINERD} images import - >&2 && ctr {CONTAINERD} images ls");
    let arguments = ["exec", "-i", node, "sh", "-c", &import];
    let archives = missing.clone();
    let listed = tool::feed("docker", &arguments, move |out| merge(&archives, out))
        .await
        .with_context(|| format!("node {node} does not take the images {}", names.join(", ")))?;
    held = parse(&listed);
    // Containerd tells the kubelet's side of itself about a new image a moment later.
    for _ in 0..ASKED {
        if lacking(&held, &missing).is_empty() {
            return Ok(held);
        }
        held = self::held(node).await?;
    }
    let lost: Vec<String> = lacking(&held, &missing)
        .into_iter()
        .map(|image| image.name)
        .collect();
    if lost.is_empty() {
        return Ok(held);
    }
    bail!(
        "node {node} has imported {}, and does not hold it; `docker exec {node} ctr {CONTAINERD} images ls` shows what it holds",
        lost.join(", ")
    )
}

/// Those of the images that are not held.
pub(super) fn lacking(held: &Held, images: &[Image]) -> Vec<Image> {
    images
        .iter()
        .filter(|image| !is_held(held, image))
        .cloned()
        .collect()
}

/// Asks a node what it holds.
pub(super) async fn held(node: &str) -> anyhow::Result<Held> {
    let listed = tool::output("docker", &["exec", node, "ctr", CONTAINERD, "images", "ls"]).await?;
    Ok(parse(&listed))
}

/// Reads the table of `ctr images ls`: name, type, digest, and the labels at the end.
fn parse(listed: &str) -> Held {
    let known = listed.lines().filter(|line| line.contains(KNOWN));
    known
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            Some((columns.next()?.to_owned(), columns.nth(1)?.to_owned()))
        })
        .collect()
}

/// Whether the kubelet will find the image by its name, and call it by its id.
fn is_held(held: &Held, image: &Image) -> bool {
    let is = |name: &str| held.get(name) == Some(&image.manifest_digest);
    is(&format!("docker.io/library/{}", image.name)) && is(&image.id)
}

/// Writes one archive that holds all of these images.
fn merge(images: &[Image], out: &mut dyn io::Write) -> io::Result<()> {
    let mut merged = tar::Builder::new(out);
    let mut manifests = Vec::new();
    let mut written = HashSet::new();
    for image in images {
        let archive = image.open_archive()?;
        copy(archive, &mut merged, &mut manifests, &mut written)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", image.name)))?;
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    append(&mut merged, "index.json", index.to_string().as_bytes())?;
    append(
        &mut merged,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    merged.finish()
}

/// Copies the blobs of an archive, each once, and notes its manifests.
fn copy(
    archive: File,
    merged: &mut tar::Builder<&mut dyn io::Write>,
    manifests: &mut Vec<Value>,
    written: &mut HashSet<String>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        if path == "index.json" {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            let mut index: Value = serde_json::from_str(&text)?;
            if let Some(Value::Array(of_index)) = index.get_mut("manifests").map(Value::take) {
                manifests.extend(of_index);
            }
        } else if path.starts_with("blobs/") && written.insert(path) {
            let header = entry.header().clone();
            merged.append(&header, entry)?;
        }
    }
    Ok(())
}

fn append(
    merged: &mut tar::Builder<&mut dyn io::Write>,
    path: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    merged.append_data(&mut header, path, bytes)
}

/// Sends a signal to the first process of a container.
pub(super) async fn signal(node: &str, container: &str, signal: i32) -> anyhow::Result<()> {
    let (id, signal) = (id_of(container)?, signal.to_string());
    let arguments = [
        "exec", node, "ctr", CONTAINERD, "tasks", "kill", "--signal", &signal, id,
    ];
    tool::output("docker", &arguments).await.map(|_| ())
}

/// Kills the first processes of containers by one call, each when the one before it is gone: they
/// end within a moment, and containerd learns of it in this order.
pub(super) async fn kill(node: &str, containers: &[String]) -> anyhow::Result<()> {
    let tasks = ["exec", node, "ctr", CONTAINERD, "tasks", "ls"];
    let tasks = tool::output("docker", &tasks).await?;
    let one_by_one = "set -e; for pid; do kill -KILL $pid; \
                      timeout 10 tail --pid=$pid -s 0.01 -f /dev/null; done";
    let mut arguments = vec!["exec", node, "sh", "-c", one_by_one, "sh"];
    for container in containers {
        let id = id_of(container)?;
        let pid = tasks.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(id)).then(|| words.next()).flatten()
        });
        arguments.push(pid.with_context(|| format!("container {id} does not run"))?);
    }
    tool::output("docker", &arguments).await.map(|_| ())
}

/// What containerd calls a container.
fn id_of(container: &str) -> anyhow::Result<&str> {
    let id = container
        .strip_prefix("containerd://")
        .with_context(|| format!("`{container}` is not a container of containerd"))?;
    ensure!(
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "`{container}` is not a container's id"
    );
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_the_kubelet_does_not_know_yet_are_not_held() {
        let listed = "\
REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/library/sidecar-examples:app  application/vnd.oci.image.manifest.v1+json sha256:aa 2.7 MiB  linux/amd64 io.cri-containerd.image=managed
docker.io/library/sidecar-examples:new  application/vnd.oci.image.manifest.v1+json sha256:bb 2.7 MiB  linux/amd64 -
";
        let held = parse(listed);
        assert_eq!(
            held.into_iter().collect::<Vec<_>>(),
            [(
                "docker.io/library/sidecar-examples:app".to_owned(),
                "sha256:aa".to_owned()
            )]
        );
    }
}
