//! The workbook's command line: it parses, calls the harness, and reports.

mod bench;
mod book;
mod chapter;
mod clean;
mod cluster;
mod doctor;
mod engine;
mod exercise;
mod learn;
mod list;
mod report;
mod test;
pub mod troubleshooting;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use harness::engine::EngineKind;
use harness::exercise::Seed;

/// Runs the chapters of the sidecar workbook.
///
/// Start with `cargo xtask chapter 1`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES, max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 all as recorded; 1 not; 2 the machine or the command line is at fault.";

#[derive(Subcommand)]
enum Command {
    /// Builds a chapter's programs, runs its pod, compares its lines with the snapshots
    Chapter(ChapterArgs),
    /// Prints the manifest of a chapter, as it is applied
    Manifest {
        /// The chapter's number or name
        chapter: String,
        /// The scenario
        #[arg(long, default_value = harness::workspace::HEALTHY)]
        scenario: String,
    },
    /// Lists the chapters and their scenarios, and the exercises
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// The exercises: shows one, and checks your answer whenever you save it
    Learn {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        on: On,
    },
    /// A pod that breaks: find out why, and mend it
    Fault {
        /// The chapter's number or name, or the number of a fault
        chapter: String,
        #[command(flatten)]
        on: On,
    },
    /// Runs your answer to an exercise, and says what it lacks
    Check {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        on: On,
        /// What chance decides, as an earlier check named it
        #[arg(long)]
        seed: Option<Seed>,
    },
    /// Gives a hint for an exercise
    Hint {
        #[command(flatten)]
        of: Of,
    },
    /// Shows the solutions of an exercise
    Solution {
        #[command(flatten)]
        of: Of,
        /// Also if it is not solved yet
        #[arg(long)]
        really: bool,
    },
    /// Puts back what an exercise begins with
    Reset {
        #[command(flatten)]
        of: Of,
    },
    /// Checks all your answers, and prints a summary in Markdown to hand in
    Report {
        #[command(flatten)]
        on: On,
    },
    /// For who writes exercises
    #[command(subcommand)]
    Exercise(exercise::Command),
    /// Tells what this machine can run, and what would mend each lack
    Doctor,
    /// Runs all tests, then every scenario of every chapter
    Test {
        /// The engines
        #[arg(long, value_enum, default_value_t = test::On::Here)]
        engine: test::On,
    },
    /// The workbook's own kind cluster
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Builds the book into `target/book`
    Book(book::BookArgs),
    /// Measures the workbook beside its peers
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Removes images, recordings and what killed runs have left
    Clean {
        /// Only what is on this engine
        #[arg(long)]
        engine: Option<EngineKind>,
    },
}

#[derive(Args)]
struct ChapterArgs {
    /// The chapter's number or name, or `all`
    chapter: String,
    /// The scenario, or `all`
    #[arg(long, default_value = harness::workspace::HEALTHY)]
    scenario: String,
    /// The engine: sandbox, docker, kind, or auto for the best one that works here
    #[arg(long, env = "WORKBOOK_ENGINE", default_value = "auto")]
    engine: engine::Choice,
    /// Take what was printed as the new snapshot, after showing the difference
    #[arg(long, conflicts_with_all = ["keep", "follow", "repeat"])]
    bless: bool,
    /// Leave the pod running and forward its ports, until Ctrl-C
    #[arg(long, conflicts_with_all = ["repeat", "json"])]
    keep: bool,
    /// Stream the containers' lines until Ctrl-C; no step is taken, nothing compared
    #[arg(long, conflicts_with_all = ["repeat", "json"])]
    follow: bool,
    /// Run so many times, and count the differences
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Print one line of JSON per run
    #[arg(long)]
    json: bool,
}

/// An exercise.
#[derive(Args)]
struct Of {
    /// Its number or name; the first that is not solved, if it is left out
    exercise: Option<String>,
}

/// Where the pods of exercises run.
#[derive(Args, Clone, Copy)]
struct On {
    /// The engine: sandbox, docker, or auto for the quickest that works here
    #[arg(long, env = "WORKBOOK_ENGINE", default_value = "auto")]
    engine: engine::Choice,
}

/// What a command found.
enum Verdict {
    /// All is as it should be.
    Good,
    /// Something differs from what was recorded.
    Bad,
    /// This machine cannot tell.
    NotHere,
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    // A pod's first process is this program run again; it must be told before any thread exists.
    #[cfg(target_os = "linux")]
    harness::sandbox::supervise_if_asked();

    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return report::refusal(&refusal),
    };
    match run(cli.command) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        Ok(Verdict::NotHere) => ExitCode::from(2),
        Err(error) => {
            report::error(&error);
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let verdict = match command {
        Command::Chapter(args) => runtime.block_on(chapter::run(&args)),
        Command::Manifest { chapter, scenario } => list::manifest(&chapter, &scenario),
        Command::List { json } => list::run(json),
        Command::Learn { of, on } => runtime.block_on(learn::run(of.exercise.as_deref(), on)),
        Command::Fault { chapter, on } => runtime.block_on(learn::fault(&chapter, on)),
        Command::Check { of, on, seed } => {
            runtime.block_on(learn::check(of.exercise.as_deref(), on, seed))
        }
        Command::Hint { of } => learn::hint(of.exercise.as_deref()),
        Command::Solution { of, really } => learn::solution(of.exercise.as_deref(), really),
        Command::Reset { of } => learn::reset(of.exercise.as_deref()),
        Command::Report { on } => runtime.block_on(learn::summarise(on)),
        Command::Exercise(command) => runtime.block_on(exercise::run(command)),
        Command::Cluster(command) => runtime.block_on(cluster::run(command)),
        Command::Doctor => runtime.block_on(doctor::run()),
        Command::Test { engine } => runtime.block_on(test::run(engine)),
        Command::Book(args) => runtime.block_on(book::run(&args)),
        Command::Bench(bench) => runtime.block_on(bench::run(bench)),
        Command::Clean { engine } => runtime.block_on(clean::run(engine)),
    };
    // A build that still runs in the background ends with this process.
    runtime.shutdown_background();
    verdict
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
