//! Limits of memory, CPU and processes: a cgroup for each pod, and one in it for each container,
//! where this user may make them.
//!
//! Only cgroup v2 is used, and only what has been delegated already: the nearest folder above this
//! process that hands controllers on to its children, and in which this user may make some. See
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kubelet::runtime::ContainerSpec;

/// What the cgroup of a pod is called, before the process that made it and a number.
const PREFIX: &str = "sidecar-workbook-";
/// Processes of a pod. Kubernetes limits them only where a node is told to; this protects the
/// machine.
const PROCESSES: u32 = 1024;
/// The microseconds in which a container may use its share of CPU, as the kubelet sets them.
const PERIOD: u64 = 100_000;
/// The least share that the kernel takes, in microseconds.
const LEAST_QUOTA: u64 = 1_000;

/// A cgroup in which pods can have theirs: it limits memory, and perhaps more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    folder: PathBuf,
    controllers: Vec<String>,
}

impl Cgroups {
    /// Finds one, and makes sure of it by moving `process` into a cgroup that is made there. The
    /// process must have ended before that one is dropped.
    pub(super) fn find(process: u32) -> Option<(Self, PodCgroup)> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        folders(&mounts, &own).into_iter().find_map(|folder| {
            let handed_on = fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
            let controllers = ["memory", "pids", "cpu"].into_iter();
            let cgroups = Self {
                controllers: controllers
                    .filter(|name| handed_on.split_whitespace().any(|other| other == *name))
                    .map(str::to_owned)
                    .collect(),
                folder,
            };
            if !cgroups.limits("memory") {
                return None;
            }
            let pod = PodCgroup::new(&cgroups).ok()?;
            let probe = pod.folder.join("probe");
            fs::create_dir(&probe).ok()?;
            fs::write(probe.join("cgroup.procs"), process.to_string()).ok()?;
            Some((cgroups, pod))
        })
    }

    /// Whether a limit can be set of `memory`, `pids` or `cpu`.
    #[must_use]
    pub fn limits(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Removes the cgroups of pods whose harness was killed, and names them.
    ///
    /// # Errors
    ///
    /// If one is in nobody's use and cannot be removed.
    pub fn sweep(&self) -> io::Result<Vec<String>> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(PREFIX) {
                continue;
            }
            // Whoever made it holds the lock as long as it lives.
            let lock = File::open(entry.path());
            if lock.is_ok_and(|lock| lock.try_lock().is_ok() && remove(&entry.path()).is_ok()) {
                removed.push(format!("cgroup {name}"));
            }
        }
        Ok(removed)
    }
}

/// The cgroup of a pod. It is removed when it is dropped, if its processes have ended by then.
#[derive(Debug)]
pub(super) struct PodCgroup {
    folder: PathBuf,
    above: Cgroups,
    /// Locked: whoever sweeps sees that somebody still needs it.
    _lock: File,
}

impl PodCgroup {
    pub(super) fn new(cgroups: &Cgroups) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{}-{number}", std::process::id());
            let folder = cgroups.folder.join(name);
            match fs::create_dir(&folder) {
                // A process of this number was killed once.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let lock = File::open(&folder)?;
            lock.lock()?;
            // Somebody may have swept it before it was locked.
            if !folder.exists() {
                continue;
            }
            let pod = Self {
                folder,
                above: cgroups.clone(),
                _lock: lock,
            };
            let all: Vec<_> = cgroups
                .controllers
                .iter()
                .map(|name| format!("+{name}"))
                .collect();
            fs::write(pod.folder.join("cgroup.subtree_control"), all.join(" "))?;
            if cgroups.limits("pids") {
                fs::write(pod.folder.join("pids.max"), PROCESSES.to_string())?;
            }
            return Ok(pod);
        }
    }

    /// Makes the cgroup of a container. What writes `0` to the file that this returns moves into
    /// it, whoever it is: the kernel asks whether the one who opened the file may.
    pub(super) fn container(&self, spec: &ContainerSpec) -> io::Result<File> {
        let folder = self.folder.join(&spec.id);
        fs::create_dir(&folder)?;
        let set = |file: &str, value: String| fs::write(folder.join(file), value);
        if let Some(bytes) = spec.memory_limit {
            set("memory.max", bytes.to_string())?;
            // A node has no swap for pods. A kernel without swap has no such file.
            let _ = set("memory.swap.max", "0".to_owned());
            // All of the container or nothing, as the kubelet has it.
            set("memory.oom.group", "1".to_owned())?;
        }
        if let Some(milli) = spec.cpu_limit
            && self.above.limits("cpu")
        {
            let quota = (milli * PERIOD / 1000).max(LEAST_QUOTA);
            set("cpu.max", format!("{quota} {PERIOD}"))?;
        }
        File::options()
            .write(true)
            .open(folder.join("cgroup.procs"))
    }

    /// Removes it, if its processes have ended. What cannot be removed now is swept later.
    pub(super) fn remove(&self) {
        let _ = remove(&self.folder);
    }

    /// Whether the kernel has killed the container, or a process of it, for its use of memory.
    pub(super) fn ran_out_of_memory(&self, id: &str) -> bool {
        let events = fs::read_to_string(self.folder.join(id).join("memory.events"));
        events.is_ok_and(|events| killed(&events))
    }
}

impl Drop for PodCgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether `memory.events` counts a process that was killed.
fn killed(events: &str) -> bool {
    events
        .lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .any(|count| count != "0")
}

/// Removes a cgroup and those in it. One that has processes stays.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

/// The folders of this process's cgroup and of those above it, nearest first, as far as they can
/// be seen: from `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn folders(mounts: &str, own: &str) -> Vec<PathBuf> {
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Vec::new();
    };
    mounts
        .lines()
        .filter_map(|line| {
            // Fields of proc_pid_mountinfo(5): the root of the mount in its filesystem, and where.
            let (fields, filesystem) = line.split_once(" - ")?;
            let mut fields = fields.split(' ').skip(3);
            let (root, place) = (fields.next()?, fields.next()?);
            let below = Path::new(own).strip_prefix(root).ok()?;
            let visible = filesystem.starts_with("cgroup2 ") && !own.starts_with("/..");
            visible.then(|| Path::new(place).join(below))
        })
        .flat_map(|folder| folder.ancestors().map(Path::to_owned).collect::<Vec<_>>())
        .take_while(|folder| folder.join("cgroup.procs").exists())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_where_it_is_mounted() {
        let mounts = "24 1 0:22 / / rw - ext4 /dev/sda rw\n\
                      35 24 0:30 /outer /does/not/exist rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        // Nothing is there, so nothing can be used.
        assert_eq!(folders(mounts, "0::/outer/inner\n"), Vec::<PathBuf>::new());
        assert_eq!(folders(mounts, "4:memory:/\n"), Vec::<PathBuf>::new());
        assert_eq!(folders(mounts, "0::/../other\n"), Vec::<PathBuf>::new());

        let there = tempfile::tempdir().unwrap();
        let inner = there.path().join("inner");
        fs::create_dir(&inner).unwrap();
        for folder in [there.path(), &inner] {
            File::create(folder.join("cgroup.procs")).unwrap();
        }
        let place = there.path().to_str().unwrap();
        let mounts = mounts.replace("/does/not/exist", place);
        assert_eq!(
            folders(&mounts, "1:name=systemd:/x\n0::/outer/inner\n"),
            [inner, there.path().to_owned()]
        );
    }

    #[test]
    fn who_was_killed_for_memory_is_counted() {
        assert!(!killed(
            "low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n"
        ));
        assert!(killed("max 12\noom 1\noom_kill 2\noom_group_kill 1\n"));
    }
}
