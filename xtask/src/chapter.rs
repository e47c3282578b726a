//! `cargo xtask chapter`: builds, runs, compares, and says what to try next.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anstream::println;
use anyhow::Context;
use harness::engine::{Engine, EngineKind, Event, NotHere, Pods};
use harness::names;
use harness::run::{Outcome, Plan};
use harness::snapshot::{Verdict as Snapshot, file_name};
use harness::workspace::{Chapter, HEALTHY, Workspace};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::engine;
use crate::report::{self, BAD, BOLD, Compiling, DIM, Events, GOOD, Phase, fact, span};
use crate::{ChapterArgs, Verdict};

/// As many runs as this go on at once; the others wait for their turn. With more of them, a small
/// machine would be so busy that each is near its `timeout`.
const SIDE_BY_SIDE: usize = 10;

/// Runs what the command line names.
pub(crate) async fn run(args: &ChapterArgs) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let chapters = workspace.select(&args.chapter)?;
    let mut plans = Vec::new();
    for chapter in &chapters {
        let names = if args.scenario == "all" {
            chapter.scenarios()?
        } else {
            vec![args.scenario.clone()]
        };
        for name in names {
            plans.push(Plan::load(chapter, &name)?);
        }
    }
    // Scenarios of many chapters are named together where only some can run them.
    let chosen = engine::open(args.engine).await?;
    let kind = chosen.engine.kind();
    if plans.len() > 1 {
        plans.retain(|plan| plan.scenario.engines.contains(&kind));
    }
    anyhow::ensure!(
        plans.len() == 1 || !(args.keep || args.follow),
        "--keep and --follow take one chapter and one scenario"
    );
    let single = plans.len() == 1 && args.repeat == 1;
    let words = !args.json;
    if words {
        if let [chapter] = chapters.as_slice() {
            println!(
                "{BOLD}Chapter {}: {}{BOLD:#}",
                chapter.number, chapter.title
            );
        }
        if let [plan] = plans.as_slice() {
            fact(
                "scenario",
                &format!("{}: {}", plan.name, plan.scenario.shows),
            );
        }
        fact("engine", &format!("{kind} ({})", chosen.why));
    }
    // The compiler need not wait for the engine.
    let ((), swept) = tokio::try_join!(build(&mut plans, words), chosen.engine.sweep())?;
    for left in swept.iter().filter(|_| words) {
        fact("removed", &format!("{left}, left by a run that was killed"));
    }

    let interrupt = watch_for_ctrl_c();
    let engine: Arc<dyn Engine> = Arc::from(chosen.engine);
    if (args.keep || args.follow)
        && let [plan] = plans.as_slice()
    {
        return keep(engine.as_ref(), plan, args, interrupt).await;
    }
    let begin = Instant::now();
    let mut tally = Tally::default();
    let mut lost = None;
    let turns = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    for round in 0..args.repeat {
        let mut runs = JoinSet::new();
        for plan in &plans {
            let (plan, engine, interrupt) = (plan.clone(), engine.clone(), interrupt.clone());
            let turns = turns.clone();
            runs.spawn(async move {
                let _turn = turns.acquire().await;
                let begin = Instant::now();
                let printer = Events::new(&plan);
                let outcome = if single && words {
                    plan.run(engine.as_ref(), interrupt, &mut |event| {
                        printer.print(event)
                    })
                    .await
                } else {
                    plan.run(engine.as_ref(), interrupt, &mut |_| {}).await
                };
                (plan, outcome, begin.elapsed())
            });
        }
        while let Some(done) = runs.join_next().await {
            let (plan, outcome, took) = done.context("a run has panicked")?;
            let outcome = outcome.with_context(|| {
                format!("chapter {}, scenario {}", plan.chapter.number, plan.name)
            });
            let outcome = match outcome {
                // Of many, those run that can.
                Err(error) if plans.len() > 1 && error.is::<NotHere>() => {
                    if round == 0 {
                        anstream::eprintln!("{DIM}left out{DIM:#} {error:#}");
                    }
                    continue;
                }
                outcome => outcome?,
            };
            let of = (args.repeat > 1).then_some(round);
            let evidence = keep_evidence(&workspace, &plan, kind, of, &outcome)?;
            tally.add(&outcome);
            if args.json {
                println!("{}", as_json(&plan, &outcome, took, round, &evidence));
            } else if args.repeat == 1 || !outcome.is_as_recorded() {
                describe(&plan, &outcome, took, &evidence, args.bless);
            }
            if args.bless {
                bless(&plan, &outcome)?;
            }
            lost = lost.or(outcome.lost);
        }
        if tally.interrupted || lost.is_some() {
            break;
        }
    }
    if let Some(why) = lost {
        anyhow::bail!(why);
    }
    if words {
        if args.repeat > 1 {
            println!(
                "{} runs in {}: {} as recorded, {} not",
                tally.runs,
                span(begin.elapsed()),
                tally.runs - tally.bad,
                tally.bad
            );
        } else if single && tally.bad == 0 {
            next(&plans[0], kind);
        }
    }
    Ok(
        if tally.bad == 0 && !tally.interrupted || args.bless && tally.failed == 0 {
            Verdict::Good
        } else {
            Verdict::Bad
        },
    )
}

#[derive(Default)]
struct Tally {
    runs: u32,
    bad: u32,
    failed: u32,
    interrupted: bool,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.bad += u32::from(!outcome.is_as_recorded());
        self.failed += u32::from(outcome.failure.is_some());
        self.interrupted |= outcome.interrupted;
    }
}

/// The first Ctrl-C asks the runs to end in order; the second ends this process, and with it
/// every pod.
pub(crate) fn watch_for_ctrl_c() -> watch::Receiver<bool> {
    let (ask, asked) = watch::channel(false);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if ask.send_replace(true) {
                std::process::exit(130);
            }
            anstream::eprintln!("ending in order; Ctrl-C again ends at once");
        }
    });
    asked
}

/// Builds the programs of each chapter, and hands the images to its plans.
async fn build(plans: &mut [Plan], words: bool) -> anyhow::Result<()> {
    let mut chapters: Vec<Chapter> = plans.iter().map(|plan| plan.chapter.clone()).collect();
    chapters.dedup_by_key(|chapter| chapter.number);
    let phase = Phase::begin("build", !words);
    let mut compiled = 0;
    for chapter in chapters {
        let (built_chapter, bar) = (chapter.clone(), phase.bar());
        let built = tokio::task::spawn_blocking(move || {
            let mut compiling = Compiling::new(bar);
            let images = built_chapter.build(&mut |progress| compiling.show(progress));
            images.map(|images| (images, compiling.crates()))
        });
        let (images, count) = built.await.context("the build has panicked")??;
        compiled += count;
        for plan in plans
            .iter_mut()
            .filter(|plan| plan.chapter.number == chapter.number)
        {
            plan.images.clone_from(&images);
        }
    }
    let took = phase.end();
    if words {
        let what = Compiling::in_words(compiled);
        let what = what.unwrap_or_else(|| "nothing to compile".to_owned());
        fact("build", &format!("{what}, {}", span(took)));
    }
    Ok(())
}

/// The folder of a run's evidence: its recording, each container's lines, and, if it did not go as
/// recorded, what else the engine has.
fn keep_evidence(
    workspace: &Workspace,
    plan: &Plan,
    engine: EngineKind,
    round: Option<u32>,
    outcome: &Outcome,
) -> anyhow::Result<PathBuf> {
    // The next round must not write over what tells of a difference.
    let last = match round {
        Some(round) if !outcome.is_as_recorded() => format!("{engine}-{}", round + 1),
        _ => engine.name().to_owned(),
    };
    let folder = workspace
        .output()?
        .join("runs")
        .join(&plan.chapter.folder)
        .join(&plan.name)
        .join(last);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut files = vec![(
        "recording.json".to_owned(),
        outcome.recording.to_json().into_bytes(),
    )];
    let pods = plan.pods();
    for (pod, container) in outcome.recording.containers() {
        let container = &names::of(pods.iter().copied(), pod, container);
        let mut lines = Vec::new();
        for line in outcome.recording.lines(container) {
            lines.extend_from_slice(&line.0);
            lines.push(b'\n');
        }
        files.push((format!("{}.log", file_name(container)), lines));
    }
    if !outcome.is_as_recorded() {
        for evidence in &outcome.evidence {
            files.push((evidence.name.to_owned(), evidence.content.clone()));
        }
    }
    for (name, bytes) in &files {
        let file = folder.join(name);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    // What an earlier run has left tells nothing of this one.
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let is_new = |(name, _): &(String, Vec<u8>)| entry.file_name() == name.as_str();
        if !files.iter().any(is_new) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(folder)
}

fn describe(
    plan: &Plan,
    outcome: &Outcome,
    took: Duration,
    evidence: &std::path::Path,
    bless: bool,
) {
    let name = format!("{} {}", plan.chapter.folder, plan.name);
    if outcome.interrupted {
        println!("{BAD}interrupted{BAD:#} {name}");
        return;
    }
    if outcome.lost.is_some() {
        println!("{BAD}lost{BAD:#} {name} after {}", span(took));
        println!(
            "{DIM}what was recorded until then is in {}{DIM:#}",
            evidence.display()
        );
        return;
    }
    if let Some(failure) = &outcome.failure {
        println!("{BAD}failed{BAD:#} {name} after {}: {failure}", span(took));
        println!(
            "{DIM}all that was recorded is in {}{DIM:#}",
            evidence.display()
        );
        report::help_for(failure);
        return;
    }
    if outcome.is_as_recorded() {
        println!("{GOOD}as recorded{GOOD:#} {name}, {}", span(took));
        return;
    }
    println!("{BAD}not as recorded{BAD:#} {name}, {}", span(took));
    let mut last = String::new();
    for comparison in &outcome.comparisons {
        let container = &comparison.container;
        last = match &comparison.verdict {
            Snapshot::Same => continue,
            Snapshot::Missing => format!("{container} has no snapshot yet; it printed:"),
            Snapshot::Different(_) => format!("{container} printed something else:"),
        };
        println!("  {last}");
        report::difference(&comparison.verdict, comparison.printed());
    }
    if !bless {
        let command = format!(
            "cargo xtask chapter {} --scenario {} --bless",
            plan.chapter.number, plan.name
        );
        println!("\nIf that is right, `{command}` makes it the snapshot.");
        println!(
            "{DIM}all that was recorded is in {}{DIM:#}",
            evidence.display()
        );
        report::help(&last);
    }
}

fn bless(plan: &Plan, outcome: &Outcome) -> anyhow::Result<()> {
    if outcome.failure.is_some() || outcome.interrupted || outcome.lost.is_some() {
        return Ok(());
    }
    for comparison in outcome
        .comparisons
        .iter()
        .filter(|comparison| comparison.verdict != Snapshot::Same)
    {
        comparison.bless()?;
        println!("  new snapshot: {}", comparison.file.display());
    }
    // The book shows one recording of many that are as good. It changes only if it must.
    if plan.chapter.recording(&plan.name).is_err() {
        let file = plan.chapter.recording_path(&plan.name);
        fs::create_dir_all(plan.chapter.snapshots(&plan.name))?;
        fs::write(&file, outcome.recording.to_json())
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("  new recording: {}", file.display());
    }
    // A container that the scenario no longer names leaves no snapshot behind.
    let folder = plan.chapter.snapshots(&plan.name);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
            && !outcome
                .comparisons
                .iter()
                .any(|comparison| comparison.file == path)
        {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            println!("  removed: {}", path.display());
        }
    }
    Ok(())
}

fn as_json(
    plan: &Plan,
    outcome: &Outcome,
    took: Duration,
    round: u32,
    evidence: &std::path::Path,
) -> serde_json::Value {
    let snapshots = outcome.comparisons.iter().map(|comparison| {
        let (verdict, difference) = match &comparison.verdict {
            Snapshot::Same => ("same", None),
            Snapshot::Missing => ("missing", None),
            Snapshot::Different(difference) => ("different", Some(difference)),
        };
        json!({"container": comparison.container, "verdict": verdict, "difference": difference})
    });
    json!({
        "chapter": plan.chapter.folder,
        "scenario": plan.name,
        "engine": outcome.recording.engine,
        "round": round,
        "as_recorded": outcome.is_as_recorded(),
        "interrupted": outcome.interrupted,
        "seconds": took.as_secs_f64(),
        "lost": outcome.lost,
        "failure": outcome.failure.as_ref().map(ToString::to_string),
        "snapshots": snapshots.collect::<Vec<_>>(),
        "incomplete": outcome.recording.incomplete,
        "evidence": evidence,
    })
}

/// What a reader may want to try after a run.
fn next(plan: &Plan, engine: EngineKind) {
    let number = plan.chapter.number;
    let others: Vec<String> = plan
        .chapter
        .scenarios()
        .unwrap_or_default()
        .into_iter()
        .filter(|name| *name != plan.name)
        .collect();
    let other = others
        .iter()
        .find(|name| *name == "naive")
        .or(others.first());
    println!();
    match other {
        Some(name) if plan.name == HEALTHY => {
            let shows = plan
                .chapter
                .scenario(name)
                .map(|scenario| scenario.shows)
                .unwrap_or_default();
            println!("next: {BOLD}cargo xtask chapter {number} --scenario {name}{BOLD:#}");
            report::paragraph("      ", 6, &shows);
        }
        _ => println!(
            "next: {BOLD}cargo xtask chapter {}{BOLD:#}",
            if plan.name == HEALTHY {
                number + 1
            } else {
                number
            }
        ),
    }
    let manifest = plan.chapter.manifest_path(&plan.name);
    let shown = std::env::current_dir()
        .ok()
        .and_then(|here| manifest.strip_prefix(here).ok().map(ToOwned::to_owned));
    println!(
        "      {DIM}the pod: {}{DIM:#}",
        shown.unwrap_or(manifest).display()
    );
    if engine == EngineKind::Sandbox {
        println!(
            "      {DIM}the same on a real cluster: cargo xtask chapter {number} --engine kind{DIM:#}"
        );
    }
}

/// Leaves the pod running until Ctrl-C.
async fn keep(
    engine: &dyn Engine,
    plan: &Plan,
    args: &ChapterArgs,
    interrupt: watch::Receiver<bool>,
) -> anyhow::Result<Verdict> {
    let printer = Events::new(plan);
    let lines = args.follow || std::io::stdout().is_terminal();
    let mut observe = |event: &Event| {
        if lines {
            printer.print(event);
        }
    };
    let mut forwards = Vec::new();
    if args.keep {
        for pod in &plan.manifest.pods {
            let of = match plan.manifest.pods.len() {
                1 => "the pod".to_owned(),
                _ => format!("pod {}", pod.metadata.name),
            };
            for port in pod
                .spec
                .all_containers()
                .flat_map(|(_, container)| &container.ports)
            {
                // The same number here as in the pod, where it is free.
                let wanted = TcpListener::bind(("127.0.0.1", port.container_port)).await;
                let listener = match wanted {
                    Ok(listener) => listener,
                    Err(_) => TcpListener::bind(("127.0.0.1", 0))
                        .await
                        .context("cannot listen on 127.0.0.1")?,
                };
                println!(
                    "{GOOD}port {}{GOOD:#} of {of}: {BOLD}http://{}{BOLD:#}",
                    port.container_port,
                    listener.local_addr()?
                );
                forwards.push((
                    pod.metadata.name.clone(),
                    port.container_port,
                    Arc::new(listener),
                ));
            }
        }
        println!("{DIM}the pod runs until Ctrl-C{DIM:#}");
    }
    let serve = move |pods: Arc<dyn Pods>| forward(pods, forwards.clone());
    let outcome = plan.keep(engine, interrupt, &mut observe, &serve).await?;
    let evidence = keep_evidence(&Workspace::find()?, plan, engine.kind(), None, &outcome)?;
    if let Some(why) = outcome.lost {
        println!(
            "{DIM}what was recorded until then is in {}{DIM:#}",
            evidence.display()
        );
        anyhow::bail!(why);
    }
    Ok(Verdict::Good)
}

/// Brings connections from here to the pod's ports.
fn forward(pods: Arc<dyn Pods>, ports: Vec<(String, u16, Arc<TcpListener>)>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut listeners = JoinSet::new();
        for (pod, port, listener) in ports {
            let pods = pods.clone();
            listeners.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((mut here, _)) = listener.accept().await {
                    let (pods, pod) = (pods.clone(), pod.clone());
                    connections.spawn(async move {
                        match pods.connect(&pod, port).await {
                            Ok(mut there) => {
                                // Either side may break off; the other then sees the end.
                                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                            }
                            Err(error) => {
                                let error = anyhow::Error::new(error);
                                report::error(&error.context(format!("cannot reach port {port}")));
                            }
                        }
                    });
                }
            });
        }
        while listeners.join_next().await.is_some() {}
    })
}
