//! Builds the book. Its pages hold prose; code, manifests, commands, outputs and figures are
//! included from the files that run, and what does not agree with them is an error.

mod directive;
mod highlight;
mod links;
mod listing;
mod measured;
mod page;
mod pod;
mod serve;
mod theme;
mod timeline;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use harness::workspace::Workspace;
use mdbook_driver::MDBook;
use mdbook_driver::book::BookItem;
use mdbook_driver::config::Config;

use page::Pages;
pub use serve::serve;

/// The command line that the book speaks of.
pub trait CommandLine {
    /// Checks the arguments of a `cargo xtask` command, as its parser does.
    ///
    /// # Errors
    ///
    /// If they would be refused: says why.
    fn check(&self, arguments: &str) -> anyhow::Result<()>;

    /// Each command, as `cargo xtask chapter`, and its help.
    fn helps(&self) -> Vec<(String, String)>;
}

/// Builds the book into a folder, whose old content is removed. Returns how many pages it has.
///
/// # Errors
///
/// If a page cannot be built, or does not agree with what it includes: tells all that is wrong,
/// each with its place. The book is built all the same, to be looked at.
pub fn build(
    workspace: &Workspace,
    program: &dyn CommandLine,
    folder: &Path,
) -> anyhow::Result<usize> {
    build_with(workspace, program, folder, None)
}

/// Builds it. A page with an endpoint loads itself again when that says so.
fn build_with(
    workspace: &Workspace,
    program: &dyn CommandLine,
    folder: &Path,
    live_reload: Option<&str>,
) -> anyhow::Result<usize> {
    let root = workspace.root().join("book");
    let mut config = Config::from_disk(root.join("book.toml"))?;
    config.build.build_dir = folder.to_owned();
    let theme = tempfile::tempdir().context("cannot make a temporary folder")?;
    theme::write(&root.join("theme"), theme.path())?;
    config.set("output.html.theme", theme.path())?;
    if let Some(endpoint) = live_reload {
        config.set("output.html.live-reload-endpoint", endpoint)?;
    }

    let mut pages = Pages::new(workspace, program)?;
    let file = "book/src/SUMMARY.md";
    let summary = fs::read_to_string(workspace.root().join(file))
        .with_context(|| format!("cannot read {file}"))?;
    let summary = summary.replace("{{#chapters}}\n", &pages.chapter_links());
    let summary =
        mdbook_summary::parse_summary(&summary).with_context(|| format!("cannot read {file}"))?;
    let mut book = MDBook::load_with_config_and_summary(&root, config, summary)?;

    let mut count = 0;
    book.book.for_each_mut(|item| {
        if let BookItem::Chapter(chapter) = item
            && let Some(source) = &chapter.source_path
        {
            count += 1;
            let path = Path::new("book/src").join(source).display().to_string();
            chapter.content = pages.expand(&path, &chapter.content);
        }
    });
    let mut problems = pages.problems()?;
    let built = book.build();
    built.with_context(|| format!("cannot write {}", folder.display()))?;
    problems.extend(links::dead(folder)?);
    if !problems.is_empty() {
        bail!(
            "the book does not agree with what it includes\n  {}",
            problems.join("\n  ")
        );
    }
    Ok(count)
}

/// The folder that the book is built into.
///
/// # Errors
///
/// If the current folder cannot be told, which a relative `CARGO_TARGET_DIR` needs.
pub fn folder(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    Ok(workspace.target()?.join("book"))
}
