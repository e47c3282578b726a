//! `cargo xtask list` and `cargo xtask manifest`.

use anstream::println;
use harness::workspace::Workspace;
use serde_json::json;

use crate::Verdict;
use crate::report::{BOLD, DIM};

/// Lists the chapters and their scenarios.
pub(crate) fn run(as_json: bool) -> anyhow::Result<Verdict> {
    let workspace = Workspace::find()?;
    let mut documents = Vec::new();
    for chapter in workspace.chapters()? {
        let mut scenarios = Vec::new();
        if !as_json {
            println!(
                "{BOLD}{:>2}  {}{BOLD:#}  {}",
                chapter.number, chapter.name, chapter.title
            );
        }
        for name in chapter.scenarios()? {
            let scenario = chapter.scenario(&name)?;
            if as_json {
                scenarios.push(
                    json!({"name": name, "shows": scenario.shows, "engines": scenario.engines}),
                );
            } else {
                crate::report::paragraph(&format!("{DIM}{name:>18}{DIM:#}  "), 20, &scenario.shows);
            }
        }
        documents.push(json!({
            "number": chapter.number,
            "name": chapter.name,
            "title": chapter.title,
            "summary": chapter.summary,
            "scenarios": scenarios,
        }));
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    } else {
        crate::learn::list(&workspace)?;
    }
    Ok(Verdict::Good)
}

/// Prints a manifest: what is applied is the file as it stands.
pub(crate) fn manifest(chapter: &str, scenario: &str) -> anyhow::Result<Verdict> {
    let chapters = Workspace::find()?.select(chapter)?;
    for chapter in chapters {
        let plan = harness::run::Plan::load(&chapter, scenario)?;
        print!("{}", plan.manifest.text);
    }
    Ok(Verdict::Good)
}
