//! Images: a chapter's programs, each in an archive that every engine reads.
//!
//! An image holds one static program and nothing else. The harness makes it without Docker and
//! without a registry, and makes the same bytes from the same program each time, so an image's
//! id says which program it holds.

mod archive;
mod build;
mod elf;
mod layout;
mod read;
#[cfg(test)]
mod tests;
mod tool;
mod toolchain;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use build::build_with;
pub use build::{BuildError, Progress, build};
pub use read::unpack_layer;
pub use tool::build_tool;
pub use toolchain::{Lack, Toolchain, cargo, toolchain};

/// What all images are named, before the colon.
pub const REPOSITORY: &str = "sidecar-examples";

/// The label that says which package an image's program is from. No image but the workbook's
/// has it.
pub const PACKAGE_LABEL: &str = "sidecar-workbook.package";

/// An image: an archive, and what it says of itself.
///
/// The archive is an OCI layout that has Docker's `manifest.json` too. Docker, containerd and
/// [`unpack_layer`] read one and the same file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name that manifests have for it, as `sidecar-examples:input-sidecar`.
    pub name: String,
    /// The program that it runs: the name's tag.
    pub program: String,
    /// The package that the program is from.
    pub package: String,
    /// The digest of its configuration, as `sha256:…`. Docker calls it the image id, and so does
    /// the kubelet if `ctr images import` brought the archive to the node. (`kind load
    /// image-archive` also keeps the archive's index, and the kubelet then names that.)
    pub id: String,
    /// The digest of its OCI manifest. A Docker daemon that keeps images in containerd calls this
    /// the image id.
    pub manifest_digest: String,
    /// The digest of its only layer.
    pub layer_digest: String,
    /// The archive. Another build replaces it when the program has changed.
    pub archive: PathBuf,
    /// How a container of it starts, where the manifest does not say.
    pub config: ImageConfig,
}

/// How a container of an image starts, where the manifest does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The program.
    pub entrypoint: Vec<String>,
    /// Its arguments.
    pub cmd: Vec<String>,
    /// The environment, each variable as `NAME=value`.
    pub env: Vec<String>,
    /// The folder that it starts in.
    pub working_dir: String,
    /// The user and group that it runs as, as `65532:65532`.
    pub user: String,
}
