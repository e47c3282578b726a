//! Compiles the programs of chapters for their images: cargo does it, and cargo alone decides
//! what is out of date.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;

use serde::Deserialize;

use super::toolchain::{Lack, Toolchain, cargo, toolchain};
use super::{Image, archive, elf};

/// What a build is at.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// What cargo does, in its own words: `Compiling tokio v1.47.1`,
    /// `Blocking waiting for file lock on build directory`, `Downloading crates ...`.
    Step(&'a str),
    /// How far the compilation is. Not told if all is up to date.
    Compiled {
        /// Parts that are done or were up to date. A crate has one part or more.
        done: usize,
        /// All parts.
        total: usize,
        /// The crates at work, as `tokio, hyper`.
        at_work: &'a str,
    },
    /// A line of an error or a warning, as the compiler shows it: in colours on a terminal.
    Message(&'a str),
    /// An image is ready.
    Ready {
        /// The image.
        image: &'a Image,
        /// Whether it is another one than before this build.
        changed: bool,
    },
}

/// Why a build made no images.
#[derive(Debug)]
pub enum BuildError {
    /// This machine lacks something.
    Lack(Lack),
    /// Cargo cannot be run.
    Cargo {
        /// What was run.
        program: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// Cargo ended with an error: a program does not compile, or what it needs is not there.
    Compile {
        /// The package that was asked for.
        package: String,
        /// How cargo ended.
        status: ExitStatus,
        /// Everything that was told as [`Progress::Message`].
        messages: String,
    },
    /// A package has no program.
    NoProgram {
        /// The package.
        package: String,
    },
    /// A program needs files that no image has.
    NotStatic {
        /// Where it is.
        executable: PathBuf,
        /// The loader that it asks for.
        loader: String,
    },
    /// A program cannot be read.
    Read {
        /// Where it is.
        executable: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// An archive cannot be written.
    Write {
        /// Where it should be.
        archive: PathBuf,
        /// What came of it.
        error: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lack(lack) => write!(f, "{lack}; to mend it: {}", lack.mend()),
            Self::Cargo { program, error } => {
                write!(f, "cannot run {}: {error}", program.display())
            }
            Self::Compile {
                package, status, ..
            } => write!(
                f,
                "cargo could not build the programs of {package} ({status})"
            ),
            Self::NoProgram { package } => write!(
                f,
                "package {package} has no program; put one into its folder src/bin"
            ),
            Self::NotStatic { executable, loader } => write!(
                f,
                "{} is not static, it asks for {loader}, which its image does not have; see \
                 whether RUSTFLAGS, a build script or a cargo configuration asks for dynamic \
                 linking",
                executable.display()
            ),
            Self::Read { executable, error } => {
                write!(f, "cannot read {}: {error}", executable.display())
            }
            Self::Write { archive, error } => {
                let archive = archive.display();
                match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => write!(
                        f,
                        "cannot write {archive}: {error}; `cargo clean` frees what earlier builds left"
                    ),
                    _ => write!(f, "cannot write {archive}: {error}"),
                }
            }
        }
    }
}

impl std::error::Error for BuildError {}

/// Compiles the programs of a package, makes an image of each, and returns them by name.
///
/// This blocks for as long as the compiler takes. Any number of processes can do so at once:
/// they wait for each other where they must. If nothing has changed, no file is written.
///
/// One package a call: cargo gives crates that several packages depend on the features that all
/// of those need, so that a program, and its image's id, would depend on what it was built with.
///
/// # Errors
///
/// If this machine lacks what it takes, if a program does not compile, or if an archive cannot
/// be written.
pub fn build(
    workspace: &Path,
    package: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Image>, BuildError> {
    build_with(workspace, package, &[], progress)
}

/// The same, with variables for the package's build script.
pub(crate) fn build_with(
    workspace: &Path,
    package: &str,
    variables: &[(&str, &Path)],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Image>, BuildError> {
    let toolchain = toolchain(workspace).map_err(BuildError::Lack)?;
    let mut programs = compile(&toolchain, package, variables, progress)?;
    if programs.is_empty() {
        return Err(BuildError::NoProgram {
            package: package.to_owned(),
        });
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    programs
        .iter()
        .map(|program| make_image(package, program, progress))
        .collect()
}

/// A program that was compiled.
#[derive(Debug, PartialEq)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) executable: PathBuf,
}

fn make_image(
    package: &str,
    program: &Program,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Image, BuildError> {
    let Program { name, executable } = program;
    let binary = fs::read(executable).map_err(|error| BuildError::Read {
        executable: executable.clone(),
        error,
    })?;
    if let Some(loader) = elf::loader(&binary) {
        return Err(BuildError::NotStatic {
            executable: executable.clone(),
            loader,
        });
    }
    // `target/<triple>/image/<program>`: cargo knows best where `target` is.
    let target = executable.ancestors().nth(3).unwrap_or(Path::new("target"));
    let path = target.join("workbook/images").join(format!("{name}.tar"));
    let (image, parts) = archive::pack(package, name, &binary, path);
    let changed = archive::store(&image.archive, &parts).map_err(|error| BuildError::Write {
        archive: image.archive.clone(),
        error,
    })?;
    progress(Progress::Ready {
        image: &image,
        changed,
    });
    Ok(image)
}

/// Compiles the programs of a package as an image needs them.
fn compile(
    toolchain: &Toolchain,
    package: &str,
    variables: &[(&str, &Path)],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Program>, BuildError> {
    let Toolchain {
        workspace,
        target,
        linker,
    } = toolchain;
    let mut command = Command::new(cargo());
    command
        .current_dir(workspace)
        .envs(variables.iter().copied())
        .args(["build", "--profile", "image", "--bins"])
        .args(["--target", target]);
    if let Some(linker) = linker {
        command.args(["--config", &format!("target.{target}.linker={linker:?}")]);
    }
    let flags = compiler_flags(workspace);
    set_compiler_flags(&mut command, target, &flags, |name| env::var(name).ok());
    run_cargo(command, package, progress)
}

/// Runs cargo for a package, and returns the programs that it has.
pub(super) fn run_cargo(
    mut command: Command,
    package: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Program>, BuildError> {
    let program = PathBuf::from(command.get_program());
    let failed = |error| BuildError::Cargo {
        program: program.clone(),
        error,
    };
    command
        .args(["--package", package])
        .arg("--message-format=json-render-diagnostics")
        .arg(if in_colour() {
            "--color=always"
        } else {
            "--color=never"
        })
        // The bar is where cargo says how far it is, and it shows it to terminals only.
        .envs([
            ("CARGO_TERM_PROGRESS_WHEN", "always"),
            ("CARGO_TERM_PROGRESS_WIDTH", "160"),
        ])
        .envs([
            ("CARGO_TERM_QUIET", "false"),
            ("CARGO_TERM_VERBOSE", "false"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());

    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut programs = Vec::new();
    let mut messages = String::new();
    thread::scope(|scope| {
        let (to, lines) = mpsc::channel();
        let (json, text) = (to.clone(), to);
        scope.spawn(move || stdout.map(|stdout| send_json(stdout, &json)));
        scope.spawn(move || stderr.map(|stderr| send_text(stderr, &text)));
        for line in lines {
            match line {
                Line::Json(line) => programs.extend(program_of(&line)),
                Line::Text(line) => tell(&line, progress, &mut messages),
            }
        }
    });
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(BuildError::Compile {
            package: package.to_owned(),
            status,
            messages,
        });
    }
    Ok(programs)
}

/// Whether the compiler's messages go to someone who sees colours.
fn in_colour() -> bool {
    match env::var("CARGO_TERM_COLOR").as_deref() {
        Ok("always") => true,
        Ok("never") => false,
        _ => io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
    }
}

/// What makes a program static, and the same wherever it was compiled.
fn compiler_flags(workspace: &Path) -> Vec<String> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    // A panic's message names a file. Those of the workspace are named by paths within it, except
    // what build scripts generate; those of other crates by where cargo keeps them. The standard
    // library's have no name of this machine in them.
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    for (folder, shown) in [(home.as_deref(), "/cargo"), (Some(workspace), "/workbook")] {
        flags.extend(
            folder.map(|folder| format!("--remap-path-prefix={}={shown}", folder.display())),
        );
    }
    flags
}

/// Adds flags for the compiler to those that the user has set.
///
/// Cargo takes flags from one place only, and the environment goes before every configuration.
fn set_compiler_flags(
    command: &mut Command,
    target: &str,
    flags: &[String],
    environment: impl Fn(&str) -> Option<String>,
) {
    const SEPARATOR: &str = "\x1f";
    let set_by_user = environment("CARGO_ENCODED_RUSTFLAGS").or_else(|| {
        let flags = environment("RUSTFLAGS")?;
        Some(flags.split_whitespace().collect::<Vec<_>>().join(SEPARATOR))
    });
    if let Some(set) = set_by_user {
        let all = [&[set][..], flags].concat().join(SEPARATOR);
        command.env("CARGO_ENCODED_RUSTFLAGS", all.trim_start_matches(SEPARATOR));
    } else {
        // Strings in JSON are strings in TOML.
        let list = serde_json::Value::from(flags);
        command.args(["--config", &format!("target.{target}.rustflags={list}")]);
    }
}

/// A line that cargo printed.
enum Line {
    /// On its standard output.
    Json(String),
    /// On its standard error.
    Text(String),
}

fn send_json(stdout: impl Read, to: &Sender<Line>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        // Nobody listens any more if the caller has panicked.
        let _ = to.send(Line::Json(line));
    }
}

fn send_text(stderr: impl Read, to: &Sender<Line>) {
    let mut line = Vec::new();
    for byte in BufReader::new(stderr).bytes().map_while(Result::ok) {
        match byte {
            // The progress bar ends each of its states with a carriage return.
            b'\n' | b'\r' => {
                let _ = to.send(Line::Text(String::from_utf8_lossy(&line).into_owned()));
                line.clear();
            }
            _ => line.push(byte),
        }
    }
}

/// The program that a message of cargo tells of, if it tells of one.
fn program_of(line: &str) -> Option<Program> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        kind: Vec<String>,
        name: String,
    }
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || message.target.kind != ["bin"] {
        return None;
    }
    Some(Program {
        name: message.target.name,
        executable: message.executable?,
    })
}

/// Tells what a line on cargo's standard error says, and keeps it if it is a message.
fn tell(line: &str, progress: &mut dyn FnMut(Progress<'_>), messages: &mut String) {
    // What erases the bar before something else is shown in its place.
    let (line, erased) = match line.strip_prefix("\x1b[K") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let plain = without_colours(line);
    match status(&plain) {
        Some(("Finished", _)) => {}
        Some(("Building", bar)) => {
            if let Some((done, total, at_work)) = counts(bar) {
                progress(Progress::Compiled {
                    done,
                    total,
                    at_work,
                });
            }
        }
        Some(_) => progress(Progress::Step(plain.trim())),
        None if erased && line.is_empty() => {}
        None => {
            progress(Progress::Message(line));
            messages.push_str(line);
            messages.push('\n');
        }
    }
}

/// The verb and the rest of a line that says what cargo does. Cargo sets the verb flush right in
/// twelve columns; no line of a message looks like that.
fn status(line: &str) -> Option<(&str, &str)> {
    let (head, rest) = line.split_at_checked(12)?;
    let verb = head.trim_start();
    let is_verb = verb.starts_with(|first: char| first.is_ascii_uppercase())
        && verb.chars().all(|letter| letter.is_ascii_alphabetic());
    if is_verb {
        Some((verb, rest.strip_prefix(' ')?))
    } else {
        None
    }
}

/// Reads a progress bar: `[=====>      ] 12/50: tokio, hyper`.
fn counts(bar: &str) -> Option<(usize, usize, &str)> {
    let (_, counts) = bar.split_once("] ")?;
    let (counts, at_work) = counts.split_once(':').unwrap_or((counts, ""));
    let (done, total) = counts.trim().split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?, at_work.trim()))
}

/// A line without the escape sequences that set colours.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// What `tell` makes of lines that cargo printed.
    fn told(lines: &[&str]) -> (Vec<String>, String) {
        let (mut told, mut messages) = (Vec::new(), String::new());
        for line in lines {
            tell(
                line,
                &mut |what| told.push(format!("{what:?}")),
                &mut messages,
            );
        }
        (told, messages)
    }

    #[test]
    fn what_cargo_prints_is_told_as_progress() {
        let (told, messages) = told(&[
            "\x1b[1m\x1b[92m   Compiling\x1b[0m proc-macro2 v1.0.107",
            "    Blocking waiting for file lock on build directory",
            "\x1b[K\x1b[1m\x1b[96m    Building\x1b[0m [==>      ] 10/89: syn, libc(build.rs)     ",
            "\x1b[K",
            "    Finished `image` profile [optimized] target(s) in 0.29s",
        ]);
        assert_eq!(
            told,
            [
                r#"Step("Compiling proc-macro2 v1.0.107")"#,
                r#"Step("Blocking waiting for file lock on build directory")"#,
                r#"Compiled { done: 10, total: 89, at_work: "syn, libc(build.rs)" }"#,
            ]
        );
        assert_eq!(messages, "");
    }

    #[test]
    fn what_the_compiler_says_is_told_as_it_is() {
        let lines = [
            "\x1b[1m\x1b[91merror[E0425]\x1b[0m: cannot find function `no_answer` in this scope",
            "  \x1b[1m\x1b[94m--> \x1b[0msrc/main.rs:96:48",
            "",
            "   |",
            "96 |     Err(no_answer(&error))",
            "   = note: Überlänge",
            "warning: build failed, waiting for other jobs to finish...",
        ];
        let (told, messages) = told(&lines);
        let expected = lines.map(|line| format!("Message({line:?})"));
        assert_eq!(told, expected);
        assert_eq!(messages, lines.join("\n") + "\n");
    }

    /// What cargo is told of the flags, as an argument and as a variable.
    fn flags_with(variables: &[(&str, &str)]) -> (Option<String>, Option<String>) {
        let mut command = Command::new("cargo");
        set_compiler_flags(
            &mut command,
            "a-b-c",
            &["-Cx=\"y z\"".into(), "-Cw".into()],
            |name| {
                let set = variables.iter().find(|(set, _)| *set == name);
                set.map(|(_, value)| (*value).to_owned())
            },
        );
        let text = |text: &OsStr| text.to_str().unwrap().to_owned();
        let argument = command.get_args().last().map(text);
        let variable = command
            .get_envs()
            .next()
            .and_then(|(_, value)| value.map(text));
        (argument, variable)
    }

    #[test]
    fn flags_join_those_of_a_configuration() {
        let list = r#"target.a-b-c.rustflags=["-Cx=\"y z\"","-Cw"]"#;
        assert_eq!(flags_with(&[]), (Some(list.to_owned()), None));
    }

    /// Cargo reads no flags from a configuration if one of these variables is set, even to
    /// nothing: a user who has `RUSTFLAGS=""` would get programs that are not static.
    #[test]
    fn flags_join_those_of_the_environment() {
        let ours = "-Cx=\"y z\"\x1f-Cw";
        for (variables, expected) in [
            (&[("RUSTFLAGS", "")][..], ours.to_owned()),
            (
                &[("RUSTFLAGS", " -Ca  -Cb ")],
                format!("-Ca\x1f-Cb\x1f{ours}"),
            ),
            (&[("CARGO_ENCODED_RUSTFLAGS", "")], ours.to_owned()),
            (
                &[("CARGO_ENCODED_RUSTFLAGS", "-Ca=b c"), ("RUSTFLAGS", "-Cd")],
                format!("-Ca=b c\x1f{ours}"),
            ),
        ] {
            assert_eq!(
                flags_with(variables),
                (None, Some(expected)),
                "{variables:?}"
            );
        }
    }
}
