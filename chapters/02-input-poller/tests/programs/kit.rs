//! Starts a program as a container would be started, and speaks with it from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

/// How long a test waits for what must come. It never decides a verdict on a healthy program,
/// however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running program and the lines that it prints.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts the program at `path` with these settings, and no others.
    pub(crate) fn start(path: &str, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(path)
            .env_clear()
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        send_lines(child.stdout.take().unwrap(), sender.clone());
        send_lines(child.stderr.take().unwrap(), sender);
        Self { child, lines }
    }

    /// The next line that the program prints.
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the program prints nothing"),
            Err(RecvTimeoutError::Disconnected) => panic!("the program prints no more"),
        }
    }

    /// Waits until the program prints this line, and returns those that came before it.
    pub(crate) fn wait_for(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(
                Instant::now() < deadline,
                "{line:?} is not among {before:#?}"
            );
            match self.line() {
                printed if printed == line => return before,
                other => before.push(other),
            }
        }
    }

    /// Waits until the program has a handler for SIGTERM: before that, the signal would kill it.
    pub(crate) fn wait_until_it_handles_sigterm(&self) {
        let status = format!("/proc/{}/status", self.child.id());
        eventually("the program handles SIGTERM", || {
            let status = fs::read_to_string(&status).unwrap();
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))
                .unwrap();
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            (caught & 1 << (Signal::TERM.as_raw() - 1) != 0).then_some(())
        });
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Tells the program to end, as the kubelet does, and waits until it has.
    pub(crate) fn end(self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until the program has ended, and returns what it printed since the last line read.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let mut printed = Vec::new();
        let status = eventually("the program ends", || {
            printed.extend(self.lines.try_iter());
            self.child.try_wait().unwrap()
        });
        printed.extend(self.lines.iter());
        (status, printed)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send_lines(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}

/// Looks until there is something to be seen.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(
            Instant::now() < deadline,
            "it does not come to pass that {what}"
        );
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// An address on which nobody listens, and which nobody else gets for as long as this is held.
///
/// The socket is bound and does not listen: a call to the address is refused, and a program
/// that is given it can listen there, since both allow the address to be used again.
pub(crate) struct ReservedAddress {
    pub(crate) address: SocketAddr,
    _socket: TcpSocket,
}

impl ReservedAddress {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            _socket: socket,
        }
    }
}
