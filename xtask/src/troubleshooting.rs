//! The entries of the page "Troubleshooting", and which of them an error has.

use std::path::{Path, PathBuf};

use harness::diagnosis::Failure;
use harness::manifest::Problems;

const TEXT: &str = include_str!("../../book/src/reference/troubleshooting.md");

/// What stands in a message for what varies.
const ANYTHING: &str = "{}";

/// An entry of the page: what it says of some messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its heading.
    pub title: &'static str,
    /// The line of the heading, counted from 1.
    pub line: usize,
    /// The messages that it is for, `{}` where they vary.
    pub messages: Vec<Message>,
}

/// A message on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its line, counted from 1.
    pub line: usize,
    /// What it says.
    pub text: &'static str,
}

/// The page's file: from the current folder where it lies below that, which is short.
#[must_use]
pub fn page() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().unwrap_or(package);
    let page = root.join("book/src/reference/troubleshooting.md");
    let here = std::env::current_dir().unwrap_or_default();
    match page.strip_prefix(here) {
        Ok(below) => below.to_owned(),
        Err(_) => page,
    }
}

/// Every entry, in the order of the page.
#[must_use]
pub fn entries() -> Vec<Entry> {
    read(TEXT)
}

fn read(page: &'static str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut in_messages = false;
    for (line, text) in (1..).zip(page.lines()) {
        if let Some(title) = text.strip_prefix("### ") {
            entries.push(Entry {
                title,
                line,
                messages: Vec::new(),
            });
        }
        let first = text.strip_prefix("{{#error");
        in_messages |= first.is_some();
        if !in_messages {
            continue;
        }
        let text = first.unwrap_or(text);
        let (text, is_last) = match text.strip_suffix("}}") {
            Some(text) => (text, true),
            None => (text, false),
        };
        in_messages = !is_last;
        if let Some(entry) = entries.last_mut()
            && !text.trim().is_empty()
        {
            let text = text.trim();
            entry.messages.push(Message { line, text });
        }
    }
    entries
}

/// The entries for an error, those of its root cause before those of what was being done; none if
/// the page has none.
#[must_use]
pub fn of_error(error: &anyhow::Error) -> Vec<Entry> {
    if let Some(problems) = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Problems>())
    {
        let each = problems.problems.iter();
        let mut found: Vec<_> = each.filter_map(|problem| of_text(&problem.what)).collect();
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|entry| seen.insert(entry.line));
        return found;
    }
    let causes = Vec::from_iter(error.chain().map(ToString::to_string));
    let found = causes.iter().rev().find_map(|cause| of_text(cause));
    found.into_iter().collect()
}

/// The entry for a run that failed: for what is known of its cause, else for what was seen.
#[must_use]
pub fn of_failure(failure: &Failure) -> Option<Entry> {
    let advice = failure.advice.iter().find_map(|advice| of_text(advice));
    advice.or_else(|| of_text(&failure.what))
}

/// The entry for a message. Of one that has several lines, the last is nearest to the cause; but
/// what another program said is no message, so they count only if they begin with words of ours.
/// What is indented is a list of all that is wrong, which the first line is about.
#[must_use]
pub fn of_text(text: &str) -> Option<Entry> {
    let entries = entries();
    let below = text.lines().skip(1).filter(|line| !line.starts_with(' '));
    let mut below = Vec::from_iter(below).into_iter().rev();
    let found = below.find_map(|line| {
        of_line(&entries, line).filter(|(_, message)| !message.starts_with(ANYTHING))
    });
    let first = || of_line(&entries, text.lines().next().unwrap_or_default());
    let found = found.or_else(first).or_else(|| of_whole(&entries, text));
    found.map(|(entry, _)| entry.clone())
}

/// The entry for a line, and its message. What follows a `: ` may be the cause of what is before
/// it, and comes first, unless the message goes on after it.
fn of_line<'e>(entries: &'e [Entry], line: &str) -> Option<(&'e Entry, &'static str)> {
    let whole = of_whole(entries, line);
    if whole.is_some_and(|(_, message)| !message.ends_with(ANYTHING)) {
        return whole;
    }
    let cause = line
        .split_once(": ")
        .and_then(|(_, cause)| of_line(entries, cause));
    cause.or(whole)
}

/// The entry for exactly this, and its message.
fn of_whole<'e>(entries: &'e [Entry], text: &str) -> Option<(&'e Entry, &'static str)> {
    let all = entries.iter().flat_map(|entry| {
        let messages = entry.messages.iter();
        messages.map(move |message| (entry, message.text))
    });
    let matching = all.filter(|(_, message)| matches(message, text));
    // A message that says more is meant before one that says less.
    matching.max_by_key(|(_, message)| message.replace(ANYTHING, "").len())
}

/// Whether a text is a message, with anything for each `{}`.
fn matches(message: &str, text: &str) -> bool {
    let mut parts = message.split(ANYTHING);
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = Vec::from_iter(parts);
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let entries = read(
            "# A page\n{{#error of no entry}}\n## Part\n### One\n\n{{#error\nfirst {}\n\n  second\n}}\n\n{{#error ends in {}}}\n### Two\n",
        );
        let found = entries.iter().map(|entry| {
            let messages = entry.messages.iter();
            let messages = Vec::from_iter(messages.map(|message| (message.line, message.text)));
            (entry.line, entry.title, messages)
        });
        assert_eq!(
            Vec::from_iter(found),
            [
                (
                    4,
                    "One",
                    vec![(7, "first {}"), (9, "second"), (12, "ends in {}")]
                ),
                (13, "Two", vec![])
            ]
        );
    }

    #[test]
    fn a_message_matches_what_it_stands_for() {
        for (message, text, is_match) in [
            ("no {} here", "no pod here", true),
            ("no {} here", "no pod there", false),
            ("no pod", "no pod", true),
            ("no pod", "no pod here", false),
            ("{} is {}", "a is b is c", true),
            ("{} is {}", "a was b", false),
            ("{}a", "aa", true),
            ("{}ab{}b", "ab", false),
        ] {
            assert_eq!(matches(message, text), is_match, "{message}: {text}");
        }
    }

    #[test]
    fn the_root_cause_comes_first() {
        let title = |error: &anyhow::Error| of_error(error).first().map(|entry| entry.title);
        let error = anyhow::anyhow!("this is not YAML: a tab").context("cannot read a.yaml");
        assert_eq!(title(&error), Some("It is not YAML"));
        let flattened = anyhow::anyhow!("{error:#}");
        assert_eq!(title(&flattened), Some("It is not YAML"));
        let error =
            anyhow::anyhow!("Permission denied (os error 13)").context("cannot read a.yaml");
        assert_eq!(
            title(&error),
            Some("A file or a folder cannot be read or written")
        );
        assert_eq!(title(&anyhow::anyhow!("nothing of ours")), None);
    }

    #[test]
    fn the_page_is_where_it_says() {
        assert!(page().is_file(), "{}", page().display());
    }
}
