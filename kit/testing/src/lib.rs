//! For the tests of a chapter's programs: starts one as a container would be started, and speaks
//! with it from outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod abuse;
pub mod http;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, getrlimit, kill_process, setrlimit};
use tokio::net::TcpSocket;

/// How long a test waits for what must come. It never decides a verdict on a healthy program,
/// however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The path of another package's program, which cargo compiles first if need be. It is asked once.
pub fn program_of(package: &'static str, program: &'static str) -> String {
    static KNOWN: Mutex<BTreeMap<(&str, &str), String>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let path = known.entry((package, program)).or_insert_with(|| {
        let build = escargot::CargoBuild::new().package(package).bin(program);
        let built = build.run().unwrap();
        built.path().to_str().unwrap().to_owned()
    });
    path.clone()
}

/// A running program and the lines that it prints.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts the program at `path` with these settings, and no others.
    pub fn start(path: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_with(path, &[], settings)
    }

    /// Starts the program at `path` with these arguments and settings.
    pub fn start_with(path: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        static RAISED: Once = Once::new();
        RAISED.call_once(may_open_many_files);
        let mut child = Command::new(path)
            .args(arguments)
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
    pub fn line(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the program prints nothing"),
            Err(RecvTimeoutError::Disconnected) => panic!("the program prints no more"),
        }
    }

    /// Waits until the program prints this line, and returns those that came before it.
    pub fn wait_for(&self, line: &str) -> Vec<String> {
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

    /// Waits until the program handles SIGTERM: before that, the signal would kill it.
    ///
    /// It is SIGINT that is looked for, whose handler `told_to_end` sets second. One that has just been
    /// set drops signals for a moment, until it knows whom to tell.
    pub fn wait_until_it_handles_sigterm(&self) {
        eventually("the program handles SIGTERM and SIGINT", || {
            let caught = u64::from_str_radix(&self.status("SigCgt"), 16).unwrap();
            (caught & 1 << (Signal::INT.as_raw() - 1) != 0).then_some(())
        });
    }

    /// The memory that the program has in use, in bytes.
    pub fn memory(&self) -> u64 {
        let resident = self.status("VmRSS");
        let kibibytes = resident.strip_suffix(" kB").unwrap();
        kibibytes.parse::<u64>().unwrap() * 1024
    }

    /// A field of `/proc/PID/status`.
    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    }

    /// How many files the program has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the program while it waits for something to happen, until it gets SIGCONT.
    pub fn freeze(&self) {
        let is = |state: &str| self.status("State").starts_with(state).then_some(());
        eventually("the program waits", || is("S"));
        self.signal(Signal::STOP);
        eventually("the program is stopped", || is("T"));
    }

    /// Tells the program to end, as the kubelet does, and waits until it has.
    pub fn end(self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until the program has ended, and returns what it printed since the last line read.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
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

/// Raises how many files this process and the programs that it starts may have open as far as that
/// goes: 1024, where most begin, are too few for a thousand connections.
fn may_open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is too few is told where a file cannot be opened.
    let _ = setrlimit(Resource::Nofile, limit);
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
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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
pub struct ReservedAddress {
    /// The address.
    pub address: SocketAddr,
    _socket: TcpSocket,
}

#[allow(clippy::new_without_default, reason = "each one is another")]
impl ReservedAddress {
    /// Reserves one of 127.0.0.1.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            _socket: socket,
        }
    }
}
