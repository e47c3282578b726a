//! Where the app of this chapter leaves things, so that its neighbour can look for them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files on the volume, below the folder that `SHARED` names.
pub mod files {
    /// A sentence that the app writes.
    pub const NOTE: &str = "note";
    /// The namespaces that the app is in, one a line.
    pub const NAMESPACES: &str = "namespaces";
    /// Which file the app's token is.
    pub const TOKEN: &str = "token";
}

/// Where Kubernetes mounts the token of the pod's ServiceAccount, unless `TOKEN` says otherwise.
pub const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The most bytes of a message in the app's queue.
pub const MESSAGE: usize = 64;

/// The variable that only the app's container has.
pub const PASSWORD: &str = "APP_PASSWORD";

/// The namespaces that this chapter looks at, as `/proc/self/ns` names them.
pub const NAMESPACES: [&str; 5] = ["net", "ipc", "uts", "pid", "mnt"];

// ANCHOR: namespace
/// The namespace of a kind that this process is in, as `net:[4026531840]`. Two processes are in
/// the same one if, and only if, this is the same.
pub fn namespace(kind: &str) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/ns/{kind}"))
}
// ANCHOR_END: namespace

/// Which file a path leads to: its filesystem, and its number there. Where the same file is
/// mounted twice, this is the same.
pub fn identity(path: &Path) -> io::Result<String> {
    let about = fs::metadata(path)?;
    Ok(format!("{}:{}", about.dev(), about.ino()))
}
