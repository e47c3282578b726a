//! Tries to get out: each attempt in a process of its own, and a line on what came of each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use io_uring::IoUring;
use linux_keyutils::{KeyRing, KeyRingIdentifier};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::ptrace;
use nix::sys::reboot::set_cad_enabled;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::time::{ClockId, clock_gettime, clock_settime};
use nix::unistd::{Gid, Pid, Uid, chdir, chroot, pivot_root, setgroups, sethostname, setuid};

use crate::files::{error_name, tell};

type Outcome = io::Result<String>;

/// A way out: its name, and how to try it.
type Way = (&'static str, fn() -> Outcome);

/// All that is tried.
const WAYS: &[Way] = &[
    // Files through which root governs the kernel.
    ("write core_pattern", || {
        write_to("/proc/sys/kernel/core_pattern")
    }),
    ("write sysrq-trigger", || write_to("/proc/sysrq-trigger")),
    ("write an interrupt's processors", || {
        write_to("/proc/irq/default_smp_affinity")
    }),
    ("write a network setting", || {
        write_to("/proc/sys/net/ipv4/ip_forward")
    }),
    ("write to /sys", write_below_sys),
    ("make a cgroup", || {
        done(fs::create_dir("/sys/fs/cgroup/way-out"))
    }),
    ("read kcore", || read_from("/proc/kcore")),
    ("read keys", || read_from("/proc/keys")),
    ("read timer_list", || read_from("/proc/timer_list")),
    ("read kmsg", || read_from("/proc/kmsg")),
    ("open /dev/kmsg", || write_to("/dev/kmsg")),
    ("open /dev/mem", || read_from("/dev/mem")),
    // Mounts.
    ("mount tmpfs", || {
        alone(|| mounted("tmpfs", "/dev/shm", Some("tmpfs"), MsFlags::empty()))
    }),
    ("mount sysfs", || {
        alone(|| mounted("sysfs", "/dev/shm", Some("sysfs"), MsFlags::empty()))
    }),
    ("mount a disk", || {
        alone(|| mounted("/dev/vda", "/dev/shm", Some("ext4"), MsFlags::empty()))
    }),
    ("bind the root", || {
        alone(|| mounted("/", "/dev/shm", None, MsFlags::MS_BIND))
    }),
    ("make the root writable", || {
        alone(|| mounted("none", "/", None, MsFlags::MS_REMOUNT | MsFlags::MS_BIND))
    }),
    ("make /proc/sys writable, write core_pattern", || {
        alone(|| {
            mounted(
                "none",
                "/proc/sys",
                None,
                MsFlags::MS_REMOUNT | MsFlags::MS_BIND,
            )
        })
        .and_then(|_| write_to("/proc/sys/kernel/core_pattern"))
    }),
    ("make /sys writable", || {
        alone(|| mounted("none", "/sys", None, MsFlags::MS_REMOUNT | MsFlags::MS_BIND))
    }),
    ("take a mask away, read keys", || {
        alone(|| done(umount2("/proc/keys", MntFlags::MNT_DETACH)))
            .and_then(|_| read_from("/proc/keys"))
    }),
    ("take a mask away, write core_pattern", || {
        alone(|| done(umount2("/proc/sys", MntFlags::MNT_DETACH)))
            .and_then(|_| write_to("/proc/sys/kernel/core_pattern"))
    }),
    ("another proc, write core_pattern", || {
        alone(|| mounted("proc", "/dev/shm", Some("proc"), MsFlags::empty()))
            .and_then(|_| write_to("/dev/shm/sys/kernel/core_pattern"))
    }),
    ("another proc, write sysrq-trigger", || {
        alone(|| mounted("proc", "/dev/shm", Some("proc"), MsFlags::empty()))
            .and_then(|_| write_to("/dev/shm/sysrq-trigger"))
    }),
    ("take /proc away", || {
        alone(|| done(umount2("/proc", MntFlags::MNT_DETACH)))
    }),
    ("change the root", || done(chroot("/dev"))),
    ("turn the root", || {
        alone(|| done(chdir("/dev/shm").and_then(|()| pivot_root(".", "."))))
    }),
    ("make a disk", || {
        device("/dev/shm/disk", SFlag::S_IFBLK, 8, 0)
    }),
    ("make a device of memory", || {
        device("/dev/shm/memory", SFlag::S_IFCHR, 1, 1)
    }),
    // Namespaces.
    ("new user namespace", || {
        done(unshare(CloneFlags::CLONE_NEWUSER))
    }),
    ("new mount namespace", || {
        done(unshare(CloneFlags::CLONE_NEWNS))
    }),
    ("new PID namespace", || {
        done(unshare(CloneFlags::CLONE_NEWPID))
    }),
    ("new network namespace", || {
        done(unshare(CloneFlags::CLONE_NEWNET))
    }),
    ("new IPC namespace", || {
        done(unshare(CloneFlags::CLONE_NEWIPC))
    }),
    ("new UTS namespace", || {
        done(unshare(CloneFlags::CLONE_NEWUTS))
    }),
    ("new cgroup namespace", || {
        done(unshare(CloneFlags::CLONE_NEWCGROUP))
    }),
    ("join a mount namespace", || join("mnt")),
    ("join a user namespace", || join("user")),
    ("join a network namespace", || join("net")),
    // Processes.
    ("trace the first process", trace_the_first),
    ("kill the first process", || {
        done(kill(Pid::from_raw(1), None))
    }),
    ("the first process's root", || {
        of_the_first(|| list_names("/proc/1/root"))
    }),
    ("the first process's files", || {
        of_the_first(|| list_names("/proc/1/fd"))
    }),
    ("the first process's program", || {
        of_the_first(|| Ok(fs::read_link("/proc/1/exe")?.display().to_string()))
    }),
    ("the first process's memory", || {
        of_the_first(|| read_from("/proc/1/mem"))
    }),
    ("the first process's environment", || {
        of_the_first(|| read_from("/proc/1/environ"))
    }),
    ("inherited descriptors", inherited_descriptors),
    // The kernel.
    ("restart the machine", || done(set_cad_enabled(false))),
    ("name the machine", || done(sethostname("way-out"))),
    ("load a module", || done(nix::kmod::init_module(&[], c""))),
    ("set the clock", || {
        done(
            clock_gettime(ClockId::CLOCK_REALTIME)
                .and_then(|now| clock_settime(ClockId::CLOCK_REALTIME, now)),
        )
    }),
    ("raise a limit", raise_a_limit),
    ("io_uring", || IoUring::new(2).map(|_| "done".to_owned())),
    ("keys of the session", keys_of_the_session),
    // The network.
    ("raw socket", || {
        open_socket(AddressFamily::Inet, SockType::Raw, Some(SockProtocol::Icmp))
    }),
    ("packet socket", || {
        open_socket(AddressFamily::Packet, SockType::Raw, None)
    }),
    ("vsock", || {
        open_socket(AddressFamily::Vsock, SockType::Stream, None)
    }),
    ("crypto socket", || {
        open_socket(AddressFamily::Alg, SockType::SeqPacket, None)
    }),
    // Rights.
    ("become root", || done(setuid(Uid::from_raw(0)))),
    ("join root's group", || done(setgroups(&[Gid::from_raw(0)]))),
    ("write to the root", || done(File::create("/way-out"))),
    ("write the program", || write_to("/proc/self/exe")),
    ("write /etc/hosts", || write_to("/etc/hosts")),
    // Once more, with all rights in a user namespace of its own.
    ("inside: write core_pattern", || {
        inside(|| write_to("/proc/sys/kernel/core_pattern"))
    }),
    ("inside: make the root writable", || {
        inside(|| mounted("none", "/", None, MsFlags::MS_REMOUNT | MsFlags::MS_BIND))
    }),
    ("inside: make /proc/sys writable", || {
        inside(|| {
            mounted(
                "none",
                "/proc/sys",
                None,
                MsFlags::MS_REMOUNT | MsFlags::MS_BIND,
            )
        })
    }),
    ("inside: take a mask away", || {
        inside(|| done(umount2("/proc/keys", MntFlags::MNT_DETACH)))
    }),
    ("inside: take /proc away", || {
        inside(|| done(umount2("/proc", MntFlags::MNT_DETACH)))
    }),
    ("inside: make a disk", || {
        inside(|| device("/dev/shm/disk", SFlag::S_IFBLK, 8, 0))
    }),
    ("inside: the first process's root", || {
        inside(|| of_the_first(|| list_names("/proc/1/root")))
    }),
];

/// Tries all ways, or those whose name contains one of `only`.
pub(crate) fn all(only: &[&str]) {
    for (name, _) in WAYS
        .iter()
        .filter(|(name, _)| only.is_empty() || only.iter().any(|part| name.contains(part)))
    {
        let attempt = Command::new("/proc/self/exe")
            .args(["attempt", name])
            .status();
        match attempt.map(|status| status.signal()) {
            Ok(None) => {}
            Ok(Some(signal)) => println!("{name}: ended by signal {signal}"),
            Err(error) => println!("{name}: cannot be tried, {}", error_name(&error)),
        }
    }
}

/// Tries one way.
pub(crate) fn attempt(name: &str) {
    match WAYS.iter().find(|(other, _)| *other == name) {
        Some((_, way)) => tell(name, way()),
        None => println!("{name}: no such way"),
    }
}

/// Looks for texts of the machine in all that `/proc` tells: paths, names. They are given
/// backwards, so that they do not find themselves.
pub(crate) fn look_for(reversed: &[&str]) {
    let texts: Vec<String> = reversed
        .iter()
        .map(|text| text.chars().rev().collect())
        .collect();
    let mut found = Vec::new();
    let mut look = |place: &Path, content: &[u8]| {
        let content = String::from_utf8_lossy(content);
        for text in texts.iter().filter(|text| content.contains(*text)) {
            found.push(format!("{text} in {}", place.display()));
        }
    };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        for file in [
            "cmdline",
            "comm",
            "environ",
            "maps",
            "mountinfo",
            "mounts",
            "cgroup",
            "status",
        ] {
            let place = process.path().join(file);
            look(&place, &fs::read(&place).unwrap_or_default());
        }
        for link in ["exe", "cwd", "root"] {
            let place = process.path().join(link);
            look(
                &place,
                fs::read_link(&place)
                    .unwrap_or_default()
                    .as_os_str()
                    .as_encoded_bytes(),
            );
        }
        for descriptor in fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let place = descriptor.path();
            look(
                &place,
                fs::read_link(&place)
                    .unwrap_or_default()
                    .as_os_str()
                    .as_encoded_bytes(),
            );
        }
    }
    for place in [
        "/proc/swaps",
        "/proc/partitions",
        "/proc/keys",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ] {
        look(Path::new(place), &fs::read(place).unwrap_or_default());
    }
    println!(
        "found: {}",
        if found.is_empty() {
            "nothing".to_owned()
        } else {
            found.join(", ")
        }
    );
}

fn done<T, E: Into<io::Error>>(result: Result<T, E>) -> Outcome {
    result.map(|_| "done".to_owned()).map_err(Into::into)
}

/// Opens a file for writing, and writes nothing.
fn write_to(path: &str) -> Outcome {
    done(OpenOptions::new().write(true).open(path))
}

fn read_from(path: &str) -> Outcome {
    let mut content = [0; 64];
    let read = File::open(path)?.read(&mut content)?;
    Ok(format!("{read} bytes"))
}

fn write_below_sys() -> Outcome {
    let mut last = Err(io::ErrorKind::NotFound.into());
    for entry in fs::read_dir("/sys/kernel")?.flatten() {
        let path = entry.path();
        if path.is_file() {
            last = done(OpenOptions::new().write(true).open(&path));
            if last.is_ok() {
                return Ok(path.display().to_string());
            }
        }
    }
    last
}

fn mounted(source: &str, target: &str, kind: Option<&str>, flags: MsFlags) -> Outcome {
    done(mount(Some(source), target, kind, flags, None::<&str>))
}

/// Makes a device, and opens it.
fn device(path: &str, kind: SFlag, major: u64, minor: u64) -> Outcome {
    mknod(
        path,
        kind,
        Mode::S_IRUSR | Mode::S_IWUSR,
        makedev(major, minor),
    )?;
    let opened = File::open(path);
    fs::remove_file(path)?;
    opened.map(|_| "opened".to_owned())
}

fn join(kind: &str) -> Outcome {
    let namespace = File::open(format!("/proc/1/ns/{kind}"))?;
    done(setns(namespace.as_fd(), CloneFlags::empty()))
}

/// Does something to mounts, where possible in a way that no later attempt sees.
fn alone(attempt: impl FnOnce() -> Outcome) -> Outcome {
    // Who may not do this may not change mounts either.
    let _ = unshare(CloneFlags::CLONE_NEWNS);
    attempt()
}

/// Whether the first process that can be seen is the pod's own, which containers share with it
/// when they share their processes. Otherwise it is this container's.
fn sees_the_pod() -> bool {
    fs::read("/proc/1/cmdline").is_ok_and(|line| line.starts_with(b"pause"))
}

fn of_the_first(attempt: impl FnOnce() -> Outcome) -> Outcome {
    if sees_the_pod() {
        attempt()
    } else {
        Ok("of this container".to_owned())
    }
}

fn trace_the_first() -> Outcome {
    of_the_first(|| done(ptrace::attach(Pid::from_raw(1))))
}

fn list_names(path: &str) -> Outcome {
    crate::files::list(path)
}

fn inherited_descriptors() -> Outcome {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let number: i32 = entry.file_name().to_string_lossy().parse().unwrap_or(-1);
        // The folder that is being read is open too.
        if let Ok(target) = fs::read_link(entry.path())
            && number > 2
            && !target.to_string_lossy().ends_with("/fd")
        {
            found.push(format!("{number} {}", target.display()));
        }
    }
    Ok(if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(", ")
    })
}

fn raise_a_limit() -> Outcome {
    let (_, hard) = getrlimit(Resource::RLIMIT_NPROC)?;
    done(setrlimit(Resource::RLIMIT_NPROC, hard + 1, hard + 1))
}

/// The keys that the session holds in which the harness was started.
fn keys_of_the_session() -> Outcome {
    use linux_keyutils::KeyError;
    use nix::errno::Errno;
    let error = |error: KeyError| match error {
        KeyError::AccessDenied => Errno::EACCES.into(),
        KeyError::PermissionDenied => Errno::EPERM.into(),
        KeyError::KeyDoesNotExist => Errno::ENOKEY.into(),
        other => io::Error::other(format!("{other:?}")),
    };
    let ring = KeyRing::from_special_id(KeyRingIdentifier::Session, false).map_err(error)?;
    let key = ring.search("workbook-test").map_err(error)?;
    let content = key.read_to_vec().map_err(error)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

fn open_socket(family: AddressFamily, kind: SockType, protocol: Option<SockProtocol>) -> Outcome {
    done(socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol))
}

/// Makes a user namespace in which this process has every right, and tries from there.
fn inside(attempt: impl FnOnce() -> Outcome) -> Outcome {
    let (user, group) = (Uid::current(), Gid::current());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    attempt()
}
