//! The exercises: `cargo xtask learn`, and its steps one at a time as `check`, `hint`, `solution`
//! and `reset`, and `report`; and `cargo xtask fault`.

mod session;
mod summary;
mod timeline;

use std::time::{Duration, Instant};

use anstream::println;
use anyhow::Context;
use harness::exercise::{self, Answer, Checked, Exercise, Finding, Form, Seed, Work};
use harness::image::Image;
use harness::recording::Recording;
use harness::workspace::Workspace;
use similar::ChangeTag;

pub(crate) use session::{fault, run};
pub(crate) use summary::run as summarise;

use crate::chapter::watch_for_ctrl_c;
use crate::engine;
use crate::report::{
    ADDED, BAD, BOLD, Compiling, DIM, GOOD, Phase, REMOVED, fact, paragraph, span,
};
use crate::{On, Verdict};

/// Runs the reader's answer, and says what it lacks.
pub(crate) async fn check(
    wanted: Option<&str>,
    on: On,
    seed: Option<Seed>,
) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let mut work = open(&workspace)?;
    let exercise = find(&workspace, &work, wanted)?;
    let is_new = !work.file(&exercise).exists();
    let answer = work.answer(&exercise)?;
    if is_new {
        title(&exercise);
        fact("answer", &answer.file);
        ask(&exercise);
        again(&exercise, &answer);
        return Ok(Verdict::Bad);
    }
    // The program may be compiled with another engine, and begin again.
    let engine = engine::open_for_exercises(on.engine).await?;
    title(&exercise);
    fact("answer", &answer.file);
    let images = build(&workspace, std::slice::from_ref(&exercise)).await?;
    let seed = seed.unwrap_or_else(Seed::any);
    let begin = Instant::now();
    let interrupt = watch_for_ctrl_c();
    let checked = exercise
        .check(&answer, engine.as_ref(), &images, seed, interrupt)
        .await?;
    let took = begin.elapsed();
    if checked.finding == Finding::Interrupted {
        println!("{BAD}interrupted{BAD:#}");
        return Ok(Verdict::Bad);
    }
    if let Some(recording) = foretold(&exercise, &checked) {
        println!();
        happened(recording);
        println!();
    }
    tell(&exercise, &checked, took, seed);
    if let Finding::NotHere(_) = checked.finding {
        if let Some(next) = after(&workspace.exercises()?, &work, &exercise) {
            println!("\nnext: {BOLD}cargo xtask check {}{BOLD:#}", next.number);
            paragraph("      ", 6, &next.texts.title);
        }
        return Ok(Verdict::NotHere);
    }
    if checked.finding != Finding::Solved {
        again(&exercise, &answer);
        let number = handle(&exercise);
        println!("      {BOLD}cargo xtask hint {number}{BOLD:#} if you are stuck");
        return Ok(Verdict::Bad);
    }
    println!();
    work.mark_solved(&exercise)?;
    match next(&workspace, &work)? {
        Some(next) => {
            println!("next: {BOLD}cargo xtask check{BOLD:#}");
            paragraph(
                "      ",
                6,
                &format!("{} {}", next.number, next.texts.title),
            );
        }
        None => println!("All exercises are solved."),
    }
    Ok(Verdict::Good)
}

/// Says how an answer is checked again.
fn again(exercise: &Exercise, answer: &Answer) {
    println!("\nnext: edit {BOLD}{}{BOLD:#}", answer.file);
    let number = handle(exercise);
    println!("      {BOLD}cargo xtask check {number}{BOLD:#} looks at it again");
}

/// Prints what a check has found.
fn tell(exercise: &Exercise, checked: &Checked, took: Duration, seed: Seed) {
    let took = span(took);
    match &checked.finding {
        Finding::Interrupted => {}
        Finding::NotHere(why) => {
            println!("{BAD}cannot run here{BAD:#}\n");
            text(why);
        }
        Finding::DoesNotCompile(said) => {
            println!("{BAD}it does not compile{BAD:#}, {took}\n");
            println!("{said}");
        }
        Finding::NotYet { facts, hints } => {
            println!("{BAD}not yet{BAD:#}, {took} {DIM}(seed {seed}){DIM:#}");
            for hint in hints.values() {
                println!();
                text(hint);
            }
            if !facts.is_empty() {
                println!();
            }
            facts.trim_end().lines().for_each(fact_line);
        }
        Finding::Solved => {
            println!("{GOOD}solved{GOOD:#}, {took} {DIM}(seed {seed}){DIM:#}\n");
            text(&exercise.texts.explains);
        }
    }
}

/// What is to be shown of a run before its verdict: who has foretold something wants to see it.
fn foretold<'r>(exercise: &Exercise, checked: &'r Checked) -> Option<&'r Recording> {
    let recording = checked.recording.as_ref();
    recording.filter(|_| exercise.form == Form::Prediction)
}

/// Prints a line of what was seen. What a container printed, and a line of the manifest, are as long
/// as they are.
fn fact_line(line: &str) {
    let text = line.trim_start();
    let is_quoted = !text.starts_with(|first: char| first.is_alphabetic());
    let indent = line.len() - text.len();
    match ["try: ", "help: "]
        .iter()
        .find(|lead| text.starts_with(*lead))
    {
        _ if is_quoted && indent > 0 => println!("{line}"),
        Some(lead) => {
            let (lead, rest) = line.split_at(indent + lead.len());
            paragraph(lead, lead.len(), rest);
        }
        None => paragraph(&" ".repeat(indent), indent, text),
    }
}

/// Prints what a pod did.
fn happened(recording: &Recording) {
    figure("what happened", recording);
    println!();
    for line in timeline::events(recording) {
        println!("{line}");
    }
}

/// Prints what a pod did as a figure.
fn figure(title: &str, recording: &Recording) {
    println!("{BOLD}{title}{BOLD:#}");
    for row in timeline::figure(recording) {
        println!("{row}");
    }
    println!("{DIM}{}{DIM:#}", timeline::LEGEND);
}

/// Says what is asked once more, and the hint.
pub(crate) fn hint(wanted: Option<&str>) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let exercise = find(&workspace, &open(&workspace)?, wanted)?;
    title(&exercise);
    println!();
    text(&exercise.texts.hint);
    Ok(Verdict::Good)
}

/// Prints the solutions: after the reader's own, or when they are asked for in earnest.
pub(crate) fn solution(wanted: Option<&str>, really: bool) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let work = open(&workspace)?;
    let exercise = find(&workspace, &work, wanted)?;
    title(&exercise);
    if !really && !work.is_solved(&exercise) {
        println!("\nIt is not solved yet, and what one finds oneself, one keeps.");
        println!(
            "next: {BOLD}cargo xtask hint {number}{BOLD:#}, or the solution after all:\n      \
             {BOLD}cargo xtask solution {number} --really{BOLD:#}",
            number = handle(&exercise)
        );
        return Ok(Verdict::Bad);
    }
    solutions(&exercise)?;
    println!();
    text(&exercise.texts.explains);
    Ok(Verdict::Good)
}

/// Prints what the solutions change in the starter.
fn solutions(exercise: &Exercise) -> anyhow::Result<()> {
    let starter = exercise.starter()?.text;
    for (name, answer) in exercise.solutions()? {
        println!("\n{GOOD}{name}{GOOD:#} {DIM}{}{DIM:#}", answer.file);
        let change = similar::TextDiff::from_lines(&starter, &answer.text);
        for hunk in change.unified_diff().context_radius(2).iter_hunks() {
            for line in hunk.iter_changes() {
                let style = match line.tag() {
                    ChangeTag::Insert => ADDED,
                    ChangeTag::Delete => REMOVED,
                    ChangeTag::Equal => DIM,
                };
                let text = line.value().trim_end_matches('\n');
                println!("{style}{}{text}{style:#}", line.tag());
            }
        }
    }
    Ok(())
}

/// Puts the starter back.
pub(crate) fn reset(wanted: Option<&str>) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let work = open(&workspace)?;
    let exercise = find(&workspace, &work, wanted)?;
    title(&exercise);
    let kept = work.reset(&exercise)?;
    println!(
        "{} is as it was in the beginning",
        work.answer(&exercise)?.file
    );
    if let Some(kept) = kept {
        println!("{DIM}your answer is in {kept}{DIM:#}");
    }
    Ok(Verdict::Good)
}

/// Lists the exercises, and which of them are solved.
pub(crate) fn list(workspace: &Workspace) -> anyhow::Result<()> {
    let work = open(workspace)?;
    for (title, all) in [
        ("Exercises", workspace.exercises()?),
        ("Faults", workspace.faults()?),
    ] {
        println!("\n{BOLD}{title}{BOLD:#}");
        for exercise in all {
            let mark = match work.is_solved(&exercise) {
                true => format!("{GOOD}solved{GOOD:#}"),
                false => "      ".to_owned(),
            };
            let lead = format!("{:>2}  {mark}  ", exercise.number);
            paragraph(&lead, 12, &exercise.texts.title);
        }
    }
    Ok(())
}

/// Opens the reader's folder.
fn open(workspace: &Workspace) -> anyhow::Result<Work> {
    let work = Work::open(workspace)?;
    if let Some(kept) = work.set_aside() {
        anstream::eprintln!("{}", was_set_aside(&kept));
    }
    Ok(work)
}

/// That nothing is known of what was solved.
fn was_set_aside(kept: &str) -> String {
    format!("{BAD}what was solved cannot be read{BAD:#}, and is kept in {kept}: none is solved")
}

/// The exercise that is named; else the first that is not solved.
fn find(workspace: &Workspace, work: &Work, wanted: Option<&str>) -> anyhow::Result<Exercise> {
    match wanted {
        Some(wanted) => named(workspace, wanted),
        None => next(workspace, work)?.context("all exercises are solved: name one"),
    }
}

/// The exercise with that number or name, or the fault that is called `fault-NUMBER`.
pub(crate) fn named(workspace: &Workspace, wanted: &str) -> anyhow::Result<Exercise> {
    if let Some(number) = wanted.strip_prefix("fault-") {
        let mut faults = workspace.faults()?.into_iter();
        let found = faults.find(|fault| number.parse() == Ok(fault.number));
        return found.with_context(|| format!("there is no fault `{number}`"));
    }
    let all = workspace.exercises()?;
    let is_meant = |exercise: &&Exercise| {
        wanted.parse() == Ok(exercise.number)
            || wanted == exercise.name
            || wanted == exercise.folder
    };
    let found = all.iter().find(is_meant).cloned();
    found.with_context(|| {
        let names = all.iter().map(|one| format!("{} {}", one.number, one.name));
        let names = Vec::from_iter(names).join(", ");
        format!("there is no exercise `{wanted}`; there are: {names}")
    })
}

/// What an exercise is called on the command line, as [`named`] takes it.
fn handle(exercise: &Exercise) -> String {
    match exercise.is_fault() {
        true => format!("fault-{}", exercise.number),
        false => exercise.number.to_string(),
    }
}

/// Whether there is an answer that is no longer what the exercise begins with.
fn is_answered(work: &Work, exercise: &Exercise) -> anyhow::Result<bool> {
    Ok(work.file(exercise).exists() && work.answer(exercise)?.text != exercise.starter()?.text)
}

/// The first exercise that is not solved.
fn next(workspace: &Workspace, work: &Work) -> anyhow::Result<Option<Exercise>> {
    let mut exercises = workspace.exercises()?.into_iter();
    Ok(exercises.find(|exercise| !work.is_solved(exercise)))
}

/// The one to go on with when one is left as it is: the next that is not solved.
fn after(all: &[Exercise], work: &Work, left: &Exercise) -> Option<Exercise> {
    let open = |one: &&Exercise| !work.is_solved(one) && one.number != left.number;
    let next = all.iter().find(|one| one.number > left.number && open(one));
    // Behind the last one stands the first that was left out.
    next.or_else(|| all.iter().find(open)).cloned()
}

/// Compiles what exercises need.
pub(crate) async fn build(
    workspace: &Workspace,
    exercises: &[Exercise],
) -> anyhow::Result<Vec<Image>> {
    let phase = Phase::begin("build", false);
    let mut compiling = Compiling::new(phase.bar());
    let (workspace, exercises) = (workspace.clone(), exercises.to_vec());
    let built = tokio::task::spawn_blocking(move || {
        exercise::build(&workspace, &exercises, &mut |progress| {
            compiling.show(progress);
        })
    });
    let images = built.await.context("the build has panicked")?;
    phase.end();
    images
}

fn title(exercise: &Exercise) {
    let kind = if exercise.is_fault() {
        "Fault"
    } else {
        "Exercise"
    };
    println!(
        "{BOLD}{kind} {}: {}{BOLD:#}",
        exercise.number, exercise.texts.title
    );
}

fn ask(exercise: &Exercise) {
    println!();
    text(&exercise.texts.asks);
    println!();
    text(&exercise.texts.why);
}

/// Says once more what is asked.
fn ask_again(exercise: &Exercise) {
    println!();
    text(&exercise.texts.asks);
}

/// Prints paragraphs, with an empty line between.
fn text(of: &str) {
    for (index, one) in of.trim().split("\n\n").enumerate() {
        if index > 0 {
            println!();
        }
        paragraph("", 0, one);
    }
}
