//! `cargo xtask bench`: the workbook beside its peers, in one run, as ratios. Absolute times
//! depend on the machine and on the moment; ratios of runs that take turns depend on them less.

mod forward;
mod pod_start;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Subcommand;

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
    /// Processor time and latency of forwarding: sidecar-output, nginx and haproxy
    Forward {
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
}

/// Measures, and prints.
pub(crate) async fn run(bench: Bench) -> anyhow::Result<Verdict> {
    match bench {
        Bench::PodStart { rounds } => pod_start::run(rounds).await?,
        Bench::Forward {
            rate,
            seconds,
            rounds,
        } => {
            if forward::optimised()? {
                forward::run(rate, seconds, rounds).await?;
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

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
