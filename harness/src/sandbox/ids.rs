//! Which user and group ids a pod has: what its user namespace maps to ids of this machine.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// As many ids as an image can expect to have.
pub(crate) const COUNT: u32 = 65_536;
/// Where root takes a pod's ids from, if all ids are its own: above the ranges that systemd and
/// distributions hand out, below 2³¹, where some programs take them for negative numbers.
const ROOT_BASE: u32 = 2_000_000_000;

/// How a pod gets its ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// Root maps a range that belongs to nobody. Never this machine's 0: a process with that id
    /// could write to files of the kernel that ask for nothing but the id.
    Root {
        /// The first id of the range, in the namespace that the harness runs in.
        first: u32,
    },
    /// An ordinary user maps the subordinate ids that `/etc/subuid` and `/etc/subgid` grant.
    Range {
        /// The first subordinate user id.
        first_uid: u32,
        /// The first subordinate group id.
        first_gid: u32,
    },
    /// An ordinary user without subordinate ids maps the one id that it has.
    Single {
        /// The user's id.
        uid: u32,
        /// The user's group.
        gid: u32,
    },
}

impl Ids {
    /// The ways that this user could get ids, best first.
    pub(super) fn candidates() -> Vec<Self> {
        let (uid, gid) = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        let mut ways = Vec::new();
        if uid == 0 {
            let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
            ways.extend(free_range(&map).map(|first| Self::Root { first }));
        } else if let (Some(first_uid), Some(first_gid)) = (
            subordinate("/etc/subuid", uid),
            subordinate("/etc/subgid", uid),
        ) {
            ways.push(Self::Range {
                first_uid,
                first_gid,
            });
        }
        // Not for root: it would be the root of this machine in every pod.
        if !owns_the_kernel(uid) {
            ways.push(Self::Single { uid, gid });
        }
        ways
    }

    /// Whether the pod has only one id of this machine, so that all its users are the same to
    /// the kernel.
    #[must_use]
    pub fn is_single(&self) -> bool {
        matches!(self, Self::Single { .. })
    }

    /// Writes the id maps of the process `pid`, which has unshared its user namespace.
    // ANCHOR: maps
    pub(super) fn write_maps(&self, pid: u32) -> io::Result<()> {
        let file = |name: &str, content: String| {
            let path = format!("/proc/{pid}/{name}");
            let mut file = fs::OpenOptions::new().write(true).open(&path)?;
            // One write: the kernel takes a map whole or not at all.
            file.write_all(content.as_bytes()).map_err(|error| {
                let text = format!("cannot write {name}: {error}");
                io::Error::new(error.kind(), text)
            })
        };
        match self {
            Self::Root { first } => {
                file("gid_map", format!("0 {first} {COUNT}"))?;
                file("uid_map", format!("0 {first} {COUNT}"))
            }
            Self::Range {
                first_uid,
                first_gid,
            } => {
                helper("newgidmap", pid, *first_gid)?;
                helper("newuidmap", pid, *first_uid)
            }
            Self::Single { uid, gid } => {
                file("setgroups", "deny".to_owned())?;
                file("gid_map", format!("0 {gid} 1"))?;
                file("uid_map", format!("0 {uid} 1"))
            }
        }
    }
    // ANCHOR_END: maps
}

/// Whether this user is the machine's root, however it is called here: the kernel's settings
/// belong to it.
fn owns_the_kernel(uid: u32) -> bool {
    fs::metadata("/proc/sys/kernel").is_ok_and(|settings| settings.uid() == uid)
}

/// Runs one of the set-user-id programs that write maps of subordinate ids.
fn helper(program: &str, pid: u32, first: u32) -> io::Result<()> {
    let output = Command::new(program)
        .args([pid, 0, first, COUNT].map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run {program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{program} failed: {}",
        said.trim()
    )))
}

/// The first of [`COUNT`] ids in a row of this namespace that do not hold its root.
fn free_range(uid_map: &str) -> Option<u32> {
    uid_map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        let (first, end) = (inside.max(1), inside + count);
        let wished = u64::from(ROOT_BASE);
        let first = if first <= wished && wished + u64::from(COUNT) <= end {
            wished
        } else {
            first
        };
        (first + u64::from(COUNT) <= end)
            .then(|| u32::try_from(first).ok())
            .flatten()
    })
}

/// The first of [`COUNT`] ids that `file` grants the user.
fn subordinate(file: impl AsRef<Path>, uid: u32) -> Option<u32> {
    let name = nix::unistd::User::from_uid(uid.into())
        .ok()
        .flatten()
        .map(|user| user.name);
    find_subordinate(&fs::read_to_string(file).ok()?, name.as_deref(), uid)
}

fn find_subordinate(granted: &str, name: Option<&str>, uid: u32) -> Option<u32> {
    granted.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = Some(owner) == name || owner == uid.to_string();
        let enough = count.parse::<u32>().is_ok_and(|count| count >= COUNT);
        if ours && enough {
            first.parse().ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_never_maps_the_root_of_this_machine() {
        assert_eq!(
            free_range("         0          0 4294967295\n"),
            Some(ROOT_BASE)
        );
        let rootless_container = "0 1000 1\n1 100000 65536\n";
        assert_eq!(free_range(rootless_container), Some(1));
        assert_eq!(free_range("0 1000 1\n"), None);
        assert_eq!(
            free_range("0 100000 65536\n"),
            None,
            "65,535 are left beside its root"
        );
        assert_eq!(free_range("0 100000 65537\n"), Some(1));
    }

    #[test]
    fn subordinate_ids_by_name_or_number() {
        let granted = "other:100000:65536\nada:165536:65536\n1001:231072:65536\nfew:1:10\n";
        assert_eq!(find_subordinate(granted, Some("ada"), 1000), Some(165_536));
        assert_eq!(find_subordinate(granted, None, 1001), Some(231_072));
        assert_eq!(find_subordinate(granted, Some("few"), 7), None);
    }
}
