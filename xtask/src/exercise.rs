//! `cargo xtask exercise`: the exercises' own proof, and a new one.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anstream::println;
use anyhow::{Context, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use harness::engine::Engine;
use harness::exercise::{Answer, Exercise, Finding, Form, Seed};
use harness::image::Image;
use harness::workspace::{Chapter, HEALTHY, Workspace};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;

use crate::chapter::watch_for_ctrl_c;
use crate::engine;
use crate::learn::{build, named};
use crate::report::{BAD, DIM, GOOD, span};
use crate::{On, Verdict};

/// As many pods run at once; most of them wait for something that does not come.
const SIDE_BY_SIDE: usize = 8;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Proves that right answers are taken for right, and wrong ones for what they are
    Test {
        /// Only this exercise, by its number or name
        exercise: Option<String>,
        /// What chance decides
        #[arg(long)]
        seed: Option<Seed>,
        #[command(flatten)]
        on: On,
    },
    /// Makes the folder of a new exercise, to be filled in
    New {
        /// The folder's name, as 12-follow-the-rotation
        folder: String,
        /// The chapter that it belongs to
        #[arg(long)]
        chapter: String,
        /// What an answer is: a pod.yaml, a main.rs, or what will happen
        #[arg(long, default_value = "manifest", value_parser = parse_form())]
        form: Form,
    },
}

fn parse_form() -> impl TypedValueParser<Value = Form> {
    PossibleValuesParser::new(["manifest", "program", "prediction"]).map(|form| {
        match form.as_str() {
            "program" => Form::Program,
            "prediction" => Form::Prediction,
            _ => Form::Manifest,
        }
    })
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Verdict> {
    match command {
        Command::Test { exercise, seed, on } => test(exercise.as_deref(), seed, on).await,
        Command::New {
            folder,
            chapter,
            form,
        } => new(&folder, &chapter, form),
    }
}

/// What must come of an answer.
enum Expected {
    Solved,
    /// Not solved, and what is said to it is that of this mistake.
    Hint(String),
    /// Not solved, whatever is said to it.
    NotSolved,
}

/// An answer that is checked.
struct Case {
    exercise: Exercise,
    images: Vec<Image>,
    name: String,
    answer: Answer,
    expected: Expected,
}

async fn test(only: Option<&str>, seed: Option<Seed>, on: On) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let engine: Arc<dyn Engine> = Arc::from(engine::open_for_exercises(on.engine).await?);
    let exercises = match only {
        Some(only) => vec![named(&workspace, only)?],
        None => [workspace.exercises()?, workspace.faults()?].concat(),
    };
    let images = build(&workspace, &exercises).await?;
    let mut cases = Vec::new();
    for exercise in exercises {
        cases.extend(cases_of(&exercise, &images)?);
    }
    let (begin, count) = (Instant::now(), cases.len());
    let (turns, interrupt) = (Arc::new(Semaphore::new(SIDE_BY_SIDE)), watch_for_ctrl_c());
    // The answers to an exercise in Rust are one program, by turns.
    let compiler = Arc::new(Mutex::new(()));
    let mut checks = JoinSet::new();
    for case in cases {
        let (engine, turns, interrupt) = (engine.clone(), turns.clone(), interrupt.clone());
        let compiler = compiler.clone();
        let seed = seed.unwrap_or_else(Seed::any);
        checks.spawn(async move {
            let _alone = match case.exercise.form {
                Form::Program => Some(compiler.lock().await),
                Form::Manifest | Form::Prediction => None,
            };
            let _turn = turns.acquire().await;
            let found = prove(&case, engine.as_ref(), seed, interrupt).await;
            (case, seed, found)
        });
    }
    let (mut bad, mut left_out) = (0, 0);
    while let Some(done) = checks.join_next().await {
        let (case, seed, proof) = done.context("a check has panicked")?;
        let kind = if case.exercise.is_fault() {
            "fault "
        } else {
            ""
        };
        let name = format!("{kind}{} {}", case.exercise.folder, case.name);
        match proof.with_context(|| name.clone())? {
            Proof::Right => println!("{GOOD}as it should be{GOOD:#} {name}"),
            Proof::LeftOut(why) => {
                anstream::eprintln!("{DIM}left out{DIM:#} {name}: {why}");
                left_out += 1;
            }
            Proof::Wrong(wrong) => {
                bad += 1;
                println!("{BAD}wrong{BAD:#} {name} {DIM}(seed {seed}){DIM:#}: {wrong}");
            }
        }
    }
    println!(
        "{count} answers in {}: {} as they should be, {bad} not",
        span(begin.elapsed()),
        count - bad - left_out
    );
    Ok(if bad == 0 {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

fn cases_of(exercise: &Exercise, images: &[Image]) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut add = |name: String, answer: Answer, expected: Expected| {
        let (exercise, images) = (exercise.clone(), images.to_vec());
        cases.push(Case {
            exercise,
            images,
            name,
            answer,
            expected,
        });
    };
    let causes = exercise.causes.iter();
    let causes = causes.flat_map(|cause| [Some(cause.text.as_str()), cause.says.as_deref()]);
    for text in causes.flatten().chain(exercise.texts.all()) {
        let long = text.lines().find(|line| line.chars().count() > 80);
        ensure!(
            long.is_none(),
            "{}: wider than 80 columns: {long:?}",
            exercise.folder
        );
    }
    let solutions = exercise.solutions()?;
    let is_prediction = exercise.form == Form::Prediction;
    // Only one thing happens.
    ensure!(
        solutions.len() >= 2 || is_prediction,
        "{} has no second solution",
        exercise.folder
    );
    for (name, answer) in solutions {
        add(format!("solutions/{name}"), answer, Expected::Solved);
    }
    let starter = exercise.starter()?;
    let mut has_that_of_starter = false;
    for name in exercise.mistakes()? {
        let answer = exercise.mistaken(&name)?;
        has_that_of_starter |= answer.text == starter.text;
        add(format!("mistakes/{name}"), answer, Expected::Hint(name));
    }
    if is_prediction {
        // Nothing is foretold yet.
        add("starter".to_owned(), starter, Expected::NotSolved);
        return Ok(cases);
    }
    ensure!(
        has_that_of_starter,
        "{}: no mistake is that of the starter; a mistake without an answer is",
        exercise.folder
    );
    add(
        "hard-coded".to_owned(),
        exercise.hard_coded()?,
        Expected::NotSolved,
    );
    Ok(cases)
}

/// What came of an answer.
enum Proof {
    Right,
    Wrong(String),
    /// This machine cannot run it: why.
    LeftOut(String),
}

/// Checks an answer, and says what is wrong with what was found.
async fn prove(
    case: &Case,
    engine: &dyn Engine,
    seed: Seed,
    interrupt: watch::Receiver<bool>,
) -> anyhow::Result<Proof> {
    let checked = case
        .exercise
        .check(&case.answer, engine, &case.images, seed, interrupt)
        .await?;
    let wrong = match (checked.finding, &case.expected) {
        (Finding::NotHere(why), _) => return Ok(Proof::LeftOut(why)),
        (Finding::Solved, Expected::Solved) => return Ok(Proof::Right),
        (Finding::NotYet { .. }, Expected::NotSolved) => return Ok(Proof::Right),
        (Finding::NotYet { hints, .. }, Expected::Hint(expected))
            if hints.keys().eq([expected]) && hints.values().all(|hint| !hint.contains('{')) =>
        {
            return Ok(Proof::Right);
        }
        (Finding::Solved, _) => "it counts as solved".to_owned(),
        (Finding::DoesNotCompile(said), _) => format!("it does not compile\n{said}"),
        (Finding::Interrupted, _) => "interrupted".to_owned(),
        (Finding::NotYet { facts, hints }, _) => format!(
            "it counts as not solved, with the mistakes {:?}\n{facts}",
            Vec::from_iter(hints)
        ),
    };
    Ok(Proof::Wrong(wrong))
}

fn new(folder: &str, chapter: &str, form: Form) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let chapter = workspace.select(chapter)?.remove(0);
    let path = workspace.new_exercise(folder)?;
    let write = |(name, text): &(&str, String)| {
        let file = path.join(name);
        let write = || {
            fs::create_dir_all(file.parent().unwrap_or(&path))?;
            fs::write(&file, text)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    };
    let files = skeleton(folder, &chapter, form)?;
    // Whatever is there already stays as it is.
    fs::create_dir(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if let Err(error) = files.iter().try_for_each(write) {
        // A part of an exercise would be in the way of all the others.
        let _ = fs::remove_dir_all(&path);
        return Err(error);
    }
    for (name, _) in files {
        println!("exercises/{folder}/{name}");
    }
    println!("\nnext: fill them in, and `cargo xtask exercise test {folder}`");
    Ok(Verdict::Good)
}

/// The files of a new exercise, and what stands in them: an example of each, to be filled in.
fn skeleton(
    folder: &str,
    chapter: &Chapter,
    form: Form,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let healthy = chapter.manifest(HEALTHY)?;
    let pod = healthy.text.as_str();
    let texts = include_str!("exercise/exercise.toml");
    let check = include_str!("exercise/check.toml");
    let files = match form {
        Form::Manifest => vec![
            ("exercise.toml", texts),
            ("check.toml", check),
            ("starter/pod.yaml", pod),
            ("solutions/one/pod.yaml", pod),
            ("solutions/another/pod.yaml", pod),
            ("hard-coded/pod.yaml", pod),
            (
                "mistakes/as-it-begins/mistake.toml",
                include_str!("exercise/manifest/mistake.toml"),
            ),
        ],
        Form::Program => {
            let program = include_str!("exercise/program/main.rs");
            vec![
                ("exercise.toml", texts),
                ("check.toml", check),
                ("pod.yaml", include_str!("exercise/program/pod.yaml")),
                (
                    "program/Cargo.toml",
                    include_str!("exercise/program/package.toml"),
                ),
                (
                    "program/src/main.rs",
                    include_str!("exercise/program/including.rs"),
                ),
                ("starter/main.rs", program),
                ("solutions/one/main.rs", program),
                ("solutions/another/main.rs", program),
                ("hard-coded/main.rs", program),
                (
                    "mistakes/as-it-begins/mistake.toml",
                    include_str!("exercise/program/mistake.toml"),
                ),
            ]
        }
        Form::Prediction => vec![
            // Only one thing happens, so that nothing varies.
            (
                "exercise.toml",
                texts.split("\n# What chance").next().unwrap_or(texts),
            ),
            ("check.toml", include_str!("exercise/prediction/check.toml")),
            ("pod.yaml", pod),
            (
                "starter/prediction.toml",
                include_str!("exercise/prediction/starter.toml"),
            ),
            (
                "solutions/foretold/prediction.toml",
                include_str!("exercise/prediction/solution.toml"),
            ),
            (
                "mistakes/plausible/prediction.toml",
                include_str!("exercise/prediction/mistaken.toml"),
            ),
            (
                "mistakes/plausible/mistake.toml",
                include_str!("exercise/prediction/mistake.toml"),
            ),
        ],
    };
    let container = match form {
        // Of the pod that comes with it.
        Form::Program => "app",
        Form::Manifest | Form::Prediction => {
            let pod = healthy.pods.first();
            let first = pod.and_then(|pod| pod.spec.containers.first());
            first.map_or("app", |container| &container.name)
        }
    };
    let (number, name) = folder.split_once('-').unwrap_or(("", folder));
    let filled = files.into_iter().map(|(file, text)| {
        if text == pod {
            return (file, text.to_owned());
        }
        let text = text
            .replace("CHAPTER", &chapter.number.to_string())
            .replace("CONTAINER", container)
            .replace("NUMBER", number)
            .replace("NAME", name);
        (file, text)
    });
    Ok(filled.collect())
}
