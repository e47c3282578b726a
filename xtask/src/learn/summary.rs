//! `cargo xtask report`: who hands in their answers shows what they do, and not what was noted.

use anstream::println;
use anyhow::Context;
use harness::exercise::{Finding, Seed};
use harness::workspace::Workspace;

use super::{build, is_answered, open};
use crate::chapter::watch_for_ctrl_c;
use crate::engine;
use crate::{On, Verdict};

/// Checks every answer that there is, and prints a table in Markdown.
pub(crate) async fn run(on: On) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let work = open(&workspace)?;
    let engine = engine::open_for_exercises(on.engine).await?;
    let interrupt = watch_for_ctrl_c();
    let exercises = [workspace.exercises()?, workspace.faults()?].concat();
    let mut answered = Vec::new();
    for exercise in &exercises {
        if is_answered(&work, exercise)? {
            answered.push(exercise.clone());
        }
    }
    let images = build(&workspace, &answered).await?;
    let (mut rows, mut solved, count) = (String::new(), 0, exercises.len());
    for exercise in &exercises {
        let is_answered = answered.iter().any(|one| one.folder == exercise.folder);
        let verdict = if is_answered {
            let answer = work.answer(exercise)?;
            let seed = Seed::any();
            let checked = exercise
                .check(&answer, engine.as_ref(), &images, seed, interrupt.clone())
                .await
                .with_context(|| format!("exercise {}", exercise.number))?;
            match checked.finding {
                Finding::Solved => {
                    solved += 1;
                    format!("solved (seed {seed})")
                }
                Finding::NotYet { hints, .. } => match hints.keys().next() {
                    Some(mistake) => format!("not yet: {mistake} (seed {seed})"),
                    None => format!("not yet (seed {seed})"),
                },
                Finding::DoesNotCompile(_) => "not yet: it does not compile".to_owned(),
                Finding::NotHere(_) => "cannot run on this machine".to_owned(),
                Finding::Interrupted => return Ok(Verdict::Bad),
            }
        } else {
            "not begun".to_owned()
        };
        let kind = if exercise.is_fault() { "fault " } else { "" };
        rows += &format!(
            "| {kind}{} | {} | {verdict} |\n",
            exercise.number, exercise.texts.title
        );
    }
    println!("# The sidecar workbook: {solved} of {count} exercises and faults\n");
    println!("| | Exercise | Answer |\n|---|---|---|\n{rows}");
    println!(
        "Each answer was run on {} for this, with values that chance has chosen.",
        engine.kind()
    );
    Ok(Verdict::Good)
}
