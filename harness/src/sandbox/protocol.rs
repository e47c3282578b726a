//! What the harness and a pod's supervisor say to each other.
//!
//! They share a `SOCK_SEQPACKET` pair: it keeps messages apart, carries file descriptors, and
//! tells each side when the other is gone. A request can be larger than a packet (a ConfigMap
//! holds up to 1 MiB), so it travels in a memory file whose descriptor is the packet; a reply is
//! always small.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::container::Plan;
use crate::kubelet::runtime::{StartError, VolumeFile, VolumeSpec};

/// What the harness asks of a supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Go on: your ids are mapped, and this is the pod.
    Begin(PodSpec),
    /// Make a volume.
    Volume(VolumeSpec),
    /// Replace all files of a volume.
    Files {
        volume: String,
        files: Vec<VolumeFile>,
    },
    /// Tell how many bytes a volume holds.
    Usage { volume: String },
    /// Start a container. Comes with the pipe that it prints to, the image's archive, and, where
    /// limits are enforced, `cgroup.procs` of its cgroup.
    Start(Box<Plan>),
    /// Run a program in a container. Comes with the pipe that it prints to.
    Exec {
        id: String,
        container: String,
        command: Vec<String>,
    },
    /// Signal a process that `Start` or `Exec` started.
    Signal { process: String, signal: i32 },
    /// Make a TCP socket in the pod's network.
    Socket { ipv6: bool },
}

/// What the supervisor needs to know of the pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PodSpec {
    /// The pod's host name.
    pub(super) hostname: String,
    /// The pod's address.
    pub(super) ip: std::net::Ipv4Addr,
    /// The content of every container's `/etc/hosts`.
    pub(super) hosts: String,
    /// Whether the containers see each other's processes.
    pub(super) share_process_namespace: bool,
}

/// A request and its number; the answer bears the same.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) body: T,
}

/// What a supervisor tells the harness.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is alone in a user namespace now, and waits for its ids.
    Unshared,
    /// The answer to the request of that number.
    Answer {
        number: u64,
        answer: Result<Answer, StartError>,
    },
    /// A process that `Start` or `Exec` started has ended, with this code; 128 and the signal's
    /// number where a signal ended it.
    Exited { id: String, code: i32 },
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// The pod is there.
    Begun {
        /// Whether the kernel let it have a `/proc` of its own.
        own_proc: bool,
    },
    /// The socket comes with this packet.
    Socket,
    /// So many bytes.
    Usage(u64),
}

/// The largest packet: a reply, or the few bytes that carry descriptors.
const PACKET: usize = 64 * 1024;
/// The most descriptors that a packet carries: the request, a pipe, an archive, a cgroup.
const DESCRIPTORS: usize = 4;

/// Sends a message that may be of any size.
pub(super) fn send_request(
    socket: BorrowedFd<'_>,
    request: &Numbered<Request>,
    with: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut memory = File::from(memfd_create(c"request", MFdFlags::MFD_CLOEXEC)?);
    serde_json::to_writer(&mut memory, request)?;
    memory.flush()?;
    let mut descriptors = vec![memory.as_fd().as_raw_fd()];
    descriptors.extend(with.iter().map(AsRawFd::as_raw_fd));
    send(socket, b"request", &descriptors)
}

/// Reads a message that [`send_request`] sent, or `None` when the other side is gone.
pub(super) fn receive_request(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(Numbered<Request>, Vec<OwnedFd>)>> {
    let Some((_, mut descriptors)) = receive(socket)? else {
        return Ok(None);
    };
    if descriptors.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a request without its text",
        ));
    }
    let mut memory = File::from(descriptors.remove(0));
    memory.rewind()?;
    let mut text = Vec::new();
    memory.read_to_end(&mut text)?;
    Ok(Some((serde_json::from_slice(&text)?, descriptors)))
}

/// Sends a reply, and a descriptor with it.
pub(super) fn send_reply(
    socket: BorrowedFd<'_>,
    reply: &Reply,
    with: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let descriptors: Vec<_> = with.iter().map(AsRawFd::as_raw_fd).collect();
    send(socket, &serde_json::to_vec(reply)?, &descriptors)
}

/// Reads a reply, or `None` when the other side is gone.
pub(super) fn receive_reply<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let Some((packet, descriptors)) = receive(socket)? else {
        return Ok(None);
    };
    Ok(Some((
        serde_json::from_slice(&packet)?,
        descriptors.into_iter().next(),
    )))
}

fn send(socket: BorrowedFd<'_>, packet: &[u8], descriptors: &[i32]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() {
        &[][..]
    } else {
        &rights
    };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(packet)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::errno::Errno::EINTR) => {}
            sent => return sent.map(|_| ()).map_err(io::Error::from),
        }
    }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut packet = vec![0; PACKET];
    let mut space = nix::cmsg_space!([i32; DESCRIPTORS]);
    let mut buffer = [IoSliceMut::new(&mut packet)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut buffer, Some(&mut space), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            message => break message?,
        }
    };
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            descriptors.extend(received.into_iter().map(super::sys::own));
        }
    }
    let length = message.bytes;
    if length == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    packet.truncate(length);
    Ok(Some((packet, descriptors)))
}
