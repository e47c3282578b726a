//! `cargo xtask bench`: the workbook beside its peers, in one run, as ratios. Absolute times
//! depend on the machine and on the moment; ratios of runs that take turns depend on them less.

mod edit_loop;
mod forward;
mod overload;
mod pod_start;
mod sdk_or_sidecar;
mod ship;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use harness::workspace::Workspace;

use crate::Verdict;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// From a manifest to the first response between two containers: sandbox and podman
    PodStart {
        /// How often each starts the pod
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Processor time and latency of sidecars that forward, and of nginx and haproxy doing the same
    Forward {
        /// Only this sidecar, such as `rate-limiter`
        sidecar: Option<String>,
        /// Requests per second
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// The length of a round
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// How often each takes its turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Three times what an app can bear: its latency alone, and behind rate-limiter
    Overload {
        /// The length of each part
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// One limiter, as an SDK in the app and as a sidecar beside it, and the app without either
    SdkOrSidecar {
        /// Requests per second
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// The length of a round
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// How often each takes its turn
        #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Write what was measured into the file that the book shows
        #[arg(long)]
        write: bool,
    },
    /// A burst of lines in a log file: sidecar-container and tail -F
    Ship {
        /// Lines of a burst
        #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
        lines: u32,
        /// How often each takes its turn
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// From a changed line to what its pod prints: kind and sandbox, and docker and kubectl by hand
    Loop {
        /// How often each takes its turn
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
}

/// Measures, and prints.
pub(crate) async fn run(bench: Bench) -> anyhow::Result<Verdict> {
    match bench {
        Bench::PodStart { rounds } => pod_start::run(rounds).await?,
        Bench::Loop { rounds } => return edit_loop::run(rounds).await,
        Bench::Ship { lines, rounds } => ship::run(lines, rounds)?,
        Bench::Overload { seconds } => {
            if forward::optimised()? {
                overload::run(seconds).await?;
            }
        }
        Bench::SdkOrSidecar {
            rate,
            seconds,
            rounds,
            write,
        } => {
            if forward::optimised()? {
                sdk_or_sidecar::run(rate, seconds, rounds, write).await?;
            }
        }
        Bench::Forward {
            sidecar,
            rate,
            seconds,
            rounds,
        } => {
            if forward::optimised()? {
                forward::run(sidecar, rate, seconds, rounds).await?;
            }
        }
    }
    Ok(Verdict::Good)
}

/// Where a program is found on `PATH`, or where Debian keeps those of administrators.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The first line of what a program says of its version.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(find(program)?).arg(argument).output().ok()?;
    // nginx says it on standard error.
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said)
        .lines()
        .next()
        .map(ToOwned::to_owned)
}

/// The very program of an image, to be run outside of a pod: it is put into `scratch`.
fn program_of_image(scratch: &Path, chapter: &str, program: &str) -> anyhow::Result<PathBuf> {
    let workspace = Workspace::find()?;
    let images = harness::image::build(workspace.root(), chapter, &mut |_| {})?;
    let image = images.iter().find(|image| image.program == program);
    let image = image.with_context(|| format!("chapter {chapter} has no program {program}"))?;
    let folder = scratch.join(program);
    fs::create_dir(&folder)?;
    harness::image::unpack_layer(&image.open_archive()?, &folder)?;
    Ok(folder.join(program))
}

/// The processor time of a process, its threads and its children, as the scheduler counted it.
fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task")).context("the process has ended")? {
        let thread = thread?.path();
        let counted = fs::read_to_string(thread.join("schedstat"))
            .context("the kernel keeps no schedstat")?;
        let Some(Ok(nanoseconds)) = counted.split_whitespace().next().map(str::parse) else {
            bail!("the kernel's schedstat is not understood: {counted}");
        };
        total += Duration::from_nanos(nanoseconds);
        let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            total += processor_time(child.parse()?)?;
        }
    }
    Ok(total)
}

/// The time within which this share of them lies, of times that are in order.
fn percentile(times: &[Duration], share: f64) -> Option<Duration> {
    let index = (times.len() as f64 * share).ceil() as usize;
    times.get(index.saturating_sub(1)).copied()
}

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
