//! How fast the lines of a log file reach whoever reads them, when many come at once:
//! `sidecar-container` beside `tail -F`.
//!
//! Each follows an empty file. Then as many lines as a busy app writes in a minute are appended
//! without a pause; the time counts from the first of them until the last has been read from the
//! follower's standard output.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anstream::println;
use anyhow::{Context, ensure};

use super::{find, median, processor_time, program_of_image, version};
use crate::report::{BOLD, DIM};

const CHAPTER: &str = "shared-volume-logs";
const SIDECAR: &str = "sidecar-container";
/// What is written at once.
const BLOCK: usize = 1000;

/// What a follower took for a burst.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    processor: Duration,
    /// The most memory that it had in use, in bytes.
    memory: u64,
}

/// Ends what was started, also when a measurement fails.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn run(lines: u32, rounds: u32) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a folder for the logs")?;
    let sidecar = program_of_image(scratch.path(), CHAPTER, SIDECAR)?;
    let tail = find("tail");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // They take turns, so that a slow moment of the machine falls on both.
    for round in 0..rounds {
        let folder = scratch.path().join(round.to_string());
        fs::create_dir(&folder)?;
        let log = folder.join("access.log");
        let mut command = Command::new(&sidecar);
        command
            .env_clear()
            .env("LOG_PATH", &log)
            .env("STATE_PATH", folder.join("offsets"));
        ours.push(burst(&mut command, &log, lines)?);
        if let Some(tail) = &tail {
            let log = folder.join("other.log");
            let mut command = Command::new(tail);
            command.args(["-n", "+1", "-F"]).arg(&log);
            theirs.push(burst(&mut command, &log, lines)?);
        }
    }
    println!("{BOLD}shipping {lines} lines of a log{BOLD:#}, median of {rounds} rounds");
    println!(
        "  {:<18} {:>9} {:>11} {:>17}",
        "", "time", "CPU", "memory at most"
    );
    report(SIDECAR, &ours);
    if theirs.is_empty() {
        println!("  {DIM}tail is not installed: sudo apt install coreutils{DIM:#}");
        return Ok(());
    }
    let name = version("tail", "--version").unwrap_or_default();
    let name = name.rsplit(' ').next().unwrap_or_default();
    report(&format!("tail -F {name}"), &theirs);
    let ratio = |pick: fn(&Cost) -> Duration| {
        let middle = |costs: &[Cost]| median(costs.iter().map(pick).collect()).as_secs_f64();
        middle(&ours) / middle(&theirs)
    };
    println!(
        "  {:<18} {:>7.2} × {:>9.2} ×",
        "the sidecar's",
        ratio(|cost| cost.time),
        ratio(|cost| cost.processor)
    );
    Ok(())
}

fn report(name: &str, costs: &[Cost]) {
    let middle = |pick: fn(&Cost) -> Duration| median(costs.iter().map(pick).collect());
    let memory = costs
        .iter()
        .map(|cost| cost.memory)
        .max()
        .unwrap_or_default();
    println!(
        "  {name:<18} {:>6} ms {:>8} ms {:>13.1} MiB",
        middle(|cost| cost.time).as_millis(),
        middle(|cost| cost.processor).as_millis(),
        memory as f64 / f64::from(1 << 20)
    );
}

fn burst(command: &mut Command, log: &Path, lines: u32) -> anyhow::Result<Cost> {
    const FIRST: &str = "the first line\n";
    fs::write(log, FIRST)?;
    let name = command.get_program().display().to_string();
    let mut follower = Follower(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {name}"))?,
    );
    let process = follower.0.id();
    let mut output = follower.0.stdout.take().context("it has an output")?;
    // From here on it follows.
    output.read_exact(&mut vec![0; FIRST.len()])?;

    let line = "GET /a/page/with/a/name/of/some/length?and=a&few=parameters 200\n";
    let total = line.len() * lines as usize;
    let mut file = File::options().append(true).open(log)?;
    let used = processor_time(process)?;
    let begin = Instant::now();
    let writer = thread::spawn(move || {
        let mut left = lines as usize;
        while left > 0 {
            let count = left.min(BLOCK);
            file.write_all(line.repeat(count).as_bytes())?;
            left -= count;
        }
        std::io::Result::Ok(())
    });
    let mut buffer = vec![0; 1 << 16];
    let mut read = 0;
    while read < total {
        let count = output.read(&mut buffer)?;
        ensure!(count > 0, "{name} ended after {read} of {total} bytes");
        read += count;
    }
    let time = begin.elapsed();
    let writer = writer.join().ok().context("the writer has panicked")?;
    writer.with_context(|| format!("cannot write {}", log.display()))?;
    ensure!(read == total, "{name} printed {read} bytes, not {total}");
    Ok(Cost {
        time,
        processor: processor_time(process)? - used,
        memory: peak_memory(process)?,
    })
}

/// The most memory that a process has had in use, in bytes.
fn peak_memory(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    Ok(kibibytes.context("the process has ended")?.parse::<u64>()? * 1024)
}
