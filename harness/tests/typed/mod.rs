//! Types the sessions of the book again.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::session::{self, Part};
use regex_lite::{Captures, Regex};
use snapbox::{Assert, Data};
use tokio::process::Command;
use tokio::time::timeout;

/// No session takes this long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(150);

/// Types a session of `book/typed` into one shell, with further variables in its environment, and
/// compares what is printed. `SNAPSHOTS=overwrite` writes it into the file instead.
pub(crate) async fn type_again(file: &str, variables: &[(&str, &Path)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("book/typed").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut session = session::parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"));

    // What the commands print has no zero bytes: one ends what each prints.
    let mut script = "exec 2>&1\n".to_owned();
    for part in &session {
        if let Part::Typed { command, .. } = part {
            script.push_str(&format!("{command}\nprintf '\\0'\n"));
        }
    }
    let shell = Command::new("bash")
        .args(["-c", &script])
        .envs(variables.iter().copied())
        .current_dir(root)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let printed = timeout(PATIENCE, shell).await;
    let printed = printed.unwrap_or_else(|_| panic!("{file} does not come to its end"));
    let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
    let mut outputs = printed.split_terminator('\0');
    for part in &mut session {
        if let Part::Typed { output, .. } = part {
            *output = outputs.next().unwrap_or("the shell has ended").to_owned();
            if !output.is_empty() && !output.ends_with('\n') {
                output.push('\n');
            }
        }
    }

    let again: String = session.iter().map(Part::to_string).collect();
    Assert::new()
        .action_env("SNAPSHOTS")
        // What looks like a path of Windows is none.
        .normalize_paths(false)
        .eq(renamed(&again, &text), Data::read_from(&path, None));
}

/// What is named anew each time: containers, runs and namespaces, addresses.
const NAMES: [&str; 3] = [
    r"\b[0-9a-f]{64}\b",
    r"\b[0-9a-f]{10}\b",
    r"\b[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+\b",
];

/// Gives each of them the name that it had `before`, by the order in which they are first told of:
/// those that were the same must be the same again.
fn renamed(again: &str, before: &str) -> String {
    NAMES.iter().fold(again.to_owned(), |again, name| {
        let name = Regex::new(name).unwrap();
        let (now, then) = (in_order(&name, &again), in_order(&name, before));
        if now.len() != then.len() {
            // It is another story, and an old name might be taken for a new one.
            return again;
        }
        let rename = |found: &Captures<'_>| {
            let at = now.iter().position(|name| *name == &found[0]);
            at.map_or("", |at| then[at]).to_owned()
        };
        name.replace_all(&again, rename).into_owned()
    })
}

fn in_order<'t>(name: &Regex, text: &'t str) -> Vec<&'t str> {
    let mut names = Vec::new();
    for found in name.find_iter(text) {
        if !names.contains(&found.as_str()) {
            names.push(found.as_str());
        }
    }
    names
}

#[test]
fn namespaces_that_are_no_longer_shared_are_told_apart() {
    let before = "net 4026532001 app\nnet 4026532001 sidecar\nmnt 4026532002\n";
    let shared = before.replace("2001", "2007").replace("2002", "2001");
    assert_eq!(renamed(&shared, before), before);
    let apart = shared.replacen("2007", "2008", 1);
    assert_ne!(renamed(&apart, before), before);
}
