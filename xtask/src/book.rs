//! `cargo xtask book`: builds the book, serves it, opens it.

use clap::Args;

use crate::Verdict;

#[derive(Args)]
pub(crate) struct BookArgs {
    /// Serve it on this machine, and build it again when a file of it changes, until Ctrl-C
    #[arg(long)]
    serve: bool,
    /// Open it in the browser
    #[arg(long)]
    open: bool,
    /// The port to serve it on; 0 for one that is free
    #[arg(long, requires = "serve", default_value_t = 3000)]
    port: u16,
}

#[cfg(not(feature = "book"))]
pub(crate) async fn run(_args: &BookArgs) -> anyhow::Result<Verdict> {
    crate::engine::run_again_with("book").map(|never| match never {})
}

#[cfg(feature = "book")]
pub(crate) async fn run(args: &BookArgs) -> anyhow::Result<Verdict> {
    use std::time::Instant;

    use anstream::println;
    use harness::workspace::Workspace;

    use crate::report::{self, span};

    let workspace = Workspace::find()?;
    let folder = book_builder::folder(&workspace)?;
    if !args.serve {
        let begun = Instant::now();
        let pages = book_builder::build(&workspace, &Own, &folder)?;
        let index = folder.join("index.html");
        println!(
            "{pages} pages in {}: {}",
            span(begun.elapsed()),
            index.display()
        );
        if args.open {
            open(&index)?;
        }
        return Ok(Verdict::Good);
    }
    let mut to_open = args.open;
    let built = |address: &str, built: anyhow::Result<usize>| match built {
        Ok(pages) => {
            println!("{pages} pages at {address}, until Ctrl-C");
            if std::mem::take(&mut to_open)
                && let Err(error) = open(address)
            {
                report::error(&error);
            }
        }
        Err(error) => report::error(&error),
    };
    let serving = book_builder::serve(&workspace, &Own, &folder, args.port, built);
    tokio::select! {
        ended = serving => ended.map(|()| Verdict::Good),
        signal = tokio::signal::ctrl_c() => Ok(signal.map(|()| Verdict::Good)?),
    }
}

/// Opens a page in the browser.
pub(crate) fn open(what: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<()> {
    use anyhow::Context;
    let what = what.as_ref();
    opener::open(what).with_context(|| format!("no browser opens {}", what.display()))
}

/// This program's own command line, as the book speaks of it.
#[cfg(feature = "book")]
struct Own;

#[cfg(feature = "book")]
impl book_builder::CommandLine for Own {
    fn check(&self, arguments: &str) -> anyhow::Result<()> {
        use clap::Parser;
        use harness::workspace::Workspace;

        // What stands for the reader's own is no argument.
        let arguments = arguments
            .split([';', '|', '>', '&'])
            .next()
            .unwrap_or_default();
        let words = shlex::split(arguments).unwrap_or_default();
        if words.is_empty() {
            return Ok(());
        }
        let words = ["cargo xtask".to_owned()].into_iter().chain(words);
        let parsed = crate::Cli::try_parse_from(words);
        let command = match parsed {
            Ok(cli) => cli.command,
            Err(error) if !error.use_stderr() => return Ok(()), // `--help`
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                anyhow::bail!("{}", first.trim_start_matches("error: "));
            }
        };
        let (chapter, scenario) = match &command {
            crate::Command::Chapter(args) => (&args.chapter, &args.scenario),
            crate::Command::Manifest { chapter, scenario } => (chapter, scenario),
            _ => return Ok(()),
        };
        for chapter in Workspace::find()?.select(chapter)? {
            if scenario != "all" {
                chapter.scenario(scenario)?;
            }
        }
        Ok(())
    }

    fn helps(&self) -> Vec<(String, String)> {
        use clap::CommandFactory;

        fn leaves(command: clap::Command, name: &str, helps: &mut Vec<(String, String)>) {
            if command.has_subcommands() {
                for sub in command.get_subcommands() {
                    let name = format!("{name} {}", sub.get_name());
                    leaves(sub.clone().bin_name(&name), &name, helps);
                }
            } else {
                let help = command.term_width(80).render_help().to_string();
                helps.push((name.to_owned(), help.trim_end().to_owned()));
            }
        }
        let mut helps = Vec::new();
        leaves(crate::Cli::command(), "cargo xtask", &mut helps);
        helps
    }
}
