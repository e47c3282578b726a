//! The system calls that no safe library offers: the only `unsafe` code of the workbook.
#![expect(unsafe_code, reason = "each block says why it is sound")]

use std::ffi::CStr;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes ownership of a descriptor that the kernel has put into this process.
pub(super) fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: callers pass descriptors that a system call has just made for this process
    // (`SCM_RIGHTS`, or a raw system call below), so nobody else owns them.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Makes a socket one that tasks can wait for.
pub(super) fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` refers to the same open descriptor as long as it lives, and `AsyncFd`
    // owns it.
    Ok(
        unsafe {
            AsyncFd::register_with_interest(socket, Interest::READABLE | Interest::WRITABLE)
        }?,
    )
}

/// Which side of a fork this is.
pub(super) enum Fork {
    /// The process that called; the other one's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// `clone3(2)` without a stack of its own: a fork that also makes namespaces.
///
/// `flags` are `CLONE_NEW…` flags.
// ANCHOR: clone3
pub(super) fn clone3(flags: i32) -> io::Result<Fork> {
    // SAFETY: every field of `clone_args` may be zero.
    let mut arguments: libc::clone_args = unsafe { zeroed() };
    arguments.flags = u64::from(flags.cast_unsigned());
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without `CLONE_VM` the child has a copy of this process's memory,
    // as after `fork(2)`. The supervisor is single-threaded, so no lock is held
    // by a thread that the copy lacks, and the child may run any code.
    match unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(pid as i32))),
    }
}
// ANCHOR_END: clone3

/// Opens a process as a descriptor, for `setns(2)`.
pub(super) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(own(result as RawFd))
    }
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Opens `path` below `root` as a place (`O_PATH`): with `RESOLVE_IN_ROOT` as a process whose
/// root it is would see it, with `RESOLVE_BENEATH` refusing whatever leads out.
pub(super) fn open_below(root: BorrowedFd<'_>, path: &CStr, resolve: u64) -> io::Result<OwnedFd> {
    // SAFETY: every field of `open_how` may be zero.
    let mut how: libc::open_how = unsafe { zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = resolve | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `path` ends with a zero byte, and `how` lives during the call.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })
}

/// A copy of the mount at `place`, and of what is mounted below it, not attached anywhere yet.
pub(super) fn copy_mount(place: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        libc::OPEN_TREE_CLONE as i32 | libc::O_CLOEXEC | libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string.
    descriptor(unsafe {
        libc::syscall(libc::SYS_open_tree, place.as_raw_fd(), c"".as_ptr(), flags)
    })
}

/// Makes a mount, and what is mounted below it, read-only.
pub(super) fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: every field of `mount_attr` may be zero.
    let mut attributes: libc::mount_attr = unsafe { zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_RDONLY;
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string, and `attributes` lives during the call.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}

/// Attaches a mount that [`copy_mount`] made at `place`.
pub(super) fn attach_mount(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to) = (mount.as_raw_fd(), place.as_raw_fd());
    // SAFETY: both paths are empty C strings.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            c"".as_ptr(),
            to,
            c"".as_ptr(),
            flags,
        )
    })
}

/// Marks every descriptor from `first` on as one that `execve(2)` closes.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: the call closes nothing now, so no descriptor in use becomes invalid.
    done(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
}

/// Closes every descriptor from `first` on, whoever owns it: for a process that does nothing more
/// than wait.
pub(super) fn close_all_from(first: u32) -> io::Result<()> {
    // SAFETY: the caller uses no descriptor after this.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Sets every signal to its default action, as a program expects at its start: Rust's runtime
/// ignores SIGPIPE, and `execve(2)` keeps what is ignored.
pub(super) fn reset_signal_actions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action needs no handler. SIGKILL, SIGSTOP and the two that the C
        // library keeps for itself are refused, which changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Gives this process a keyring of its own, an empty one: it inherits that of whoever logged in,
/// with all the keys in it, and no namespace keeps them from it.
pub(super) fn leave_session_keyring() -> io::Result<()> {
    // SAFETY: no name is passed.
    done(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    })
}

/// Filters this process's system calls from now on. It must have `no_new_privs` or be allowed to
/// administer its user namespace.
pub(super) fn install_seccomp_filter(filter: &[seccompiler::sock_filter]) -> io::Result<()> {
    let length = filter.len().try_into().map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: both `sock_filter` types have the kernel's layout, the kernel copies the program
    // and does not write to it, and it lives during the call.
    done(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
}

/// Brings the loopback interface up, and gives it `address` besides 127.0.0.1.
///
/// An address on `lo` is all that a pod needs to have one of its own: what listens on 127.0.0.1
/// cannot be reached at it.
// ANCHOR: loopback
pub(super) fn bring_up_loopback(address: Ipv4Addr) -> io::Result<()> {
    let control = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut up = interface(c"lo");
    up.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    configure(
        control.as_fd(),
        libc::SIOCSIFFLAGS as libc::c_ulong,
        &mut up,
    )?;
    for (request, value) in [
        (libc::SIOCSIFADDR, address),
        (libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST),
    ] {
        let mut second = interface(c"lo:pod");
        second.ifr_ifru.ifru_addr = socket_address(value);
        configure(control.as_fd(), request as libc::c_ulong, &mut second)?;
    }
    Ok(())
}
// ANCHOR_END: loopback

fn interface(name: &CStr) -> libc::ifreq {
    // SAFETY: every field of `ifreq` may be zero.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *place = byte.cast_signed();
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let internet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: `sockaddr_in` is one form of `sockaddr`, and has the same size.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(internet) }
}

fn configure(
    control: BorrowedFd<'_>,
    request: libc::c_ulong,
    interface: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: these requests read an `ifreq`, which lives during the call.
    done(
        unsafe {
            libc::ioctl(
                control.as_raw_fd(),
                request as _,
                std::ptr::from_mut(interface),
            )
        }
        .into(),
    )
}
