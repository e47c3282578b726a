//! The pod's first process: it waits, and buries the orphans of a shared process namespace.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Tells the first process that the harness has come.
pub(crate) const ARRIVED: Signal = Signal::SIGUSR1;
/// Tells it to end.
pub(crate) const LEAVE: Signal = Signal::SIGTERM;

/// How long the harness has to come, in milliseconds. It asks for a pod, and may be killed before
/// the pod is there.
const ARRIVAL: u16 = 60_000;

/// Waits until it is told to end, or until nobody has come.
pub(crate) fn run() -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [ARRIVED, LEAVE, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Signals that are blocked wait to be read, also those that a first process would not get.
    signals.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&signals, flags)?;
    let mut limit = PollTimeout::from(ARRIVAL);
    // ANCHOR: hold
    loop {
        let mut ready = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, limit) {
            Ok(0) => return Err(io::Error::other("the harness did not come")),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(signal) = signals.read_signal()? {
            match Signal::try_from(signal.ssi_signo as i32) {
                Ok(ARRIVED) => limit = PollTimeout::NONE,
                Ok(Signal::SIGCHLD) => bury(),
                _ => return Ok(()),
            }
        }
    }
    // ANCHOR_END: hold
}

fn bury() {
    // An error here is that there is nobody.
    while !matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive) | Err(_)
    ) {}
}
