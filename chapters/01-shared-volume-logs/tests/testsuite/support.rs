//! A program that runs, a volume that it shares with the test, and waiting for what they do.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

/// Nothing here takes a fraction of this, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const SIDECAR: &str = env!("CARGO_BIN_EXE_sidecar-container");
pub(crate) const NAIVE: &str = env!("CARGO_BIN_EXE_sidecar-container-naive");
pub(crate) const FOLLOW: &str = env!("CARGO_BIN_EXE_sidecar-container-follow");
pub(crate) const ROTATE: &str = env!("CARGO_BIN_EXE_sidecar-container-rotate");
pub(crate) const WEBSERVER: &str = env!("CARGO_BIN_EXE_webserver");

/// A program that was started, and what it has printed so far.
pub(crate) struct Program {
    child: Child,
    printed: Arc<Printed>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Printed {
    output: Mutex<Output>,
    more: Condvar,
}

#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    at_end: bool,
}

impl Program {
    pub(crate) fn start<V: AsRef<OsStr>>(program: &str, settings: &[(&str, V)]) -> Program {
        let mut child = Command::new(program)
            .env_clear()
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let printed = Arc::new(Printed::default());
        let reader = thread::spawn({
            let printed = Arc::clone(&printed);
            move || {
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    let read = stdout.read(&mut buffer).unwrap();
                    let mut output = printed.output.lock().unwrap();
                    output.bytes.extend_from_slice(&buffer[..read]);
                    output.at_end = read == 0;
                    printed.more.notify_all();
                    if read == 0 {
                        return;
                    }
                }
            }
        });
        Program {
            child,
            printed,
            reader: Some(reader),
        }
    }

    /// Waits until what was printed so far is as wanted.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut output = self.printed.output.lock().unwrap();
        while !wanted(&output.bytes) {
            let left = deadline.saturating_duration_since(Instant::now());
            let seen = String::from_utf8_lossy(&output.bytes);
            let end = seen.len().saturating_sub(2000);
            let end = (end..=seen.len())
                .find(|at| seen.is_char_boundary(*at))
                .unwrap();
            assert!(
                !output.at_end,
                "the program ended before {what}; it printed:\n{}",
                &seen[end..]
            );
            assert!(
                !left.is_zero(),
                "still not {what}; printed so far:\n{}",
                &seen[end..]
            );
            output = self.printed.more.wait_timeout(output, left).unwrap().0;
        }
    }

    /// Waits until this is all that was printed so far.
    #[track_caller]
    pub(crate) fn wait_for(&self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        self.wait_until("all lines", |printed| printed.len() >= expected.len());
        assert_same(&self.printed(), expected);
    }

    pub(crate) fn wait_for_line(&self, line: &str) {
        self.wait_until(&format!("the line {line:?}"), |printed| {
            printed
                .split(|byte| *byte == b'\n')
                .any(|printed| printed == line.as_bytes())
        });
    }

    /// What was printed so far.
    pub(crate) fn printed(&self) -> Vec<u8> {
        self.printed.output.lock().unwrap().bytes.clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // A program that has only begun to start does not handle the signal yet. SIGINT is the
        // last that it gets a handler for: one that has just been set may still miss a signal.
        if signal == Signal::TERM {
            wait_until("SIGTERM is handled", || {
                let handled = u64::from_str_radix(&self.status("SigCgt"), 16).unwrap();
                handled & 1 << (Signal::INT.as_raw() - 1) != 0
            });
        }
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the program in the middle of what it does, until `thaw`.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        wait_until("the program is stopped", || {
            self.status("State").starts_with('T')
        });
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until the program waits for the kernel, and for nothing else if `forever`.
    pub(crate) fn wait_until_asleep(&self, forever: bool) {
        let epoll_wait = if cfg!(target_arch = "x86_64") {
            ["232", "281"]
        } else {
            ["22", "22"]
        };
        wait_until("the program sleeps", || {
            // The number of the system call and its arguments, of which the fourth is the
            // timeout; a program that runs has neither.
            let syscall = fs::read_to_string(self.proc("syscall")).unwrap();
            let fields: Vec<&str> = syscall.split_whitespace().collect();
            epoll_wait.contains(&fields[0])
                && if forever {
                    fields[4].ends_with("ffffffff")
                } else {
                    fields[4] != "0x0"
                }
        });
    }

    /// A field of `/proc/PID/status`.
    pub(crate) fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    }

    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    /// Waits until it ends, and returns its exit code (none, when a signal ended it) and all
    /// that it printed.
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<u8>) {
        wait_until("the program has ended", || {
            self.child.try_wait().unwrap().is_some()
        });
        let code = self.child.wait().unwrap().code();
        self.reader.take().unwrap().join().unwrap();
        (code, self.printed())
    }

    /// Tells it to end as the kubelet does, and returns all that it printed.
    #[track_caller]
    pub(crate) fn terminate(self) -> Vec<u8> {
        self.signal(Signal::TERM);
        let (code, printed) = self.ended();
        assert_eq!(
            code,
            Some(0),
            "exit code after SIGTERM; it printed:\n{}",
            String::from_utf8_lossy(&printed)
        );
        printed
    }

    /// Ends it with SIGKILL, and returns all that it printed.
    pub(crate) fn kill(self) -> Vec<u8> {
        self.signal(Signal::KILL);
        self.ended().1
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind. If the program has ended, this does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The volumes of a pod: one for logs and one for offsets.
pub(crate) struct Volumes {
    root: TempDir,
}

impl Volumes {
    pub(crate) fn new() -> Volumes {
        let volumes = Volumes {
            root: TempDir::new().unwrap(),
        };
        fs::create_dir(volumes.folder()).unwrap();
        fs::create_dir(volumes.path("state")).unwrap();
        volumes
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The folder of the log.
    pub(crate) fn folder(&self) -> PathBuf {
        self.path("logs")
    }

    /// The file at `LOG_PATH`.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder().join("access.log")
    }

    /// A log that was rotated so many times.
    pub(crate) fn rotated(&self, number: usize) -> PathBuf {
        self.folder().join(format!("access.log.{number}"))
    }

    /// Renames all files as an app does that keeps `access.log.1` as the youngest.
    pub(crate) fn rotate(&self) {
        let mut count = 1;
        while self.rotated(count).exists() {
            count += 1;
        }
        for number in (1..count).rev() {
            fs::rename(self.rotated(number), self.rotated(number + 1)).unwrap();
        }
        fs::rename(self.log(), self.rotated(1)).unwrap();
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state/offsets")
    }

    pub(crate) fn sidecar(&self) -> Program {
        Program::start(
            SIDECAR,
            &[("LOG_PATH", self.log()), ("STATE_PATH", self.state())],
        )
    }

    /// A sidecar of an earlier step.
    pub(crate) fn step(&self, program: &str) -> Program {
        Program::start(
            program,
            &[
                ("LOG_PATH", self.log().as_os_str()),
                ("INTERVAL", OsStr::new("5ms")),
            ],
        )
    }
}

/// Opens a file as an app opens its log.
pub(crate) fn open(path: impl AsRef<Path>) -> File {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

/// Adds bytes to the end of a file.
pub(crate) fn append(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    open(path).write_all(bytes.as_ref()).unwrap();
}

/// Waits until something is so that nothing tells of.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    let mut is_so = is_so;
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        thread::yield_now();
    }
}

#[track_caller]
pub(crate) fn assert_same(printed: &[u8], expected: &[u8]) {
    if printed != expected {
        let differ = printed
            .iter()
            .zip(expected)
            .take_while(|(a, b)| a == b)
            .count();
        let near = |bytes: &[u8]| {
            let bytes = &bytes[differ.saturating_sub(60)..bytes.len().min(differ + 200)];
            String::from_utf8_lossy(bytes).into_owned()
        };
        panic!(
            "{} bytes printed, {} expected; they differ at byte {differ}\nprinted:  {:?}\nexpected: {:?}",
            printed.len(),
            expected.len(),
            near(printed),
            near(expected)
        );
    }
}

/// The lines of the log without those that the sidecar says of itself.
pub(crate) fn without_notes(printed: &[u8]) -> Vec<u8> {
    printed
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"sidecar-container: "))
        .collect::<Vec<_>>()
        .concat()
}

/// What the sidecar says of itself.
pub(crate) fn notes(printed: &[u8]) -> Vec<String> {
    let printed = String::from_utf8_lossy(printed);
    printed
        .lines()
        .filter_map(|line| line.strip_prefix("sidecar-container: "))
        .map(str::to_owned)
        .collect()
}

/// Random numbers, the same for the same seed (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to `end`, without it.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}
