//! The page "Troubleshooting" and the errors of the programs: each has the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sources::{Message, Source};
use xtask::troubleshooting::{self, Entry};

/// Messages that no reader sees as an error, and why.
const NOT_SEEN: [(&str, &str); 1] = [(
    "interrupted",
    "`bench loop` prints it as its own word when Ctrl-C ends it",
)];

fn messages() -> Vec<Message> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    sources::messages(root)
}

/// Every message of the page, with its entry and its line.
fn of_page(entries: &[Entry]) -> impl Iterator<Item = (&Entry, usize, &'static str)> {
    entries.iter().flat_map(|entry| {
        let messages = entry.messages.iter();
        messages.map(move |message| (entry, message.line, message.text))
    })
}

#[test]
fn every_message_has_an_entry() {
    let entries = troubleshooting::entries();
    let on_page: BTreeSet<_> = of_page(&entries).map(|(_, _, text)| text).collect();
    let not_seen = |text: &str| NOT_SEEN.iter().any(|(other, _)| *other == text);
    let lacking = messages().into_iter().filter(|message| {
        let text = message.text.as_str();
        !on_page.contains(text) && !not_seen(text)
    });
    let lacking = Vec::from_iter(lacking.map(|Message { file, line, text }| {
        format!("{file}:{line}: no entry of {PAGE} has the message: {text}")
    }));
    assert!(lacking.is_empty(), "\n{}", lacking.join("\n"));
}

#[test]
fn every_message_of_the_page_is_in_a_source() {
    let messages = messages();
    let in_sources: BTreeSet<_> = messages
        .iter()
        .map(|message| message.text.as_str())
        .collect();
    let entries = troubleshooting::entries();
    let gone = of_page(&entries).filter(|(_, _, text)| !in_sources.contains(text));
    let gone = Vec::from_iter(
        gone.map(|(_, line, text)| format!("{PAGE}:{line}: no source has the message: {text}")),
    );
    assert!(gone.is_empty(), "\n{}", gone.join("\n"));
    for (text, _) in NOT_SEEN {
        assert!(
            in_sources.contains(text),
            "no source has the message: {text}"
        );
    }
}

#[test]
fn every_entry_is_found_by_its_messages() {
    let entries = troubleshooting::entries();
    for (entry, line, text) in of_page(&entries) {
        let said = text.replace("{}", "x");
        let found = troubleshooting::of_text(&said).map(|found| found.title);
        assert_eq!(found, Some(entry.title), "{PAGE}:{line}: {text}");
    }
}

#[test]
fn titles_and_messages_are_there_once() {
    let entries = troubleshooting::entries();
    let (mut titles, mut texts) = (BTreeSet::new(), BTreeMap::new());
    for entry in &entries {
        let Entry { title, line, .. } = entry;
        assert!(
            titles.insert(*title),
            "{PAGE}:{line}: {title} is there twice"
        );
        assert!(title.len() <= 74, "{PAGE}:{line}: wider than a terminal");
        assert!(
            !entry.messages.is_empty(),
            "{PAGE}:{line}: it has no message"
        );
    }
    for (_, line, text) in of_page(&entries) {
        let first = texts.insert(text, line);
        assert_eq!(first, None, "{PAGE}:{line}: {text} is there twice");
    }
}

/// The page, as messages of these tests name it.
const PAGE: &str = "book/src/reference/troubleshooting.md";

#[test]
fn a_message_is_found_however_it_is_made() {
    let text = r#"
        const CONSTANT: &str = "a constant {}";

        fn all(name: &str) -> anyhow::Result<()> {
            ensure!(name.is_empty(), "ensured {name:?}, and \"quoted\"");
            let what = if name == "a" { "one branch" } else { "the other" };
            read(name).context(what)?;
            read(name).with_context(|| format!("in a closure: {}", name.len()))?;
            read(name).with_context(made_elsewhere)?;
            let (cause, _) = match name { "a" => ("of a tuple", 1), _ => ("of another", 2) };
            tokio::select! {
                _ = read(name) => bail!("within select {{}}"),
                done = other(), if true => done.map_err(|_| io::Error::other("by a function"))?,
            }
            let wrong = |place: usize, what: &str| Problem { place, what: what.to_owned() };
            wrong(1, "by a closure's parameter");
            refuse(1, "by a function's parameter");
            let mut last = String::new();
            last = format!("assigned {name}");
            report::help(&last);
            println!("printed only");
            bail!(CONSTANT)
        }

        fn made_elsewhere() -> String { "made elsewhere\nand more".into() }
        fn refuse(_place: usize, what: impl Into<String>) -> Failure {
            Failure { what: what.into(), cause }
        }

        struct Lack(u8);
        impl Error for Lack {}
        impl Display for Lack {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                match self { Self(0) => write!(f, "shown {}", 1), _ => f.write_str("written") }
            }
        }
        impl Display for Other {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result { write!(f, "no error") }
        }

        #[cfg(test)]
        mod tests { fn test() { bail!("in a test") } }
    "#;
    let found = sources::of(&[Source::new("a.rs".to_owned(), text)]);
    let found: BTreeSet<_> = found.iter().map(|message| message.text.as_str()).collect();
    let expected = [
        "a constant {}",
        "assigned {}",
        "by a closure's parameter",
        "by a function",
        "by a function's parameter",
        "ensured {}, and \"quoted\"",
        "in a closure: {}",
        "made elsewhere",
        "one branch",
        "shown {}",
        "the other",
        "within select {}",
        "written",
    ];
    assert_eq!(Vec::from_iter(found), expected);
}
