//! Pages: each directive becomes what it stands for, and whatever is typed where it should be
//! included is found.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, ensure};
use harness::engine::EngineKind;
use harness::exercise::Exercise;
use harness::manifest::fields::{self, Support};
use harness::measured::Measured;
use harness::session;
use harness::workspace::{Chapter, Workspace};
use mdbook_core::utils::escape_html;
use mdbook_markdown::pulldown_cmark::{Event, Tag};
use mdbook_markdown::{MarkdownOptions, new_cmark_parser};

use crate::directive::{Directive, Of, Part, divide};
use crate::highlight::Highlighter;
use crate::{CommandLine, listing, measured, pod, timeline};

/// What pages are made from, and what they have shown.
pub(crate) struct Pages<'w> {
    workspace: &'w Workspace,
    program: &'w dyn CommandLine,
    highlighter: Highlighter,
    /// By number.
    chapters: Vec<Chapter>,
    /// By number.
    exercises: Vec<Exercise>,
    /// The chapters of the faults, one for each.
    faults: Vec<u32>,
    /// The chapters to whose exercises a page leads.
    led_to: BTreeSet<u32>,
    /// Regions, as `path:name`.
    shown: BTreeSet<String>,
    problems: Vec<String>,
}

impl<'w> Pages<'w> {
    pub(crate) fn new(
        workspace: &'w Workspace,
        program: &'w dyn CommandLine,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            workspace,
            program,
            highlighter: Highlighter::new()?,
            chapters: workspace.chapters()?,
            exercises: workspace.exercises()?,
            faults: Vec::from_iter(workspace.faults()?.iter().map(|of| of.chapter.number)),
            led_to: BTreeSet::new(),
            shown: BTreeSet::new(),
            problems: Vec::new(),
        })
    }

    /// What is wrong with the pages, each with its place.
    pub(crate) fn problems(mut self) -> anyhow::Result<Vec<String>> {
        let regions = listing::regions(self.workspace.root())?;
        let unused = regions.difference(&self.shown);
        self.problems
            .extend(unused.map(|region| format!("{region}: no page shows this region")));
        for exercise in &self.exercises {
            let chapter = exercise.chapter.number;
            if !self.led_to.contains(&chapter) {
                let (folder, page) = (&exercise.folder, exercise.chapter.page());
                self.problems.push(format!(
                    "exercises/{folder}: {} does not lead to it: {{{{#exercises {chapter}}}}} does",
                    page.display()
                ));
            }
        }
        Ok(self.problems)
    }

    /// A link to each chapter's page, from a page in the folder of pages.
    pub(crate) fn chapter_links(&self) -> String {
        let links = self.chapters.iter().map(|chapter| {
            let Chapter {
                number,
                title,
                folder,
                ..
            } = chapter;
            format!("- [{number}. {title}](chapters/{folder}.md)\n")
        });
        links.collect()
    }

    /// A page with everything that it includes. `path` is from the repository's root.
    pub(crate) fn expand(&mut self, path: &str, page: &str) -> String {
        let (parts, problems) = divide(page);
        for (line, problem) in problems {
            self.problems.push(format!("{path}:{line}: {problem}"));
        }
        // What is typed: the lines keep their numbers.
        let (mut typed, mut expanded) = (String::new(), String::new());
        let mut figures = 0;
        for part in &parts {
            match part {
                Part::Text(text) => {
                    typed.push_str(text);
                    expanded.push_str(text);
                }
                Part::Directive(line, directive) => {
                    let lines = line.saturating_sub(1 + typed.matches('\n').count());
                    typed.push_str(&"\n".repeat(lines));
                    figures += 1;
                    match self.include(directive, figures) {
                        Ok(included) => {
                            let _ = write!(expanded, "\n{}\n", included.trim_end());
                        }
                        Err(error) => self.problems.push(format!("{path}:{line}: {error:#}")),
                    }
                }
            }
        }
        for (line, problem) in self.typed(&typed) {
            self.problems.push(format!("{path}:{line}: {problem}"));
        }
        expanded
    }

    /// What is wrong with what was typed, by line.
    fn typed(&self, text: &str) -> Vec<(usize, String)> {
        let mut problems = Vec::new();
        let parser = new_cmark_parser(text, &MarkdownOptions::default());
        for (event, range) in parser.into_offset_iter() {
            let problem = match event {
                Event::Start(Tag::CodeBlock(_)) => Some(TYPED.to_owned()),
                Event::Html(html) | Event::InlineHtml(html) if html.contains("<pre") => {
                    Some(TYPED.to_owned())
                }
                Event::Code(code) => self
                    .check_command(&code)
                    .err()
                    .map(|error| format!("{error:#}")),
                Event::Text(text) if text.contains("{{#") => {
                    Some("a directive begins at the beginning of a line".to_owned())
                }
                Event::Text(text) => words(&text)
                    .find(|word| UNWANTED.contains(word))
                    .map(|word| format!("say it without `{word}`")),
                _ => None,
            };
            let line = 1 + text[..range.start].matches('\n').count();
            problems.extend(problem.map(|problem| (line, problem)));
        }
        problems
    }

    /// Checks a command of the workbook's own; any other is the reader's shell's.
    fn check_command(&self, command: &str) -> anyhow::Result<()> {
        let Some(arguments) = command.strip_prefix("cargo xtask") else {
            return Ok(());
        };
        let checked = self.program.check(arguments.trim());
        checked.with_context(|| format!("`{command}`"))
    }

    fn include(&mut self, directive: &Directive<'_>, number: usize) -> anyhow::Result<String> {
        Ok(match directive {
            Directive::Code {
                path,
                anchor,
                caption,
            } => {
                let code = self.region(path, *anchor)?;
                figure(
                    "code",
                    &format!("`{path}` {caption}"),
                    &self.highlighter.block(language(path), &code)?,
                )
            }
            Directive::Output {
                of,
                container,
                caption,
            } => {
                let printed = self.snapshot(of, container)?;
                let caption = match *caption {
                    "" => format!("What `{container}` prints."),
                    caption => caption.to_owned(),
                };
                figure("output", &caption, &plain(&printed))
            }
            Directive::Run(commands) => {
                for command in commands {
                    self.check_command(command)?;
                }
                figure("run", "", &plain(&commands.join("\n")))
            }
            Directive::Typed {
                path,
                anchor,
                caption,
            } => {
                let session = session::parse(&self.region(path, *anchor)?)?;
                self.session(&session, caption)?
            }
            Directive::Pod { of, caption } => {
                let manifest = self.chapter(of)?.manifest(of.scenario)?;
                figure("pod", caption, &drawing(&pod::draw(&manifest, number)))
            }
            Directive::Timeline { of, caption } => {
                let chapter = self.chapter(of)?;
                let pods = chapter.pods(of.scenario)?;
                let recording = chapter.recording(of.scenario)?;
                let drawn = timeline::draw(&recording, &pods, number);
                figure("timeline", caption, &drawing(&drawn))
            }
            Directive::Measured { path, caption } => {
                let measured = Measured::load(self.workspace.root(), path)?;
                self.check_command(&measured.command)?;
                let drawn = drawing(&measured::draw(&measured, number));
                let content = format!("{drawn}\n\n{}", measured::table(&measured));
                figure("measured", caption, &content)
            }
            Directive::Error(messages) => {
                let said = messages.join("\n").replace("{}", "…");
                figure("error", "", &plain(&said))
            }
            Directive::Chapters => self.chapter_links(),
            Directive::Exercises(chapter) => self.exercises(*chapter)?,
            Directive::Commands => self.commands(),
            Directive::Fields => fields(),
        })
    }

    /// The text of a file or of a region of it, which is shown herewith.
    fn region(&mut self, path: &str, anchor: Option<&str>) -> anyhow::Result<String> {
        let text = listing::read(self.workspace.root(), path, anchor)?;
        if let Some(anchor) = anchor {
            self.shown.insert(format!("{path}:{anchor}"));
        }
        Ok(text)
    }

    /// Figures of what is typed, and of what is printed then.
    fn session(&self, session: &[session::Part], caption: &str) -> anyhow::Result<String> {
        let (mut figures, mut commands, mut caption) = (String::new(), Vec::new(), caption);
        let typed = session.iter().filter_map(|part| match part {
            session::Part::Typed { command, output } => Some((command.as_str(), output)),
            session::Part::Mark(_) => None,
        });
        let mut typed = typed.peekable();
        while let Some((command, output)) = typed.next() {
            self.check_command(command)?;
            commands.push(command);
            // Commands that print nothing are typed together with the next one.
            if output.is_empty() && typed.peek().is_some() {
                continue;
            }
            let code = plain(&std::mem::take(&mut commands).join("\n"));
            figures.push_str(&figure("run", std::mem::take(&mut caption), &code));
            if !output.is_empty() {
                let printed = plain(&varying(output));
                let _ = write!(figures, "\n{}", figure("output", "", &printed));
            }
            figures.push('\n');
        }
        Ok(figures)
    }

    /// The chapter of a scenario that there is.
    fn chapter(&self, of: &Of<'_>) -> anyhow::Result<&Chapter> {
        let number = of.chapter.parse().ok();
        let found = self
            .chapters
            .iter()
            .find(|chapter| Some(chapter.number) == number || chapter.name == of.chapter);
        let chapter = found.with_context(|| format!("there is no chapter `{}`", of.chapter))?;
        chapter.scenario(of.scenario)?;
        Ok(chapter)
    }

    fn snapshot(&self, of: &Of<'_>, container: &str) -> anyhow::Result<String> {
        let folder = self.chapter(of)?.snapshots(of.scenario);
        let printed = harness::snapshot::read(&folder, container)?;
        ensure!(!printed.is_empty(), "{container} prints nothing in {of}");
        Ok(printed)
    }

    /// A table of the exercises and faults, or of those of a chapter.
    fn exercises(&mut self, chapter: Option<&str>) -> anyhow::Result<String> {
        let none = || {
            format!(
                "there is no exercise of chapter {}",
                chapter.unwrap_or_default()
            )
        };
        let number = chapter
            .map(str::parse::<u32>)
            .transpose()
            .with_context(none)?;
        let is_meant = |of: &&Exercise| number.is_none_or(|number| number == of.chapter.number);
        let meant = Vec::from_iter(self.exercises.iter().filter(is_meant));
        ensure!(!meant.is_empty(), none());
        let mut table = "| Exercise | To begin there |\n|---|---|\n".to_owned();
        for exercise in meant {
            let command = format!("cargo xtask learn {}", exercise.number);
            self.check_command(&command)?;
            let _ = writeln!(table, "| {} | `{command}` |", exercise.texts.title);
        }
        // A fault is not named: its name tells its cause.
        for chapter in BTreeSet::from_iter(self.faults.iter().copied()) {
            if number.is_some_and(|number| number != chapter) {
                continue;
            }
            let command = format!("cargo xtask fault {chapter}");
            self.check_command(&command)?;
            let count = self.faults.iter().filter(|of| **of == chapter).count();
            let pods = match count {
                1 => "a pod breaks".to_owned(),
                count => format!("{count} pods break"),
            };
            let what = format!("Chapter {chapter}: {pods}; find out why, and mend it");
            let _ = writeln!(table, "| {what} | `{command}` |");
        }
        self.led_to.extend(number);
        Ok(table)
    }

    fn commands(&self) -> String {
        let mut text = String::new();
        for (command, help) in self.program.helps() {
            let _ = write!(
                text,
                "## `{command}`\n\n{}\n",
                figure("help", "", &plain(&help))
            );
        }
        text
    }
}

const TYPED: &str =
    "a listing is included, not typed: use {{#code …}}, {{#output …}} or {{#run …}}";

/// What tells a reader who does not understand that it is their own fault.
const UNWANTED: [&str; 4] = ["just", "Just", "simply", "Simply"];

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

/// A figure of the page. Its content may be Markdown or HTML.
fn figure(class: &str, caption: &str, content: &str) -> String {
    let caption = match caption.trim() {
        "" => String::new(),
        caption => format!("<figcaption>\n\n{caption}\n\n</figcaption>\n\n"),
    };
    format!("<figure class=\"{class}\">\n\n{caption}{content}\n\n</figure>\n")
}

/// A line of HTML. Without the box around it, it would be read as Markdown.
fn drawing(html: &str) -> String {
    format!("<div>{html}</div>")
}

/// Text without colours.
fn plain(text: &str) -> String {
    let text = escape_html(text);
    format!(r#"<pre><code class="hljs">{text}</code></pre>"#)
}

/// What a session prints, with an ellipsis for what varies.
fn varying(output: &str) -> String {
    let lines = output.lines().map(|line| match line {
        "..." => "…".to_owned(),
        line => line.replace("[..]", "…"),
    });
    Vec::from_iter(lines).join("\n")
}

/// The end of a file's name, which tells its language.
fn language(path: &str) -> &str {
    path.rsplit_once('.').map_or("txt", |(_, end)| end)
}

/// Which engines support which fields: tables of what all support, of what Docker and a cluster do,
/// and of what only a cluster does.
fn fields() -> String {
    let head = "| Type | Fields |\n|---|---|\n";
    let [mut all, mut docker, mut cluster] = [head; 3].map(ToOwned::to_owned);
    let mut whole = Vec::new();
    let with_values = |name: &str, values: &[&str]| {
        let values = values.iter().map(|value| match *value {
            "" => "`\"\"`".to_owned(),
            value => format!("`{value}`"),
        });
        match Vec::from_iter(values).join(" or ") {
            values if values.is_empty() => format!("`{name}`"),
            values => format!("`{name}` as {values}"),
        }
    };
    for (name, fields) in fields::table() {
        let [mut by_all, mut by_docker, mut by_cluster] = [const { Vec::new() }; 3];
        for field in fields {
            match &field.support {
                Support::All => by_all.push(with_values(field.name, &[])),
                Support::Only(values) => by_all.push(with_values(field.name, values)),
                Support::Docker(values) => by_docker.push(with_values(field.name, values)),
                Support::Cluster => by_cluster.push(with_values(field.name, &[])),
            }
        }
        if by_all.is_empty() && by_docker.is_empty() {
            whole.push(format!("`{name}`"));
            continue;
        }
        for (table, fields) in [
            (&mut all, by_all),
            (&mut docker, by_docker),
            (&mut cluster, by_cluster),
        ] {
            if !fields.is_empty() {
                let _ = writeln!(table, "| `{name}` | {} |", fields.join("; "));
            }
        }
    }
    let counts = EngineKind::ALL.map(|engine| {
        let (supported, all) = fields::supported(engine);
        format!("`{engine}` supports {supported} of {all}")
    });
    format!(
        "Of the fields that a manifest may have, {}.\n\n\
         ### Fields that all engines support\n\n{all}\n\
         ### Fields that Docker and kind support\n\n{docker}\n\
         ### Fields that only kind supports\n\n{cluster}\n\
         All fields of these types, too: {}.\n",
        counts.join(", "),
        whole.join(", ")
    )
}
