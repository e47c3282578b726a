//! What the harness and a pod's pause container say to each other, and how the files of a volume
//! are written, which the sandbox does in the same way.

#[cfg(unix)]
mod files;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(unix)]
pub use files::{File, write};

/// Where the pause container has the volumes of its pod, each in a folder of its name.
pub const VOLUMES: &str = "/volumes";

/// The argument that makes the program speak to the harness: HTTP/2 on its standard streams.
///
/// A `CONNECT` of an address connects to it in the pod's network. Where that fails, the answer is
/// 502, and its header [`ERRNO`] says why. A `POST` has a [`Request`] for a body, and the answer's
/// body is `Result<Answer, String>`, both in JSON.
pub const SERVE: &str = "serve";

/// The argument that makes it send SIGKILL to the process whose number follows.
pub const KILL: &str = "kill";

/// The header with the number of the error that `connect(2)` gave.
pub const ERRNO: &str = "errno";

/// What the harness asks of the pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Put this into `/etc/hosts`, which is every container's.
    Hosts(String),
    /// Give its root folder a group and a mode.
    Prepare {
        /// The volume's name.
        volume: String,
        /// The mode.
        mode: u32,
        /// The group, if not root's.
        group: Option<u32>,
    },
    /// Put these files in the place of those that it has.
    Write {
        /// The volume's name.
        volume: String,
        /// The files.
        files: Vec<WireFile>,
    },
    /// Tell how many bytes it holds.
    Usage {
        /// The volume's name.
        volume: String,
    },
    /// Tell where a `subPath` leads, and make it a folder if nothing is there.
    SubPath {
        /// The volume's name.
        volume: String,
        /// The path, relative to the volume's root.
        path: PathBuf,
    },
}

/// A file of a ConfigMap or Secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WireFile {
    /// Where, relative to the volume's root.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// The group that owns it, if not root's.
    pub group: Option<u32>,
    /// What it holds.
    pub content: Vec<u8>,
}

/// What a pause container answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// So many bytes.
    Usage(u64),
    /// A path without links, relative to the volume's root.
    SubPath(PathBuf),
}
