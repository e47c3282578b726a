//! Listings: files of the repository and regions of them, between `ANCHOR: name` and
//! `ANCHOR_END: name`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

/// The folders whose regions the book shows: each of them must be on a page.
const SHOWN: [&str; 5] = ["book/typed", "chapters", "harness", "kit", "manifests"];

/// The text of a file, or of one region of it: without the lines that mark regions, and without
/// the indentation that all its lines have.
pub(crate) fn read(root: &Path, path: &str, anchor: Option<&str>) -> anyhow::Result<String> {
    let text = fs::read_to_string(root.join(path))
        .with_context(|| format!("cannot read {path}; its path is from the workbook's folder"))?;
    let lines: Vec<&str> = text.lines().collect();
    let region = match anchor {
        None => &lines[..],
        Some(name) => {
            let at = |wanted: Mark<'_>| {
                let found = lines.iter().position(|line| mark(line) == Some(wanted));
                found.with_context(|| {
                    let there: Vec<_> = names(&text).collect();
                    format!(
                        "{path} has no region `{name}` with a beginning and an end; it has: {}",
                        there.join(", ")
                    )
                })
            };
            let (start, end) = (at(Mark::Start(name))?, at(Mark::End(name))?);
            if start > end {
                bail!("{path} ends the region `{name}` before it begins it");
            }
            &lines[start + 1..end]
        }
    };
    let kept: Vec<&str> = region
        .iter()
        .copied()
        .filter(|line| mark(line).is_none())
        .collect();
    let dedented = dedent(&kept);
    let listing = dedented.trim_matches('\n');
    if listing.is_empty() {
        bail!("{path} has nothing to show there");
    }
    Ok(listing.to_owned())
}

/// Every region of the shown folders, as `path:name`.
pub(crate) fn regions(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut regions = BTreeSet::new();
    let mut folders: Vec<_> = SHOWN.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                let path = entry.path();
                let path = path.strip_prefix(root).unwrap_or(&path).display();
                regions.extend(names(&text).map(|name| format!("{path}:{name}")));
            }
        }
    }
    Ok(regions)
}

/// A line that marks where a region begins or ends.
#[derive(Clone, Copy, PartialEq)]
enum Mark<'l> {
    Start(&'l str),
    End(&'l str),
}

fn mark(line: &str) -> Option<Mark<'_>> {
    let line = line.trim();
    let comment = line.strip_prefix("//").or_else(|| line.strip_prefix('#'))?;
    match comment.trim_start().split_once(": ")? {
        ("ANCHOR", name) => Some(Mark::Start(name)),
        ("ANCHOR_END", name) => Some(Mark::End(name)),
        _ => None,
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| match mark(line) {
        Some(Mark::Start(name)) => Some(name),
        _ => None,
    })
}

fn dedent(lines: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start_matches(' ').len();
    let written = lines.iter().filter(|line| !line.trim().is_empty());
    let common = written.map(indent).min().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        text.push_str(line.get(common..).unwrap_or(""));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in SHOWN {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("kit/a.rs"), text).unwrap();
        root
    }

    #[test]
    fn a_region_is_dedented_and_without_marks() {
        let root = written(
            "fn a() {\n    // ANCHOR: outer\n    if x {\n\n        // ANCHOR: inner\n        y();\n        // ANCHOR_END: inner\n    }\n    // ANCHOR_END: outer\n}\n",
        );
        let read = |anchor| read(root.path(), "kit/a.rs", anchor).unwrap();
        assert_eq!(read(Some("outer")), "if x {\n\n    y();\n}");
        assert_eq!(read(Some("inner")), "y();");
        assert_eq!(read(None), "fn a() {\n    if x {\n\n        y();\n    }\n}");
        let regions = regions(root.path()).unwrap();
        assert_eq!(
            Vec::from_iter(regions),
            ["kit/a.rs:inner", "kit/a.rs:outer"]
        );
    }

    #[test]
    fn what_cannot_be_shown_is_an_error_that_says_why() {
        let root = written("# ANCHOR: a\n# ANCHOR_END: a\n# ANCHOR: b\nx\n");
        for (path, anchor, what) in [
            ("kit/b.rs", None, "cannot read kit/b.rs"),
            ("kit/a.rs", Some("c"), "no region `c`"),
            ("kit/a.rs", Some("c"), "it has: a, b"),
            ("kit/a.rs", Some("b"), "no region `b` with"),
            ("kit/a.rs", Some("a"), "nothing to show"),
        ] {
            let error = read(root.path(), path, anchor).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
