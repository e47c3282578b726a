//! What a container is: what its first process does between `clone3(2)` and `execve(2)`.
//!
//! This runs in the child that the supervisor has cloned into a mount namespace and a PID
//! namespace of its own. It sees the supervisor's files, builds a root filesystem, enters it,
//! gives up every right that the manifest does not grant, and becomes the program.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use caps::{CapSet, Capability};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat, umask};
use nix::unistd::{
    Gid, Uid, chdir, dup2_stderr, dup2_stdout, execve, pivot_root, setgroups, setresgid, setresuid,
    setsid,
};
use seccompiler::BpfProgram;
use serde::{Deserialize, Serialize};

use super::{seccomp, supervisor, sys};
use crate::kubelet::runtime::{ContainerSpec, Mount, StartError};

/// A container as the supervisor is told to start it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) spec: ContainerSpec,
    /// Whether the pod has a single id of this machine, so that every user but root needs a user
    /// namespace of its own.
    pub(super) single_id: bool,
}

impl Plan {
    /// Whether the container has a user namespace of its own, inside the pod's.
    pub(super) fn own_user_namespace(&self) -> bool {
        self.single_id && (self.spec.uid, self.spec.gid) != (0, 0)
    }
}

/// A result that says which step failed, for the reader of the manifest.
pub(super) type Step<T> = Result<T, StartError>;

/// Names the step that an error belongs to.
pub(super) trait DuringStep<T> {
    fn during(self, step: impl FnOnce() -> String) -> Step<T>;
}

impl<T, E: std::fmt::Display> DuringStep<T> for Result<T, E> {
    fn during(self, step: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|error| StartError {
            step: step(),
            error: error.to_string(),
        })
    }
}

/// The bytes that a container can write outside its volumes, where its root can be written to.
const WRITABLE_LAYER: u64 = 256 << 20;
/// Files per filesystem: each costs memory even when it is empty.
const FILES: u64 = 65_536;

/// Options for a filesystem in memory.
pub(super) fn tmpfs_options(bytes: u64, mode: u32) -> String {
    format!("size={bytes},nr_inodes={FILES},mode={mode:o}")
}

/// Paths that say more of the machine than a container must know, or that act on it: an empty
/// file or folder is put over each. The list is containerd's.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Paths through which root could change the kernel's settings: they stay, read-only.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Becomes the container: returns only if that fails. `user` is the user namespace of another
/// container that runs as the same user, where that needs one.
// ANCHOR: run
pub(super) fn run(
    plan: &Plan,
    pod: &supervisor::Pod,
    archive: File,
    cgroup: Option<&File>,
    user: Option<&File>,
    output: OwnedFd,
) -> Step<std::convert::Infallible> {
    let spec = &plan.spec;
    begin_process(output)?;
    build_root(plan, pod, archive)?;
    // The files of the image are in memory, and count before this as nobody's.
    cgroup.map_or(Ok(()), join_cgroup)?;
    let unshared = unshare(CloneFlags::CLONE_NEWCGROUP);
    unshared.during(|| "unshare the cgroup namespace".into())?;
    if plan.own_user_namespace() {
        match user {
            Some(user) => setns(user, CloneFlags::CLONE_NEWUSER)
                .during(|| "join the user namespace of the user".into())?,
            None => enter_own_user_namespace(spec)?,
        }
    }
    let settings = become_user(plan)?;
    exec(&spec.command, &settings)
}
// ANCHOR_END: run

/// A session of its own, standard streams, no signal blocked or ignored.
pub(super) fn begin_process(output: OwnedFd) -> Step<()> {
    setsid().during(|| "start a session".into())?;
    dup2_stdout(&output)
        .and_then(|()| dup2_stderr(&output))
        .during(|| "redirect the output".into())?;
    drop(output);
    sys::reset_signal_actions();
    SigSet::empty()
        .thread_set_mask()
        .during(|| "unblock signals".into())?;
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

/// Moves this process into the cgroup whose `cgroup.procs` this is: from here on the container's
/// limits hold for it.
pub(super) fn join_cgroup(mut procs: &File) -> Step<()> {
    procs
        .write_all(b"0")
        .during(|| "join the container's cgroup".into())
}

/// Builds the container's root filesystem and enters it. After this, no path leads to a file of
/// the machine or of the supervisor.
fn build_root(plan: &Plan, pod: &supervisor::Pod, archive: File) -> Step<()> {
    let spec = &plan.spec;
    // What is mounted from here on is this container's alone.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .during(|| "make the mounts private".into())?;

    let root = Path::new(supervisor::ROOTS).join(&spec.id);
    fs::create_dir(&root).during(|| "make the root folder".into())?;
    mount_tmpfs(&root, WRITABLE_LAYER, 0o755)?;
    crate::image::unpack_layer(&archive, &root).during(|| format!("unpack {}", spec.image.name))?;
    drop(archive);

    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    for folder in ["/dev", "/etc", "/proc", "/sys"] {
        create_folder(&inside(folder))?;
    }
    for (file, content) in [
        ("/etc/hosts", &pod.spec.hosts),
        ("/etc/hostname", &format!("{}\n", pod.spec.hostname)),
    ] {
        fs::write(inside(file), content).during(|| format!("write {file}"))?;
    }
    // No name server: names other than those in /etc/hosts do not resolve.
    fs::write(inside("/etc/resolv.conf"), "options ndots:5\n")
        .during(|| "write /etc/resolv.conf".into())?;

    mount_proc(&inside("/proc"), pod)?;
    bind("/sys", &inside("/sys"), true)?;
    mask(&root)?;
    mount_dev(&inside("/dev"))?;

    // As on a node, a mount inside another comes after it, in whatever order the manifest has them.
    let mut mounts: Vec<&Mount> = spec.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.path.components().count());
    for volume in mounts {
        mount_volume(volume, &root).during(|| {
            format!(
                "mount volume {} at {}",
                volume.volume,
                volume.path.display()
            )
        })?;
    }
    // The folder that the program starts in is made if the image has none, as container runtimes do.
    let working_dir = resolve_in_root(&root, &spec.working_dir, true);
    drop(
        working_dir
            .during(|| format!("make the working directory {}", spec.working_dir.display()))?,
    );

    if plan.own_user_namespace() {
        for tree in [&root, &inside("/dev")] {
            forbid_writing(tree).during(|| "protect the files of root".into())?;
        }
    }

    // ANCHOR: pivot
    // The old root is stacked under the new one, and then taken away.
    chdir(&root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .during(|| "enter the root filesystem".into())?;
    if spec.read_only_root {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .during(|| "make the root filesystem read-only".into())?;
    }
    // ANCHOR_END: pivot
    Ok(())
}

/// Leaves to the owner of a mount's files only the writing that all others may do. In a cluster the
/// files belong to root; where the kernel takes the container's user for their owner, this is what
/// keeps that user from them.
fn forbid_writing(root: &Path) -> io::Result<()> {
    let about = fs::symlink_metadata(root)?;
    let device = about.dev();
    let mut files = vec![(root.to_owned(), about)];
    while let Some((path, about)) = files.pop() {
        // What is mounted on it is not among them.
        if about.is_symlink() || about.dev() != device {
            continue;
        }
        if about.is_dir() {
            for entry in fs::read_dir(&path)? {
                let path = entry?.path();
                let about = fs::symlink_metadata(&path)?;
                files.push((path, about));
            }
        }
        let mode = about.permissions().mode();
        if mode & 0o002 == 0 {
            fs::set_permissions(&path, Permissions::from_mode(mode & !0o200))?;
        }
    }
    Ok(())
}

fn create_folder(path: &Path) -> Step<()> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .during(|| format!("make {}", path.display()))
}

fn mount_tmpfs(path: &Path, bytes: u64, mode: u32) -> Step<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = tmpfs_options(bytes, mode);
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .during(|| format!("mount a tmpfs at {}", path.display()))
}

/// Shows `from` at `to` as well, with everything mounted below it.
fn bind(from: impl AsRef<Path>, to: &Path, read_only: bool) -> Step<()> {
    let copy = || -> io::Result<()> {
        let source = sys::copy_mount(open_place(from.as_ref())?.as_fd())?;
        if read_only {
            sys::make_read_only(source.as_fd())?;
        }
        sys::attach_mount(source.as_fd(), open_place(to)?.as_fd())
    };
    copy().during(|| format!("bind {} to {}", from.as_ref().display(), to.display()))
}

fn open_place(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // An absolute path is resolved from the root of this process, whatever the folder.
    sys::open_below(File::open("/")?.as_fd(), &path, 0)
}

/// A `/proc` that shows this PID namespace. Inside some containers the kernel refuses a new one;
/// the supervisor's is shown instead, and the harness has said so.
fn mount_proc(path: &Path, pod: &supervisor::Pod) -> Step<()> {
    if !pod.own_proc {
        return bind("/proc", path, false);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), path, Some("proc"), flags, None::<&str>).during(|| "mount /proc".into())
}

fn mask(root: &Path) -> Step<()> {
    for path in MASKED.iter().map(|path| root.join(&path[1..])) {
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => bind(supervisor::EMPTY, &path, true)?,
            Ok(_) => bind("/dev/null", &path, true)?,
            Err(_) => {}
        }
    }
    for path in READ_ONLY.iter().map(|path| root.join(&path[1..])) {
        if path.exists() {
            bind(&path, &path, true)?;
        }
    }
    Ok(())
}

/// The few devices that every program may expect.
fn mount_dev(dev: &Path) -> Step<()> {
    mount_tmpfs(dev, 64 << 10, 0o755)?;
    for device in supervisor::DEVICES {
        let place = dev.join(device);
        File::create(&place).during(|| format!("make /dev/{device}"))?;
        bind(Path::new("/dev").join(device), &place, false)?;
    }
    // Shared memory belongs to the pod: its containers share the IPC namespace too.
    create_folder(&dev.join("shm"))?;
    bind(supervisor::SHM, &dev.join("shm"), false)?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name)).during(|| format!("make /dev/{name}"))?;
    }
    create_folder(&dev.join("pts"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        flags,
        Some("newinstance,ptmxmode=0666,mode=0620"),
    )
    .during(|| "mount /dev/pts".into())
}

// ANCHOR: mount-volume
fn mount_volume(volume: &Mount, root: &Path) -> io::Result<()> {
    let folder = supervisor::volume(&volume.volume);
    let source = open_sub_path(&folder, &volume.sub_path)?;
    let is_folder = fs::metadata(descriptor_path(&source))?.is_dir();
    let place = resolve_in_root(root, &volume.path, is_folder)?;
    let copy = sys::copy_mount(source.as_fd())?;
    if volume.read_only {
        sys::make_read_only(copy.as_fd())?;
    }
    sys::attach_mount(copy.as_fd(), place.as_fd())
}
// ANCHOR_END: mount-volume

/// The path under which this process finds what a descriptor refers to.
fn descriptor_path(descriptor: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Opens a path of a volume, and makes folders that are missing, with the mode of the volume's
/// own, as the kubelet does. What leads out of the volume, a link included, is refused.
fn open_sub_path(volume: &Path, sub_path: &Path) -> io::Result<OwnedFd> {
    let mut at = open_place(volume)?;
    if sub_path.as_os_str().is_empty() {
        return Ok(at);
    }
    let base = File::open(volume)?;
    let mode = base.metadata()?.permissions().mode() & 0o7777;
    let mut so_far = PathBuf::new();
    for component in sub_path.components() {
        so_far.push(component);
        at = match sys::open_below(base.as_fd(), &c_path(&so_far)?, libc::RESOLVE_BENEATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(&at, component.as_os_str(), Mode::from_bits_truncate(mode))?;
                let made = sys::open_below(base.as_fd(), &c_path(&so_far)?, libc::RESOLVE_BENEATH)?;
                // The umask took bits away.
                fs::set_permissions(descriptor_path(&made), Permissions::from_mode(mode))?;
                made
            }
            opened => opened?,
        };
    }
    Ok(at)
}

/// The place in the container's root that `path` names there, made if it is missing. Links are
/// followed as the container would follow them, never out of its root.
fn resolve_in_root(root: &Path, path: &Path, folder: bool) -> io::Result<OwnedFd> {
    let base = File::open(root)?;
    let mut at = open_place(root)?;
    let mut so_far = PathBuf::from(".");
    let mut components = path
        .components()
        .filter(|part| *part != Component::RootDir)
        .peekable();
    while let Some(component) = components.next() {
        so_far.push(component);
        let open = || sys::open_below(base.as_fd(), &c_path(&so_far)?, libc::RESOLVE_IN_ROOT);
        at = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if components.peek().is_some() || folder {
                    mkdirat(&at, component.as_os_str(), Mode::from_bits_truncate(0o755))?;
                } else {
                    mknodat(
                        &at,
                        component.as_os_str(),
                        SFlag::S_IFREG,
                        Mode::from_bits_truncate(0o644),
                        0,
                    )?;
                }
                open()?
            }
            opened => opened?,
        };
    }
    Ok(at)
}

/// What `execve(2)` needs besides the program.
pub(super) struct Settings {
    env: Vec<CString>,
    search: Vec<PathBuf>,
}

/// Gives up every right that the container is not granted. The order matters: each step needs a
/// right that a later one takes away.
pub(super) fn become_user(plan: &Plan) -> Step<Settings> {
    let spec = &plan.spec;
    let seccomp = if spec.seccomp {
        seccomp::runtime_default(&spec.capabilities).during(|| "make the seccomp filter".into())?
    } else {
        Vec::new()
    };
    limit_resources()?;
    // A single id has no groups to choose from, and the kernel denies `setgroups(2)`.
    if !plan.single_id {
        let groups: Vec<Gid> = spec.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).during(|| "set the groups".into())?;
    }

    let granted: HashSet<Capability> = spec
        .capabilities
        .iter()
        .filter_map(|name| format!("CAP_{name}").parse().ok())
        .collect();
    // ANCHOR: capabilities
    // A later `execve(2)`, and a program with file capabilities, can never
    // give back what is dropped here.
    for capability in caps::all() {
        if !granted.contains(&capability) {
            // The kernel may be older than the list.
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    // ANCHOR_END: capabilities
    // Without `no_new_privs`, installing a filter is a right, and it must be used before it goes.
    if spec.allow_privilege_escalation {
        install(&seccomp)?;
    }
    // ANCHOR: user
    let (uid, gid) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid));
    setresgid(gid, gid, gid).during(|| format!("become group {gid}"))?;
    setresuid(uid, uid, uid).during(|| format!("become user {uid}"))?;
    // Root keeps what is granted; to any other user the kernel has given
    // nothing to keep, unless it was already that user in a user namespace
    // of its own.
    let kept = if uid.is_root() {
        let permitted = caps::read(None, CapSet::Permitted);
        let permitted = permitted.during(|| "read the capabilities".into())?;
        granted.intersection(&permitted).copied().collect()
    } else {
        HashSet::new()
    };
    caps::clear(None, CapSet::Ambient)
        .and_then(|()| caps::clear(None, CapSet::Inheritable))
        .and_then(|()| caps::set(None, CapSet::Effective, &kept))
        .and_then(|()| caps::set(None, CapSet::Permitted, &kept))
        .during(|| "drop capabilities".into())?;
    if !spec.allow_privilege_escalation {
        prctl::set_no_new_privs().during(|| "set no_new_privs".into())?;
        install(&seccomp)?;
    }
    // ANCHOR_END: user
    chdir(&spec.working_dir)
        .during(|| format!("enter the working directory {}", spec.working_dir.display()))?;
    sys::close_on_exec_from(3).during(|| "close descriptors".into())?;

    let env = spec
        .env
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")));
    let search = spec
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or("", |(_, path)| path.as_str());
    Ok(Settings {
        env: env
            .collect::<Result<_, _>>()
            .during(|| "set the environment".into())?,
        search: std::env::split_paths(search).collect(),
    })
}

fn install(seccomp: &[BpfProgram]) -> Step<()> {
    for filter in seccomp {
        sys::install_seccomp_filter(filter).during(|| "install the seccomp filter".into())?;
    }
    Ok(())
}

/// To the kernel, every user of this pod is the same one. A user namespace inside the pod's calls
/// it by the id that the manifest wants.
fn enter_own_user_namespace(spec: &ContainerSpec) -> Step<()> {
    let write = |file: &str, content: String| fs::write(format!("/proc/self/{file}"), content);
    let dumpable = |value| prctl::set_dumpable(value).map_err(io::Error::from);
    unshare(CloneFlags::CLONE_NEWUSER).during(|| "make a user namespace for the user".into())?;
    // Its files in `/proc` belong to this process only as long as others may look into it.
    dumpable(true)
        .and_then(|()| write("setgroups", "deny".to_owned()))
        .and_then(|()| write("gid_map", format!("{} 0 1", spec.gid)))
        .and_then(|()| write("uid_map", format!("{} 0 1", spec.uid)))
        .and_then(|()| dumpable(false))
        .during(|| format!("map user {} and group {}", spec.uid, spec.gid))
}

/// What protects the machine where no cgroup does.
fn limit_resources() -> Step<()> {
    for (resource, limit) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NPROC, 1024),
        (Resource::RLIMIT_DATA, 2 << 30),
    ] {
        // Nobody may raise what the harness itself was given.
        let (_, hard) = getrlimit(resource).during(|| format!("read {resource:?}"))?;
        let limit = hard.min(limit);
        setrlimit(resource, limit, limit).during(|| format!("set {resource:?}"))?;
    }
    Ok(())
}

/// Becomes the program: returns only if that fails.
pub(super) fn exec(command: &[String], settings: &Settings) -> Step<std::convert::Infallible> {
    let program = &command[0];
    let attempt = || -> io::Result<std::convert::Infallible> {
        let arguments = command
            .iter()
            .map(|word| CString::new(word.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let candidates = if program.contains('/') {
            vec![PathBuf::from(program)]
        } else {
            settings
                .search
                .iter()
                .map(|folder| folder.join(program))
                .collect()
        };
        let mut last = nix::Error::ENOENT;
        for candidate in candidates {
            let Err(error) = execve(&c_path(&candidate)?, &arguments, &settings.env);
            // As a shell does: what is found but may not be run is worth telling more than that
            // nothing was found in the next folder.
            if error != nix::Error::ENOENT || last == nix::Error::ENOENT {
                last = error;
            }
        }
        Err(last.into())
    };
    attempt().during(|| format!("run {program}"))
}
