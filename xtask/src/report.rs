//! What the commands say, and how it looks: in 80 columns, with colour where the terminal has it.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anstream::println;
use anstyle::{AnsiColor, Style};
use harness::diagnosis::Failure;
use harness::engine::{Change, Event, PodChange, What};
use harness::image::Progress;
use harness::names;
use harness::run::Plan;
use harness::snapshot::Verdict;
use indicatif::{ProgressBar, ProgressStyle};

use crate::troubleshooting::{self, Entry};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const ADDED: Style = AnsiColor::Green.on_default();
pub(crate) const REMOVED: Style = AnsiColor::Red.on_default();
const CONTAINERS: [Style; 5] = [
    AnsiColor::Cyan.on_default(),
    AnsiColor::Magenta.on_default(),
    AnsiColor::Yellow.on_default(),
    AnsiColor::Blue.on_default(),
    AnsiColor::Green.on_default(),
];

/// The width of the page, and the least that a terminal is taken to have.
const COLUMNS: usize = 80;
const FEWEST: usize = 20;

/// How wide texts are: as the terminal, where there is one, and as the page at most.
pub(crate) fn columns() -> usize {
    size().map_or(COLUMNS, |(columns, _)| columns.clamp(FEWEST, COLUMNS))
}

/// How many rows the terminal has; none, where there is no terminal.
pub(crate) fn rows() -> usize {
    size().map_or(0, |(_, rows)| rows)
}

/// The columns and rows of the terminal, if there is one.
fn size() -> Option<(usize, usize)> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let (columns, rows) = crossterm::terminal::size().ok()?;
    // One that does not know its width says 0.
    (columns > 0).then_some((columns.into(), rows.into()))
}

/// Prints text after `lead`, which takes `indent` columns, wrapped to the width of the page.
pub(crate) fn paragraph(lead: &str, indent: usize, text: &str) {
    let columns = columns();
    let mut line = String::new();
    let mut lead = lead.to_owned();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > columns {
            println!("{lead}{line}");
            lead = " ".repeat(indent);
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    println!("{lead}{line}");
}

/// Prints an error, and where the book says more of it.
pub(crate) fn error(error: &anyhow::Error) {
    anstream::eprintln!("{BAD}error:{BAD:#} {error:#}");
    for entry in troubleshooting::of_error(error) {
        anstream::eprintln!("{}", link(&entry));
    }
}

/// Prints what the parser of the command line says, which may be the help that was asked for.
pub(crate) fn refusal(said: &clap::Error) -> ExitCode {
    let _ = said.print();
    let text = said.to_string();
    let first = text.lines().next().unwrap_or_default();
    if said.use_stderr()
        && let Some(entry) = troubleshooting::of_text(first)
    {
        anstream::eprintln!("\n{}", link(&entry));
    }
    ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2))
}

/// Prints where the book says more of a message that was printed.
pub(crate) fn help(message: &str) {
    if let Some(entry) = troubleshooting::of_text(message) {
        println!("{}", link(&entry));
    }
}

/// Prints where the book says more of a run that failed.
pub(crate) fn help_for(failure: &Failure) {
    if let Some(entry) = troubleshooting::of_failure(failure) {
        println!("{}", link(&entry));
    }
}

/// The place of an entry: a terminal in an editor makes a link of it.
fn link(entry: &Entry) -> String {
    format!(
        "{BOLD}more:{BOLD:#} {}\n      {}:{}",
        entry.title,
        troubleshooting::page().display(),
        entry.line
    )
}

/// A time span as a reader wants it: `0.35 s`, `12 ms`.
pub(crate) fn span(duration: Duration) -> String {
    if duration < Duration::from_millis(100) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

/// The phase at work. On a terminal it is a line that moves; elsewhere it says nothing.
pub(crate) struct Phase {
    bar: ProgressBar,
    begin: Instant,
}

impl Phase {
    pub(crate) fn begin(name: &'static str, quiet: bool) -> Self {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix:<8} {wide_msg} {elapsed}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            bar,
            begin: Instant::now(),
        }
    }

    /// A handle for another thread to say more.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Ends it, and says how long it took.
    pub(crate) fn end(self) -> Duration {
        self.bar.finish_and_clear();
        self.begin.elapsed()
    }
}

/// Shows how far the compiler is.
pub(crate) struct Compiling {
    bar: ProgressBar,
    crates: usize,
}

impl Compiling {
    pub(crate) fn new(bar: ProgressBar) -> Self {
        Self { bar, crates: 0 }
    }

    pub(crate) fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Step(step) => {
                self.crates += usize::from(step.starts_with("Compiling "));
                self.bar.set_message(step.to_owned());
            }
            Progress::Compiled {
                done,
                total,
                at_work,
            } => {
                let message = format!("{done} of {total}: {at_work}");
                self.bar.set_message(message);
            }
            Progress::Message(message) => {
                self.bar.suspend(|| anstream::eprintln!("{message}"));
            }
            Progress::Ready { .. } => {}
        }
    }

    /// What was compiled, in words; none if all was up to date.
    pub(crate) fn in_words(crates: usize) -> Option<String> {
        match crates {
            0 => None,
            1 => Some("1 crate compiled".to_owned()),
            more => Some(format!("{more} crates compiled")),
        }
    }

    /// How many crates were compiled.
    pub(crate) fn crates(&self) -> usize {
        self.crates
    }
}

/// Prints a fact: its name, and what it is.
pub(crate) fn fact(name: &str, what: &str) {
    paragraph(&format!("{DIM}{name:<9}{DIM:#} "), 10, what);
}

/// Prints what happens in a run, as it happens.
pub(crate) struct Events {
    containers: Vec<Watched>,
    has_several_pods: bool,
    width: usize,
}

struct Watched {
    pod: String,
    container: String,
    /// What tells it from all others.
    name: String,
    /// Without a readiness probe a container is ready as long as it runs, which is no news.
    tells_readiness: bool,
}

impl Events {
    pub(crate) fn new(plan: &Plan) -> Self {
        let pods = plan.pods();
        let containers = pods.iter().flat_map(|pod| {
            let containers = pod.spec.all_containers();
            containers.map(|(_, container)| (&pod.metadata.name, container))
        });
        let watched = containers.map(|(pod, container)| Watched {
            pod: pod.clone(),
            container: container.name.clone(),
            name: names::of(pods.iter().copied(), pod, &container.name),
            tells_readiness: container.readiness_probe.is_some(),
        });
        let containers: Vec<_> = watched.collect();
        let width = containers
            .iter()
            .map(|container| container.name.len())
            .max()
            .unwrap_or_default();
        Self {
            containers,
            has_several_pods: pods.len() > 1,
            width,
        }
    }

    pub(crate) fn print(&self, event: &Event) {
        let at = format!("{:>7.3}s", event.at.as_secs_f64());
        match &event.what {
            What::Pod(change) => {
                let pod = match self.has_several_pods {
                    true => format!("the pod {}", event.pod),
                    false => "the pod".to_owned(),
                };
                let words = match change {
                    PodChange::Initialized | PodChange::Ready(_) => return,
                    PodChange::Stopping => format!("{pod} is told to end"),
                    PodChange::Succeeded => format!("{pod} has succeeded"),
                    PodChange::Failed { reason, message } => {
                        format!("{pod} has failed {reason} {message}")
                    }
                };
                println!("{DIM}{at} {words}{DIM:#}");
            }
            What::Container { name, change } => {
                let place = self
                    .containers
                    .iter()
                    .position(|of| of.pod == event.pod && of.container == *name)
                    .unwrap_or_default();
                let style = CONTAINERS[place % CONTAINERS.len()];
                let tells_readiness = self
                    .containers
                    .get(place)
                    .is_some_and(|container| container.tells_readiness);
                let name = self.containers.get(place).map_or(name, |of| &of.name);
                let width = self.width;
                match change {
                    Change::Line(line) => {
                        println!(
                            "{DIM}{at}{DIM:#} {style}{name:<width$} |{style:#} {}",
                            line.text()
                        );
                    }
                    Change::Ready(_) if !tells_readiness => {}
                    other => {
                        if let Some(words) = harness::diagnosis::in_words(other) {
                            println!("{DIM}{at} {name:<width$} · {words}{DIM:#}");
                        }
                    }
                }
            }
        }
    }
}

/// Prints a diff with colour.
pub(crate) fn difference(verdict: &Verdict, printed: &str) {
    match verdict {
        Verdict::Same => {}
        Verdict::Missing => {
            for line in printed.lines() {
                println!("    {ADDED}+{line}{ADDED:#}");
            }
        }
        Verdict::Different(diff) => {
            for line in diff.lines() {
                let style = match line.as_bytes().first() {
                    Some(b'+') => ADDED,
                    Some(b'-') => REMOVED,
                    Some(b'@') => DIM,
                    _ => Style::new(),
                };
                println!("    {style}{line}{style:#}");
            }
        }
    }
}
