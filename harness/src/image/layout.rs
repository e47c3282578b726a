//! The JSON files of an image archive, for writing and for reading: those of the OCI image
//! specification, as far as the workbook's images need them, and Docker's `manifest.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ImageConfig;

pub(super) const LAYOUT_FILE: &str = "oci-layout";
pub(super) const INDEX_FILE: &str = "index.json";
pub(super) const DOCKER_FILE: &str = "manifest.json";

pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where containerd finds the name to give to an image.
pub(super) const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// Where the other readers of OCI layouts find its tag.
pub(super) const TAG_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// `oci-layout`: says that the archive is one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layout {
    pub(super) image_layout_version: String,
}

/// `index.json`: which manifests there are.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    pub(super) media_type: String,
    pub(super) manifests: Vec<Descriptor>,
}

/// What an image consists of.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    pub(super) media_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// A reference to a blob by its digest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// What an image runs on.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
}

/// An image's configuration. Its digest is the image's id.
#[derive(Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) created: String,
    #[serde(flatten)]
    pub(super) platform: Platform,
    pub(super) config: Execution,
    pub(super) rootfs: RootFs,
}

/// How a container starts.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Execution {
    pub(super) user: String,
    pub(super) env: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cmd: Vec<String>,
    pub(super) working_dir: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl From<Execution> for ImageConfig {
    fn from(execution: Execution) -> Self {
        Self {
            entrypoint: execution.entrypoint,
            cmd: execution.cmd,
            env: execution.env,
            working_dir: execution.working_dir,
            user: execution.user,
        }
    }
}

/// The layers, by the digests that they have uncompressed.
#[derive(Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) diff_ids: Vec<String>,
}

/// One image in `manifest.json`, which Docker's daemons before version 25 read instead of the
/// OCI files.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    pub(super) repo_tags: Vec<String>,
    pub(super) layers: Vec<String>,
}

/// The digest of a blob that is in memory in some parts, as `sha256:…`.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    finish(hasher)
}

/// The digest of all that was put into a hasher.
pub(super) fn finish(hasher: Sha256) -> String {
    let hash = hasher.finalize();
    hash.iter().fold("sha256:".to_owned(), |digest, byte| {
        format!("{digest}{byte:02x}")
    })
}

/// Where an archive has the blob of a digest.
pub(super) fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}
