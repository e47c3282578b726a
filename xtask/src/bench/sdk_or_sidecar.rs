//! One limiter, as an SDK in the app and as a sidecar beside it: the app alone, with the SDK, and
//! behind the sidecar, side by side.
//!
//! What is asked for is `/ready`, for which the app does no work, so that all that is seen is the
//! way there and back; each request takes a token from the limiter. Memory is the *proportional
//! set size*: a page that several processes share counts for each of them in part, so that a sum
//! over processes counts it once. A start is over with the first answer; the sidecar is started
//! first, and the app when it listens, as a native sidecar's startup probe has it.

mod sources;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anstream::println;
use anyhow::{Context, ensure};
use harness::measured::{Measured, Row};
use harness::workspace::Workspace;
use hyper::Request;

use super::forward::{Call, Proxy, free_address, load, start};
use super::{median, percentile, processor_time, program_of_image};
use crate::report::BOLD;

const CHAPTER: &str = "sdk-or-sidecar";
/// The chapter of the app and of the sidecar.
const LIMITER: &str = "rate-limit";
/// Where the book finds what was measured.
const FILE: &str = "chapters/09-sdk-or-sidecar/measured.json";
const LINES: &str = "lines of the app that changed";
const WARM_UP: Duration = Duration::from_secs(1);
/// So many instances run at once when memory is measured,
const INSTANCES: usize = 100;
/// each of which has answered so many requests.
const ANSWERED: u32 = 20;
/// How often each is started.
const STARTS: usize = 21;
/// More than is asked for: nobody is refused.
const LIMITS: &str = "[[limit]]\npath = '/'\nrate = '1000000/s'\nburst = 1000000\n";
const READY: Call = Call {
    request: |_| Request::get("/ready"),
    answer: b"ready\n",
};

/// What is side by side.
#[derive(Clone, Copy)]
enum Form {
    Alone,
    Sdk,
    Sidecar,
}

const FORMS: [(Form, &str); 3] = [
    (Form::Alone, "the app alone"),
    (Form::Sdk, "with the SDK"),
    (Form::Sidecar, "behind a sidecar"),
];

/// The programs, and what they need.
struct Programs {
    app: PathBuf,
    sdk: PathBuf,
    sidecar: PathBuf,
    limits: PathBuf,
}

/// One instance of the app, with what stands before it.
struct Instance {
    front: SocketAddr,
    processes: Vec<Proxy>,
}

pub(super) async fn run(rate: u32, seconds: u32, rounds: u32, write: bool) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the programs")?;
    let programs = Programs::unpack(scratch.path())?;

    let lines = sources::changed_lines(workspace.root())? as f64;
    let (alone, sdk, sidecar) = sources::crates(workspace.root())?;
    let (alone, sdk, sidecar) = (alone as f64, sdk as f64, sidecar as f64);

    let mut starts = Vec::new();
    let mut memory = Vec::new();
    for (form, _) in FORMS {
        starts.push(programs.starts(form)?);
        memory.push(programs.memory(form)?);
    }
    let mut instances = Vec::new();
    for (form, _) in FORMS {
        instances.push(programs.start(form)?);
    }
    // Of each form and each round: median latency, 99th percentile, processor time of a request.
    let mut measured = FORMS.map(|_| [const { Vec::new() }; 3]);
    // They take turns, so that a slow moment of the machine falls on all of them.
    for _ in 0..rounds {
        for (instance, measured) in instances.iter().zip(&mut measured) {
            load(&READY, instance.front, rate, WARM_UP).await?;
            let before = instance.processor_time()?;
            let length = Duration::from_secs(seconds.into());
            let mut latencies = load(&READY, instance.front, rate, length).await?;
            let used = instance.processor_time()? - before;
            latencies.sort();
            let each = used / u32::try_from(latencies.len()).unwrap_or(u32::MAX);
            let within = |share| percentile(&latencies, share).context("nothing was asked");
            measured[0].push(within(0.5)?);
            measured[1].push(within(0.99)?);
            measured[2].push(each);
        }
    }
    drop(instances);

    let of = |which: usize| {
        let medians = measured.iter().map(|rounds| median(rounds[which].clone()));
        Vec::from_iter(medians.map(|time| time.as_secs_f64() * 1e6))
    };
    // What is less than the moments of a machine differ by is nothing.
    let added = |which: usize| {
        let times = of(which);
        let alone = times[0];
        times.into_iter().map(move |time| (time - alone).max(0.0))
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let measured = Measured {
        command: "cargo xtask bench sdk-or-sidecar --write".to_owned(),
        how: format!(
            "{rate} requests a second, {rounds} rounds of {seconds} s in turn, on a machine of {} \
             processors. A hundred instances are a hundred that ran at once. A start is the median \
             of {STARTS}.",
            thread::available_parallelism()?
        ),
        variants: FORMS.map(|(_, name)| name.to_owned()).to_vec(),
        rows: vec![
            Row::new("median latency", "µs", of(0)),
            Row::new("added at the median", "µs", added(0)),
            Row::new("added at the 99th percentile", "µs", added(1)),
            Row::new("CPU time of a request", "µs", of(2)),
            Row::new(
                "memory of one",
                "MiB",
                memory.iter().map(|(one, _)| mib(*one)),
            ),
            Row::new(
                "memory of a hundred",
                "MiB",
                memory.iter().map(|(_, all)| mib(*all)),
            ),
            Row::new(
                "from its start to its first answer",
                "ms",
                starts.iter().map(|time| time.as_secs_f64() * 1e3),
            ),
            Row::new(LINES, "", [0.0, lines, 0.0]),
            Row::new("crates that the app is built of", "", [alone, sdk, alone]),
            Row::new(
                "crates that its sidecar is built of",
                "",
                [0.0, 0.0, sidecar],
            ),
        ],
    };
    report(&measured);
    if write {
        measured.store(workspace.root(), FILE)?;
        println!("written: {FILE}");
    }
    Ok(())
}

fn report(measured: &Measured) {
    println!("{BOLD}one limiter, as an SDK and as a sidecar{BOLD:#}");
    let line = |title: &str, cells: &[String]| {
        let cells = Vec::from_iter(cells.iter().map(|cell| format!("{cell:>18}")));
        println!("  {title:<38}{}", cells.concat());
    };
    line("", &measured.variants);
    for row in &measured.rows {
        let values = Vec::from_iter(row.values.iter().map(f64::to_string));
        line(&row.title(), &values);
    }
    println!("{}", measured.how);
}

impl Programs {
    fn unpack(scratch: &Path) -> anyhow::Result<Self> {
        let limits = scratch.join("limits.toml");
        fs::write(&limits, LIMITS).context("cannot write the limits")?;
        let program = |chapter, name| program_of_image(scratch, chapter, name);
        Ok(Self {
            app: program(LIMITER, "order-service")?,
            sdk: program(CHAPTER, "order-service-sdk")?,
            sidecar: program(LIMITER, "rate-limiter")?,
            limits,
        })
    }

    /// Starts an instance, and waits for its first answer.
    fn start(&self, form: Form) -> anyhow::Result<Instance> {
        let front = free_address()?;
        let run = |program: &Path, listen: SocketAddr, upstream: Option<SocketAddr>| {
            let mut command = Command::new(program);
            command.env_clear().env("LISTEN", listen.to_string());
            command.env("LIMITS", &self.limits);
            if let Some(upstream) = upstream {
                command.env("UPSTREAM", format!("http://{upstream}"));
            }
            start(program.display().to_string(), &mut command, listen)
        };
        let mut processes = Vec::new();
        match form {
            Form::Alone => processes.push(run(&self.app, front, None)?),
            Form::Sdk => processes.push(run(&self.sdk, front, None)?),
            Form::Sidecar => {
                let app = free_address()?;
                processes.push(run(&self.sidecar, front, Some(app))?);
                until(|| TcpStream::connect(front).is_ok())?;
                processes.push(run(&self.app, app, None)?);
            }
        }
        until(|| is_ready(front).unwrap_or(false))?;
        Ok(Instance { front, processes })
    }

    /// How long an instance takes to its first answer: the median of several.
    fn starts(&self, form: Form) -> anyhow::Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let begin = Instant::now();
            let _instance = self.start(form)?;
            times.push(begin.elapsed());
        }
        Ok(median(times))
    }

    /// The memory of one instance, and of all that run at once, in bytes.
    fn memory(&self, form: Form) -> anyhow::Result<(u64, u64)> {
        let (mut instances, mut one) = (Vec::new(), 0);
        for _ in 0..INSTANCES {
            let instance = self.start(form)?;
            for _ in 0..ANSWERED {
                ensure!(is_ready(instance.front)?, "the app is no longer ready");
            }
            instances.push(instance);
            if instances.len() == 1 {
                one = instances[0].memory()?;
            }
        }
        let all = instances.iter().map(Instance::memory);
        Ok((one, all.sum::<anyhow::Result<u64>>()?))
    }
}

impl Instance {
    fn processor_time(&self) -> anyhow::Result<Duration> {
        let each = self.processes.iter();
        each.map(|process| processor_time(process.id())).sum()
    }

    fn memory(&self) -> anyhow::Result<u64> {
        let each = self.processes.iter();
        each.map(|process| proportional_set_size(process.id()))
            .sum()
    }
}

/// Waits until something holds, which nothing tells.
fn until(mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !holds() {
        ensure!(
            begin.elapsed() < Duration::from_secs(10),
            "the app does not answer"
        );
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// Asks over a connection of its own whether the app is ready.
fn is_ready(front: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(front)?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}

/// The memory of a process, in bytes: what it shares with others counts in part.
fn proportional_set_size(process: u32) -> anyhow::Result<u64> {
    let sizes = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .context("the process has ended")?;
    let size = sizes.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = size.and_then(|size| size.trim().strip_suffix(" kB"));
    let kibibytes = kibibytes.context("the kernel tells no proportional set size")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_tells_as_many_changed_lines_as_the_sources_have() {
        let workspace = Workspace::find().unwrap();
        let measured = Measured::load(workspace.root(), FILE).unwrap();
        let row = measured.rows.iter().find(|row| row.what == LINES).unwrap();
        let lines = sources::changed_lines(workspace.root()).unwrap() as f64;
        assert_eq!(row.values, [0.0, lines, 0.0]);
    }
}
