//! Directives: the lines of a page that stand for what is included there.

use std::fmt::{self, Display};

/// A part of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'p> {
    /// Markdown, as written.
    Text(&'p str),
    /// A directive, and the number of the line on which it begins.
    Directive(usize, Directive<'p>),
}

/// What is included: `{{#name arguments}}`, on a line of its own or over several.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Directive<'p> {
    /// `{{#code PATH[:ANCHOR] caption}}`: a file, or a region of it.
    Code {
        /// From the repository's root.
        path: &'p str,
        anchor: Option<&'p str>,
        caption: &'p str,
    },
    /// `{{#output CHAPTER SCENARIO CONTAINER caption}}`: the snapshot of a container's lines.
    Output {
        of: Of<'p>,
        container: &'p str,
        caption: &'p str,
    },
    /// `{{#run COMMAND}}`: what the reader types, a command a line.
    Run(Vec<&'p str>),
    /// `{{#typed FILE[:ANCHOR] caption}}`: a session, or a region of one: what the reader types,
    /// and what is printed then.
    Typed {
        /// From the repository's root.
        path: &'p str,
        anchor: Option<&'p str>,
        caption: &'p str,
    },
    /// `{{#pod CHAPTER SCENARIO caption}}`: the figure of a manifest.
    Pod { of: Of<'p>, caption: &'p str },
    /// `{{#timeline CHAPTER SCENARIO caption}}`: the figure of a recording.
    Timeline { of: Of<'p>, caption: &'p str },
    /// `{{#measured FILE caption}}`: a plot and a table of what a bench has measured.
    Measured {
        /// From the repository's root.
        path: &'p str,
        caption: &'p str,
    },
    /// `{{#error MESSAGE}}`: messages of the workbook's own, one a line, `{}` where they vary.
    Error(Vec<&'p str>),
    /// `{{#chapters}}`: the list of chapters.
    Chapters,
    /// `{{#exercises [CHAPTER]}}`: the exercises, or those of a chapter.
    Exercises(Option<&'p str>),
    /// `{{#commands}}`: the help of each command.
    Commands,
    /// `{{#fields}}`: which engine supports which field of a manifest.
    Fields,
}

/// A chapter's scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Of<'p> {
    /// The chapter's number or name.
    pub(crate) chapter: &'p str,
    pub(crate) scenario: &'p str,
}

impl Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.chapter, self.scenario)
    }
}

/// What directives there are, for who mistypes one.
const FORMS: &str = "\
    {{#code PATH[:ANCHOR] caption}}, {{#output CHAPTER SCENARIO CONTAINER caption}}, \
    {{#run COMMAND}}, {{#typed FILE[:ANCHOR] caption}}, {{#pod CHAPTER SCENARIO caption}}, {{#timeline CHAPTER SCENARIO caption}}, \
    {{#measured FILE caption}}, {{#error MESSAGE}}, {{#chapters}}, {{#exercises [CHAPTER]}}, {{#commands}}, {{#fields}}";

/// Divides a page into its parts. What is wrong is given with the number of its line.
pub(crate) fn divide(page: &str) -> (Vec<Part<'_>>, Vec<(usize, String)>) {
    let (mut parts, mut problems) = (Vec::new(), Vec::new());
    let (mut rest, mut line) = (page, 1);
    while !rest.is_empty() {
        let text = &rest[..until_directive(rest)];
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        rest = &rest[text.len()..];
        line += count_lines(text);
        let Some(inner) = rest.strip_prefix("{{#") else {
            break;
        };
        let Some((inner, after)) = end_of(inner) else {
            problems.push((
                line,
                "this directive has no `}}` that ends a line".to_owned(),
            ));
            break;
        };
        match parse(inner) {
            Ok(directive) => parts.push(Part::Directive(line, directive)),
            Err(problem) => problems.push((line, problem)),
        }
        line += count_lines(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    (parts, problems)
}

fn count_lines(text: &str) -> usize {
    text.matches('\n').count()
}

fn until_directive(text: &str) -> usize {
    if text.starts_with("{{#") {
        return 0;
    }
    text.find("\n{{#").map_or(text.len(), |at| at + 1)
}

/// What is before the `}}` that ends a line, and what follows that.
fn end_of(text: &str) -> Option<(&str, &str)> {
    match text.find("}}\n") {
        Some(end) => Some((&text[..end], &text[end + 2..])),
        None => Some((text.strip_suffix("}}")?, "")),
    }
}

fn parse(inner: &str) -> Result<Directive<'_>, String> {
    let (name, rest) = word(inner);
    let region = |rest| {
        let (file, caption) = needed(name, rest)?;
        let (path, anchor) = match file.split_once(':') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (file, None),
        };
        Ok::<_, String>((path, anchor, caption))
    };
    let of = |rest| {
        let (chapter, rest) = needed(name, rest)?;
        let (scenario, rest) = needed(name, rest)?;
        Ok::<_, String>((Of { chapter, scenario }, rest))
    };
    Ok(match name {
        "code" => {
            let (path, anchor, caption) = region(rest)?;
            Directive::Code {
                path,
                anchor,
                caption,
            }
        }
        "output" => {
            let (of, rest) = of(rest)?;
            let (container, caption) = needed(name, rest)?;
            Directive::Output {
                of,
                container,
                caption,
            }
        }
        "run" => Directive::Run(lines(name, rest)?),
        "error" => Directive::Error(lines(name, rest)?),
        "typed" => {
            let (path, anchor, caption) = region(rest)?;
            Directive::Typed {
                path,
                anchor,
                caption,
            }
        }
        "pod" => {
            let (of, caption) = of(rest)?;
            Directive::Pod { of, caption }
        }
        "timeline" => {
            let (of, caption) = of(rest)?;
            Directive::Timeline { of, caption }
        }
        "measured" => {
            let (path, caption) = needed(name, rest)?;
            Directive::Measured { path, caption }
        }
        "chapters" if rest.is_empty() => Directive::Chapters,
        "exercises" => Directive::Exercises((!rest.is_empty()).then_some(rest)),
        "commands" if rest.is_empty() => Directive::Commands,
        "fields" if rest.is_empty() => Directive::Fields,
        _ => return Err(format!("`{{{{#{inner}}}}}` is none of {FORMS}")),
    })
}

/// One argument a line.
fn lines<'p>(name: &str, rest: &'p str) -> Result<Vec<&'p str>, String> {
    let lines = rest.lines().map(str::trim);
    let lines = Vec::from_iter(lines.filter(|line| !line.is_empty()));
    if lines.is_empty() {
        return Err(lacks(name));
    }
    Ok(lines)
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn needed<'p>(name: &str, rest: &'p str) -> Result<(&'p str, &'p str), String> {
    match word(rest) {
        ("", _) => Err(lacks(name)),
        found => Ok(found),
    }
}

fn lacks(name: &str) -> String {
    format!("`{{{{#{name}}}}}` lacks an argument; there are {FORMS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_divided_into_text_and_directives() {
        let page = "# A\n\n{{#code a/b.rs:main What it proves.}}\n\nText.\n{{#run\n  one\n  two\n}}\n{{#chapters}}";
        let (parts, problems) = divide(page);
        assert_eq!(problems, []);
        let of_b = Directive::Code {
            path: "a/b.rs",
            anchor: Some("main"),
            caption: "What it proves.",
        };
        assert_eq!(
            parts,
            [
                Part::Text("# A\n\n"),
                Part::Directive(3, of_b),
                Part::Text("\n\nText.\n"),
                Part::Directive(6, Directive::Run(vec!["one", "two"])),
                Part::Text("\n"),
                Part::Directive(10, Directive::Chapters),
            ]
        );
    }

    #[test]
    fn a_session_may_have_no_caption() {
        let (parts, problems) = divide("{{#typed a/b.console:look}}\n");
        assert_eq!(problems, []);
        let look = Directive::Typed {
            path: "a/b.console",
            anchor: Some("look"),
            caption: "",
        };
        assert_eq!(parts[0], Part::Directive(1, look));
    }

    #[test]
    fn what_was_measured_is_a_file() {
        let (parts, problems) = divide("{{#measured a/b.json Side by side.}}\n");
        assert_eq!(problems, []);
        let measured = Directive::Measured {
            path: "a/b.json",
            caption: "Side by side.",
        };
        assert_eq!(parts[0], Part::Directive(1, measured));
    }

    #[test]
    fn a_message_may_hold_braces() {
        let (parts, problems) = divide("{{#error no {} in {}}}\n");
        assert_eq!(problems, []);
        assert_eq!(
            parts[0],
            Part::Directive(1, Directive::Error(vec!["no {} in {}"]))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (page, line, what) in [
            ("a\n{{#cod x}}\n", 2, "is none of {{#code"),
            ("\n\n{{#output 2 healthy}}\n", 3, "lacks an argument"),
            ("{{#run}}", 1, "lacks an argument"),
            ("{{#chapters\n", 1, "no `}}`"),
        ] {
            let (_, problems) = divide(page);
            assert_eq!(problems.len(), 1, "{page}: {problems:?}");
            assert_eq!(problems[0].0, line, "{page}");
            assert!(problems[0].1.contains(what), "{page}: {problems:?}");
        }
    }
}
