//! Sessions: what a reader types into a shell, and what is printed then. The book shows them, and
//! tests type them again.
//!
//! A line that begins with `$ ` is a command, and one after it that begins with `> ` continues it.
//! What follows is what it prints: `[..]` is for what varies in a line, and a line `...` for any
//! number of lines. Lines that mark regions belong to neither.

use std::fmt::{self, Display};

use anyhow::{Context, bail};

/// A part of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A line that marks where a region begins or ends.
    Mark(String),
    /// A command.
    Typed {
        /// What is typed, without prompts, over as many lines.
        command: String,
        /// What it prints, with a newline at the end of each line.
        output: String,
    },
}

/// Divides a session into its parts.
///
/// # Errors
///
/// If it has no command, or an output before the first one: with the line.
pub fn parse(session: &str) -> anyhow::Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut lines = session.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# ANCHOR") {
            parts.push(Part::Mark(line.to_owned()));
        } else if let Some(typed) = line.strip_prefix("$ ") {
            let mut command = typed.to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with("> ")) {
                command.push('\n');
                command.push_str(&more[2..]);
            }
            let output = String::new();
            parts.push(Part::Typed { command, output });
        } else {
            let last = parts.last_mut();
            let Some(Part::Typed { output, .. }) = last else {
                bail!("`{line}` is printed by no command: one begins with `$ `");
            };
            output.push_str(line);
            output.push('\n');
        }
    }
    let typed = |part: &Part| matches!(part, Part::Typed { .. });
    let first = parts.iter().find(|part| typed(part));
    first.context("nothing is typed there: a command begins with `$ `")?;
    Ok(parts)
}

/// As it is written.
impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark(line) => writeln!(f, "{line}"),
            Self::Typed { command, output } => {
                writeln!(f, "$ {}", command.replace('\n', "\n> "))?;
                f.write_str(output)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_divided_and_written_again() {
        let text =
            "# ANCHOR: a\n$ one \\\n>   two\n1\n\n2\n# ANCHOR_END: a\n$ three\n$ four\n> 5\n";
        let parts = parse(text).unwrap();
        assert_eq!(parts.len(), 5);
        let first = Part::Typed {
            command: "one \\\n  two".to_owned(),
            output: "1\n\n2\n".to_owned(),
        };
        assert_eq!(parts[1], first);
        let written: String = parts.iter().map(Part::to_string).collect();
        assert_eq!(written, text);
    }

    #[test]
    fn what_nobody_typed_is_refused() {
        for (text, what) in [
            ("one\n$ two\n", "`one` is printed by no command"),
            ("# ANCHOR: a\n", "nothing is typed"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
