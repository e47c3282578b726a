//! What is wrong with a manifest: where, what, and what would do.

use std::fmt;

use super::fields::{CLUSTER_CAN, SO_CAN_CLUSTER};

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// The path of the field, as `spec.containers[0].image`; empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What would do, where that is known.
    pub help: Option<String>,
}

/// Everything that is wrong with a manifest; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file's name.
    pub file: String,
    /// By place.
    pub problems: Vec<Problem>,
    /// The lines of the file that the problems are on.
    lines: Vec<String>,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        let line = |problem: &Problem| {
            text.lines()
                .nth(problem.place.line.wrapping_sub(1))
                .unwrap_or_default()
                .to_owned()
        };
        let lines = problems.iter().map(line).collect();
        Self {
            file: file.to_owned(),
            problems,
            lines,
        }
    }

    /// Without the advice to take a cluster, for who cannot.
    #[must_use]
    pub fn without_cluster(mut self) -> Self {
        for problem in &mut self.problems {
            for advice in [CLUSTER_CAN, SO_CAN_CLUSTER] {
                let help = problem.help.as_deref();
                if let Some(rest) = help.and_then(|help| help.strip_suffix(advice)) {
                    let rest = rest.trim_end_matches("; ").to_owned();
                    problem.help = (!rest.is_empty()).then_some(rest);
                }
            }
        }
        self
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (problem, line)) in self.problems.iter().zip(&self.lines).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Place {
                line: number,
                column,
            } = problem.place;
            write!(f, "{}:{number}:{column}: ", self.file)?;
            if !problem.path.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            write!(f, "{}", problem.what)?;
            if !line.trim().is_empty() {
                let margin = " ".repeat(number.to_string().len());
                let before: String = line.chars().take(column.saturating_sub(1)).collect();
                write!(
                    f,
                    "\n {margin} |\n {number} | {line}\n {margin} | {}^",
                    " ".repeat(before.chars().count())
                )?;
            }
            if let Some(help) = &problem.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}
