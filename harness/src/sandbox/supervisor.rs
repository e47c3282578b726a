//! A pod is what this process holds: the namespaces that its containers share.
//!
//! The harness runs its own program again, and that program becomes the pod's first process: it
//! unshares a user, mount, network, IPC, host name and PID namespace, and from then on starts
//! containers as it is told. It ends when the harness does, however that ends, and the kernel
//! ends with it every process of the pod and forgets every mount, so nothing is left to clean up.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::exit;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statvfs::statvfs;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{
    Gid, Pid, Uid, chdir, dup2_stdin, pivot_root, setgroups, sethostname, setresgid, setresuid,
};

use super::container::{self, DuringStep, Plan, Step};
use super::protocol::{Answer, PodSpec, Reply, Request, receive_request, send_reply};
use super::sys;
use crate::kubelet::runtime::{StartError, VolumeFile, VolumeSpec};

/// Where the supervisor keeps the root filesystems of containers.
pub(super) const ROOTS: &str = "/containers";
/// Where it keeps volumes.
const VOLUMES: &str = "/volumes";
/// The pod's shared memory, every container's `/dev/shm`.
pub(super) const SHM: &str = "/shm";
/// An empty folder, put over what a container must not see.
pub(super) const EMPTY: &str = "/empty";
/// The machine's devices that a container has.
pub(super) const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

/// The folder that holds a volume.
pub(super) fn volume(name: &str) -> PathBuf {
    Path::new(VOLUMES).join(name)
}

/// The pod, as its containers are given it.
pub(super) struct Pod {
    pub(super) spec: PodSpec,
    /// Whether the kernel let the pod have a `/proc` of its own.
    pub(super) own_proc: bool,
}

/// Runs the supervisor of one pod, on the control socket that is its standard input.
///
/// Must be called while the process has a single thread.
pub(super) fn run() -> ! {
    // What whoever started the harness has left open is no business of a pod.
    let _ = sys::close_all_from(3);
    // What process lists show besides the arguments.
    let _ = prctl::set_name(c"pause");
    // The containers inherit standard input, and must not inherit this.
    let control = io::stdin().as_fd().try_clone_to_owned();
    let nothing = File::open("/dev/null").map(dup2_stdin);
    let (Ok(socket), Ok(Ok(()))) = (control, nothing) else {
        exit(2)
    };
    // Without a parent there is nobody to tell, and nothing has been made yet.
    let Ok(spec) = become_pod(&socket) else {
        exit(1)
    };
    let code = match sys::clone3(0) {
        Ok(sys::Fork::Parent(first)) => {
            drop(socket);
            // The pod's PID namespace lives as long as its first process. This one only waits, so
            // that the harness sees the end of the pod as the end of its own child.
            loop {
                match waitpid(first, None) {
                    Err(nix::Error::EINTR) => {}
                    _ => break 0,
                }
            }
        }
        Ok(sys::Fork::Child) => first_process(&socket, spec),
        Err(error) => {
            let _ = answer_begin(&socket, Err(error).during(|| "fork into the pod".into()));
            1
        }
    };
    exit(code)
}

/// Is PID 1 of the pod. Returns its exit code.
// ANCHOR: first-process
fn first_process(socket: &OwnedFd, spec: PodSpec) -> i32 {
    let pod = prepare(spec);
    // From here on no process of the pod can look into this one, whatever
    // rights the manifest gives it: its program is a file of the machine.
    let _ = prctl::set_dumpable(false);
    let begun = pod.as_ref().map(|pod| pod.own_proc);
    let told = answer_begin(socket, begun.map_err(Clone::clone));
    match (pod, told) {
        (Ok(pod), Ok(())) => serve(socket, &pod),
        _ => 1,
    }
}
// ANCHOR_END: first-process

/// Tells the harness whether the pod has begun, and whether it has a `/proc` of its own.
fn answer_begin(socket: &OwnedFd, begun: Step<bool>) -> io::Result<()> {
    let answer = begun.map(|own_proc| Answer::Begun { own_proc });
    send_reply(socket.as_fd(), &Reply::Answer { number: 0, answer }, None)
}

/// Leaves the namespaces of the machine. What fails is told to the harness, by its step.
fn become_pod(socket: &OwnedFd) -> Result<PodSpec, ()> {
    let refuse = |error: StartError| {
        // Without a parent there is nobody to tell.
        let _ = answer_begin(socket, Err(error));
        Err(())
    };

    let left = match sys::leave_session_keyring() {
        // Where the calls for keys are forbidden, they are forbidden to the containers too.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => Ok(()),
        left => left.during(|| "leave the session's keyring".into()),
    };
    // ANCHOR: unshare-user
    // In a user namespace of its own this process may do all the rest,
    // whoever started it.
    let left = left.and_then(|()| {
        let unshared = unshare(CloneFlags::CLONE_NEWUSER);
        unshared.during(|| "unshare the user namespace".into())
    });
    if let Err(error) = left {
        return refuse(error);
    }
    send_reply(socket.as_fd(), &Reply::Unshared, None).map_err(|_| ())?;
    // The harness has written the id maps when it sends this.
    let Ok(Some((request, _))) = receive_request(socket.as_fd()) else {
        return Err(());
    };
    // ANCHOR_END: unshare-user
    let Request::Begin(spec) = request.body else {
        return Err(());
    };
    match become_root().and_then(|()| unshare_the_rest()) {
        Ok(()) => Ok(spec),
        Err(error) => refuse(error),
    }
}

/// Takes the ids that the user namespace calls root's.
fn become_root() -> Step<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    // Denied to whoever has a single id.
    let _ = setgroups(&[]);
    setresgid(gid, gid, gid)
        .and_then(|()| setresuid(uid, uid, uid))
        .during(|| "become root of the user namespace".into())
}

// ANCHOR: unshare-rest
fn unshare_the_rest() -> Step<()> {
    let rest = CloneFlags::CLONE_NEWNS // mounts
        | CloneFlags::CLONE_NEWNET // network
        | CloneFlags::CLONE_NEWIPC // shared memory, message queues
        | CloneFlags::CLONE_NEWUTS // host name
        | CloneFlags::CLONE_NEWCGROUP // cgroups
        | CloneFlags::CLONE_NEWPID; // process ids, for its children
    unshare(rest).during(|| {
        "unshare the mount, network, IPC, host name, cgroup and PID \
         namespaces"
            .into()
    })
}
// ANCHOR_END: unshare-rest

/// Furnishes the namespaces: a root of its own, an address, a host name.
// ANCHOR: prepare
fn prepare(spec: PodSpec) -> Step<Pod> {
    let own_proc = enter_own_root()?;
    let up = sys::bring_up_loopback(spec.ip);
    up.during(|| format!("give the pod its address {}", spec.ip))?;
    // As container runtimes set it: a pod's ports are its own, so none of
    // them is privileged.
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    // Inside some containers the host name cannot be set; nothing depends
    // on it.
    let _ = sethostname(&spec.hostname);
    Ok(Pod { spec, own_proc })
}
// ANCHOR_END: prepare

/// Makes a root filesystem in memory and moves into it; the machine's files are gone after this,
/// but for a few devices. Returns whether `/proc` is a new one.
fn enter_own_root() -> Step<bool> {
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).during(|| "make the mounts private".into())?;

    // Any folder does to mount on.
    let base = ["/tmp", "/var", "/usr"]
        .into_iter()
        .map(Path::new)
        .find(|folder| folder.is_dir());
    let base = base
        .ok_or("the machine has no /tmp")
        .during(|| "mount the pod's root".into())?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = container::tmpfs_options(16 << 20, 0o755);
    mount(
        Some("tmpfs"),
        base,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .during(|| "mount the pod's root".into())?;
    chdir(base).during(|| "enter the pod's root".into())?;
    for folder in [
        "containers",
        "dev",
        "empty",
        "machine",
        "proc",
        "shm",
        "sys",
        "volumes",
    ] {
        fs::create_dir(folder).during(|| format!("make /{folder}"))?;
    }
    for device in DEVICES {
        let place = Path::new("dev").join(device);
        File::create(&place).during(|| format!("make /dev/{device}"))?;
        mount(
            Some(&Path::new("/dev").join(device)),
            &place,
            none,
            MsFlags::MS_BIND,
            none,
        )
        .during(|| format!("bind /dev/{device}"))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let own_proc = mount(Some("proc"), "proc", Some("proc"), flags, none).is_ok();
    if !own_proc {
        let all = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some("/proc"), "proc", none, all, none)
            .during(|| "bind the machine's /proc".into())?;
    }
    // Refused where the machine's is covered; programs can do without.
    let _ = mount(
        Some("sysfs"),
        "sys",
        Some("sysfs"),
        flags | MsFlags::MS_RDONLY,
        none,
    );
    let options = container::tmpfs_options(64 << 20, 0o1777);
    mount(
        Some("tmpfs"),
        "shm",
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .during(|| "mount /shm".into())?;

    pivot_root(".", "machine")
        .and_then(|()| chdir("/"))
        .and_then(|()| umount2("/machine", MntFlags::MNT_DETACH))
        .during(|| "leave the machine's root".into())?;
    Ok(own_proc)
}

/// The processes that the harness knows by name.
#[derive(Default)]
struct Processes {
    pids: HashMap<String, Pid>,
    names: HashMap<Pid, String>,
    plans: HashMap<String, Plan>,
    /// The mount namespace of each container, by its number.
    mounts: HashMap<String, u64>,
    /// What a process writes to that moves into the cgroup of a container.
    cgroups: HashMap<String, File>,
    /// The user namespace of each user and group that needs one. Containers of one user are in the
    /// same: to the kernel, two users of two namespaces are never one.
    users: HashMap<(u32, u32), File>,
}

/// Does what the harness asks until it is gone.
fn serve(socket: &OwnedFd, pod: &Pod) -> i32 {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let Ok(signals) = children
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&children, flags))
    else {
        return 1;
    };
    let mut processes = Processes::default();
    loop {
        let mut ready = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            Err(_) => return 1,
            Ok(_) => {}
        }
        let [asked, ended] = ready.map(|entry| entry.any().unwrap_or(false));
        if ended {
            while let Ok(Some(_)) = signals.read_signal() {}
            if reap(socket, pod, &mut processes).is_err() {
                return 0;
            }
        }
        if asked {
            // ANCHOR: hang-up
            // The harness is gone: so is the pod.
            let Ok(Some((request, descriptors))) = receive_request(socket.as_fd()) else {
                return 0;
            };
            // ANCHOR_END: hang-up
            let number = request.number;
            let (answer, descriptor) = match answer(request.body, descriptors, pod, &mut processes)
            {
                Ok((answer, descriptor)) => (Ok(answer), descriptor),
                Err(error) => (Err(error), None),
            };
            let reply = Reply::Answer { number, answer };
            if send_reply(socket.as_fd(), &reply, descriptor.as_ref().map(AsFd::as_fd)).is_err() {
                return 0;
            }
        }
    }
}

/// Tells the harness which of its processes have ended. A PID 1 also inherits and buries the
/// orphans of the pod: it does so before it tells of the container that they were from.
fn reap(socket: &OwnedFd, pod: &Pod, processes: &mut Processes) -> io::Result<()> {
    let mut ended = Vec::new();
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => break,
            Ok(_) | Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let Some(id) = processes.names.remove(&pid) else {
            continue;
        };
        processes.pids.remove(&id);
        let mounts = processes.mounts.remove(&id);
        if pod.spec.share_process_namespace && pod.own_proc {
            // The kernel ends what is left of a PID namespace; here there is none to end.
            mounts.into_iter().for_each(end_all_in);
        }
        if processes.plans.remove(&id).is_some() {
            let _ = fs::remove_dir(Path::new(ROOTS).join(&id));
        }
        processes.cgroups.remove(&id);
        ended.push(Reply::Exited { id, code });
    }
    ended
        .iter()
        .try_for_each(|reply| send_reply(socket.as_fd(), reply, None))
}

/// Kills every process of a container, by the mount namespace that they have in common, and
/// returns when all have ended.
fn end_all_in(mounts: u64) {
    let processes = || {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.map(Pid::from_raw)
            .filter(move |pid| mount_namespace(&pid.to_string()).is_ok_and(|other| other == mounts))
    };
    // One that ends has left its namespaces before it has ended, and only then can be buried.
    let mut killed = HashSet::new();
    // One that was about to have a child when it was seen is seen again.
    loop {
        let mut left = false;
        for pid in processes() {
            left = true;
            let _ = kill(pid, Signal::SIGKILL);
            killed.insert(pid);
        }
        killed.retain(|pid| !has_ended(*pid));
        if !left && killed.is_empty() {
            break;
        }
        std::thread::yield_now();
    }
}

/// Whether a process is gone, or waits to be buried: proc_pid_stat(5) has its state after its
/// name, which is in brackets and may hold some.
fn has_ended(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        let state = stat.rsplit_once(") ").map(|(_, fields)| fields);
        state.is_none_or(|fields| fields.starts_with(['Z', 'X']))
    })
}

fn mount_namespace(process: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{process}/ns/mnt"))?.ino())
}

type Answered = Step<(Answer, Option<OwnedFd>)>;

fn answer(
    request: Request,
    mut descriptors: Vec<OwnedFd>,
    pod: &Pod,
    processes: &mut Processes,
) -> Answered {
    let done = |()| (Answer::Done, None);
    let mut next = || {
        let missing = || io::Error::other("a descriptor is missing");
        (!descriptors.is_empty())
            .then(|| descriptors.remove(0))
            .ok_or_else(missing)
            .during(|| "read the request".into())
    };
    match request {
        Request::Begin(_) => Err("the pod has begun already").during(|| "begin".into()),
        Request::Volume(spec) => make_volume(&spec).map(done),
        Request::Files { volume, files } => {
            let files: Vec<_> = files.iter().map(VolumeFile::borrow).collect();
            pause::write(&self::volume(&volume), &files)
                .during(|| format!("write volume {volume}"))
                .map(done)
        }
        Request::Usage { volume } => {
            let filesystem =
                statvfs(&self::volume(&volume)).during(|| format!("measure volume {volume}"))?;
            let used = filesystem.blocks() - filesystem.blocks_free();
            Ok((
                Answer::Usage(used as u64 * filesystem.fragment_size() as u64),
                None,
            ))
        }
        Request::Start(plan) => {
            let (output, archive) = (next()?, File::from(next()?));
            let cgroup = next().ok().map(File::from);
            let ids = (plan.spec.uid, plan.spec.gid);
            let user = processes.users.get(&ids);
            // ANCHOR: start
            let mut own = libc::CLONE_NEWNS;
            if !pod.spec.share_process_namespace {
                own |= libc::CLONE_NEWPID;
            }
            let (pid, mounts) = spawn(own, || {
                let cgroup = cgroup.as_ref();
                let Err(error) = container::run(&plan, pod, archive, cgroup, user, output);
                error
            })?;
            // ANCHOR_END: start
            if plan.own_user_namespace()
                && pod.own_proc
                && user.is_none()
                // One that has ended already has left it.
                && let Ok(user) = File::open(format!("/proc/{pid}/ns/user"))
            {
                processes.users.insert(ids, user);
            }
            processes.add(&plan.spec.id, pid);
            processes.mounts.insert(plan.spec.id.clone(), mounts);
            if let Some(cgroup) = cgroup {
                processes.cgroups.insert(plan.spec.id.clone(), cgroup);
            }
            processes.plans.insert(plan.spec.id.clone(), *plan);
            Ok((Answer::Done, None))
        }
        Request::Exec {
            id,
            container,
            command,
        } => {
            let output = next()?;
            let target = processes.pid(&container)?;
            let plan = processes.plans.get(&container).ok_or("it is no container");
            let plan = plan.during(|| format!("reach {container}"))?.clone();
            let cgroup = processes.cgroups.get(&container);
            let (pid, _) = spawn(0, || {
                let Err(error) = exec_in(&plan, target, cgroup, &command, output);
                error
            })?;
            processes.add(&id, pid);
            Ok((Answer::Done, None))
        }
        Request::Signal { process, signal } => {
            let pid = processes.pid(&process)?;
            let signal = Signal::try_from(signal).during(|| format!("send signal {signal}"))?;
            kill(pid, signal)
                .during(|| format!("send {signal} to {process}"))
                .map(done)
        }
        Request::Socket { ipv6 } => {
            let family = if ipv6 {
                AddressFamily::Inet6
            } else {
                AddressFamily::Inet
            };
            // ANCHOR: socket
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let made = socket(family, SockType::Stream, flags, None);
            let socket = made.during(|| "make a socket".into())?;
            // The answer takes the descriptor along to the harness.
            Ok((Answer::Socket, Some(socket)))
            // ANCHOR_END: socket
        }
    }
}

impl Processes {
    fn add(&mut self, id: &str, pid: Pid) {
        self.pids.insert(id.to_owned(), pid);
        self.names.insert(pid, id.to_owned());
    }

    fn pid(&self, id: &str) -> Step<Pid> {
        self.pids
            .get(id)
            .copied()
            .ok_or("it does not run")
            .during(|| format!("reach {id}"))
    }
}

/// Starts a process that does `work`, and waits until it has become another program. Returns the
/// process and its mount namespace. `work` returns only if it failed, and what it says comes back
/// through a pipe that `execve(2)` closes.
fn spawn(namespaces: i32, work: impl FnOnce() -> StartError) -> Step<(Pid, u64)> {
    let (mut failure, mut tell) = io::pipe().during(|| "make a pipe".into())?;
    match sys::clone3(namespaces).during(|| "clone a process".into())? {
        sys::Fork::Child => {
            drop(failure);
            let mounts = mount_namespace("self").unwrap_or(0);
            let _ = tell.write_all(&mounts.to_ne_bytes());
            let error = work();
            let _ = serde_json::to_writer(tell, &error);
            exit(127)
        }
        sys::Fork::Parent(pid) => {
            drop(tell);
            let (mut mounts, mut said) = ([0; 8], Vec::new());
            failure
                .read_exact(&mut mounts)
                .and_then(|()| failure.read_to_end(&mut said))
                .during(|| "wait for the process".into())?;
            if said.is_empty() {
                return Ok((pid, u64::from_ne_bytes(mounts)));
            }
            let _ = waitpid(pid, None);
            Err(serde_json::from_slice(&said).during(|| "read why the process failed".into())?)
        }
    }
}

/// Runs a program in a container: joins its namespaces, and then does what its first process
/// did. Returns only if that fails.
fn exec_in(
    plan: &Plan,
    container: Pid,
    cgroup: Option<&File>,
    command: &[String],
    output: OwnedFd,
) -> Step<std::convert::Infallible> {
    container::begin_process(output)?;
    // ANCHOR: join
    let mut namespaces = CloneFlags::CLONE_NEWNS;
    namespaces |= CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWCGROUP;
    if plan.own_user_namespace() {
        namespaces |= CloneFlags::CLONE_NEWUSER;
    }
    sys::pidfd(container)
        .and_then(|target| Ok(setns(target, namespaces)?))
        .during(|| "join the container".into())?;
    // ANCHOR_END: join
    // A PID namespace takes in only the children of whoever joins it.
    match sys::clone3(0).during(|| "fork in the container".into())? {
        sys::Fork::Child => {
            cgroup.map_or(Ok(()), container::join_cgroup)?;
            let settings = container::become_user(plan)?;
            // The process that waits for this one stands for it: when it is killed, so is this.
            prctl::set_pdeathsig(Signal::SIGKILL)
                .during(|| "tie the program to its parent".into())?;
            container::exec(command, &settings)
        }
        sys::Fork::Parent(pid) => {
            // Only the program itself may hold the pipes now.
            let _ = sys::close_all_from(0);
            let code = loop {
                match waitpid(pid, None) {
                    Ok(WaitStatus::Exited(_, code)) => break code,
                    Ok(WaitStatus::Signaled(_, signal, _)) => break 128 + signal as i32,
                    Err(nix::Error::EINTR) | Ok(_) => {}
                    Err(_) => break 1,
                }
            };
            exit(code)
        }
    }
}

/// An empty volume: a filesystem of its own, so that its size can be limited and measured.
// ANCHOR: volume
fn make_volume(spec: &VolumeSpec) -> Step<()> {
    let folder = volume(&spec.name);
    let make = || -> io::Result<()> {
        fs::create_dir(&folder)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = container::tmpfs_options(spec.capacity, spec.mode);
        mount(
            Some("tmpfs"),
            &folder,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )?;
        if let Some(group) = spec.group {
            chown(&folder, None, Some(group))?;
            // A change of owner clears the bit that passes the group on.
            fs::set_permissions(&folder, Permissions::from_mode(spec.mode))?;
        }
        Ok(())
    };
    make().during(|| format!("make volume {}", spec.name))
}
// ANCHOR_END: volume
