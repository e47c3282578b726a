//! Snapshots: what a scenario's containers must print, one file each, kept by insta.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use insta::internals::TextSnapshotContents;
use insta::{Snapshot, TextSnapshotKind};
use similar::TextDiff;

use crate::recording::Recording;
use crate::scenario::Cut;

/// What a container printed, beside its snapshot.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The container.
    pub container: String,
    /// The snapshot's file.
    pub file: PathBuf,
    /// How the two compare.
    pub verdict: Verdict,
    header: String,
    printed: String,
}

/// How what was printed compares with the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are the same.
    Same,
    /// There is no snapshot yet.
    Missing,
    /// They differ: a unified diff from the snapshot to what was printed.
    Different(String),
}

impl Cut {
    /// The lines of a container that are compared.
    #[must_use]
    pub fn of(&self, recording: &Recording, container: &str) -> Vec<String> {
        let lines = recording.lines(container).map(|line| line.text());
        lines
            .filter(|line| self.compares(line))
            .take(self.lines.unwrap_or(usize::MAX))
            .collect()
    }

    /// Whether a line is compared.
    #[must_use]
    pub fn compares(&self, line: &str) -> bool {
        !self
            .not_compared
            .iter()
            .any(|pattern| pattern.matches(line))
    }

    /// The snapshot's header: which lines these are, and which were left out. It is the same
    /// whether a pattern matched or not.
    fn header(&self, container: &str) -> String {
        let mut header = match self.lines {
            Some(1) => format!("the first line of {container}"),
            Some(count) => format!("the first {count} lines of {container}"),
            None => format!("all lines of {container}"),
        };
        for pattern in &self.not_compared {
            header.push_str(&format!("; not compared: {}", pattern.as_str()));
        }
        header
    }
}

/// The name of a container's files. No container has a dot in its name.
#[must_use]
pub fn file_name(container: &str) -> String {
    container.replace('/', ".")
}

/// Compares what a container printed with its snapshot in `folder`.
///
/// # Errors
///
/// If the snapshot is there and cannot be read.
pub fn compare(
    folder: &Path,
    container: &str,
    cut: &Cut,
    recording: &Recording,
) -> anyhow::Result<Comparison> {
    let file = folder.join(format!("{}.snap", file_name(container)));
    let header = cut.header(container);
    let printed = cut.of(recording, container).join("\n");
    let verdict = if file.exists() {
        let snapshot = open(&file)?;
        let old = text(&snapshot, &file)?;
        let new = TextSnapshotContents::new(printed.clone(), TextSnapshotKind::File);
        let old_header = snapshot.metadata().description().unwrap_or_default();
        if old.matches_latest(&new) && old_header == header {
            Verdict::Same
        } else {
            let whole = |header: &str, text: &TextSnapshotContents| format!("# {header}\n{text}\n");
            Verdict::Different(difference(&whole(old_header, old), &whole(&header, &new)))
        }
    } else {
        Verdict::Missing
    };
    Ok(Comparison {
        container: container.to_owned(),
        file,
        verdict,
        header,
        printed,
    })
}

/// The lines that a container must print: its snapshot in `folder`, without the header.
///
/// # Errors
///
/// If there is no such snapshot, or it cannot be read.
pub fn read(folder: &Path, container: &str) -> anyhow::Result<String> {
    let file = folder.join(format!("{}.snap", file_name(container)));
    Ok(text(&open(&file)?, &file)?.to_string())
}

fn open(file: &Path) -> anyhow::Result<Snapshot> {
    let snapshot = Snapshot::from_file(file).map_err(|error| anyhow::anyhow!("{error}"));
    snapshot.with_context(|| format!("cannot read the snapshot {}", file.display()))
}

fn text<'s>(snapshot: &'s Snapshot, file: &Path) -> anyhow::Result<&'s TextSnapshotContents> {
    snapshot
        .as_text()
        .with_context(|| format!("{} is no snapshot of text", file.display()))
}

fn difference(old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .missing_newline_hint(false)
        .header("the snapshot", "this run")
        .to_string()
}

impl Comparison {
    /// What the container printed, as far as it is compared.
    #[must_use]
    pub fn printed(&self) -> &str {
        &self.printed
    }

    /// Makes what was printed the snapshot.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or `CI` is set: then insta writes nothing.
    pub fn bless(&self) -> anyhow::Result<()> {
        let folder = self.file.parent().context("a snapshot lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Where there is no snapshot the assertion fails, writes one as pending and panics.
        // Accepting it is a matter of putting it in its place, as `cargo insta accept` does.
        let empty = tempfile::tempdir().context("cannot make a temporary folder")?;
        let name = file_name(&self.container);
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let _ = panic::catch_unwind(|| {
            let mut settings = insta::Settings::new();
            settings.set_snapshot_path(empty.path());
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings.set_description(self.header.as_str());
            settings.bind(|| insta::assert_snapshot!(name.as_str(), self.printed));
        });
        panic::set_hook(hook);
        let pending = empty.path().join(format!("{name}.snap.new"));
        if !pending.exists() {
            bail!(
                "insta wrote no snapshot to {}; is CI set?",
                self.file.display()
            );
        }
        let snapshot = Snapshot::from_file(&pending).map_err(|error| anyhow::anyhow!("{error}"))?;
        let saved = snapshot.save(&self.file);
        saved.map_err(|error| anyhow::anyhow!("cannot write {}: {error}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineKind;
    use crate::engine::{Change, Event, What};
    use std::time::Duration;

    fn recording(lines: &[&str]) -> Recording {
        let mut recording = Recording::new("01-test", "healthy", EngineKind::Sandbox);
        for line in lines {
            recording.add(Event {
                at: Duration::ZERO,
                pod: "pod".to_owned(),
                what: What::Container {
                    name: "app".to_owned(),
                    change: Change::Line((*line).into()),
                },
            });
        }
        recording
    }

    /// A change of the header alone was not written once.
    #[test]
    fn what_was_blessed_is_the_same_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.snap");
        let (two, all) = (
            Cut {
                lines: Some(2),
                ..Cut::default()
            },
            Cut::default(),
        );
        for (cut, lines) in [
            (&two, &["one", "two"]),
            (&all, &["one", "two"]),
            (&all, &["one", "2"]),
        ] {
            let recording = recording(lines);
            let before = fs::read(&file).ok();
            let compared = compare(folder.path(), "app", cut, &recording).unwrap();
            assert_ne!(compared.verdict, Verdict::Same);
            if let Err(error) = compared.bless() {
                // insta writes nothing on a build server.
                assert!(error.to_string().contains("is CI set?"), "{error}");
                assert_eq!(fs::read(&file).ok(), before);
                return;
            }
            let compared = compare(folder.path(), "app", cut, &recording).unwrap();
            assert_eq!(compared.verdict, Verdict::Same);
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
