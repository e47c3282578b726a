//! Signals, children, and what a process is allowed.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{pause, setsid};

/// A program that will wait for SIGTERM must not be ended by one that comes early.
pub(crate) fn prepare(words: &[&str]) {
    if words.contains(&"wait") {
        sigterm().thread_block().expect("a signal can be blocked");
    }
}

fn sigterm() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set
}

/// Waits for SIGTERM, and says that it came.
pub(crate) fn wait() {
    sigterm().wait().expect("a signal can be waited for");
    println!("SIGTERM");
}

/// Needs so long.
pub(crate) fn linger(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Runs on, and has no handler for any signal.
pub(crate) fn stay() {
    loop {
        pause();
    }
}

/// Starts this program again with other verbs, with `and` between them, and does not wait.
pub(crate) fn background(words: &[&str]) {
    let words = words
        .iter()
        .map(|word| if *word == "and" { "then" } else { word });
    if let Err(error) = Command::new("/proc/self/exe").args(words).spawn() {
        println!("background: {}", crate::files::error_name(&error));
    }
}

/// Uses so much memory.
pub(crate) fn use_memory(mebibytes: usize) {
    let used = vec![1_u8; mebibytes << 20];
    println!("uses {} MiB", std::hint::black_box(used).len() >> 20);
}

pub(crate) fn leave_session() {
    setsid().expect("a child leads no session yet");
}

/// Starts as many children as the machine lets it, which do the same.
pub(crate) fn multiply() {
    while Command::new("/proc/self/exe")
        .arg("multiply")
        .spawn()
        .is_ok()
    {}
    stay();
}

/// Prints as fast as it can.
pub(crate) fn flood() {
    let lines = "a line of a flood\n".repeat(1000);
    let mut out = io::stdout().lock();
    while out.write_all(lines.as_bytes()).is_ok() {}
}

/// Prints bytes, given in hexadecimal.
pub(crate) fn bytes(hex: &str) {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect();
    io::stdout()
        .write_all(&bytes)
        .and_then(|()| io::stdout().flush())
        .expect("standard output can be written");
}

/// Prints fields of `/proc/self/status`.
pub(crate) fn status(fields: &[&str]) {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    for field in fields {
        let line = status
            .lines()
            .find(|line| line.split(':').next() == Some(field));
        let words: Vec<&str> = line.unwrap_or("none").split_whitespace().collect();
        println!("{}", words.join(" "));
    }
}

/// How many processes can be seen.
pub(crate) fn count() {
    println!("{} processes", all().count());
}

/// Of how many processes the environment can be read.
pub(crate) fn count_environments() {
    let read = all().filter(|process| fs::read(process.join("environ")).is_ok());
    println!("{} environments", read.count());
}

fn all() -> impl Iterator<Item = PathBuf> {
    let is_process =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().is_ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter(is_process).map(|entry| entry.path())
}
