//! The programs that the engine runs beside the Kubernetes API: `kind` and `docker`.

use std::io;
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// As many of a failed program's last lines are told.
const LAST_LINES: usize = 12;

/// Runs a program to its end, and returns what it printed.
///
/// # Errors
///
/// If it cannot be run, or fails: with its last words.
pub(super) async fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = command(program, arguments)
        .output()
        .await
        .map_err(|error| not_run(program, error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() {
            String::from_utf8_lossy(&output.stdout)
        } else {
            said
        };
        return Err(failed(program, arguments, output.status, &said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end, and passes on each line that it tells about its work.
///
/// # Errors
///
/// As [`output`].
pub(super) async fn narrate(
    program: &str,
    arguments: &[&str],
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<()> {
    let mut child = command(program, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| not_run(program, error))?;
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await? {
            progress(line.trim());
            said.push_str(&line);
            said.push('\n');
        }
    }
    let status = child.wait().await?;
    if !status.success() {
        return Err(failed(program, arguments, status, &said));
    }
    Ok(())
}

/// Runs a program to its end, writes to its standard input what `write` gives, and returns what it
/// printed.
///
/// # Errors
///
/// As [`output`], or if what is to be written cannot be read.
pub(super) async fn feed(
    program: &str,
    arguments: &[&str],
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static,
) -> anyhow::Result<String> {
    let mut child = command(program, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| not_run(program, error))?;
    let stdin = child.stdin.take().context("the program has no input")?;
    // It is read and written by turns of many megabytes: a thread of its own does that.
    let mut pipe = io::BufWriter::with_capacity(1 << 20, SyncPipe::new(stdin));
    let writer = tokio::task::spawn_blocking(move || {
        write(&mut pipe)?;
        io::Write::flush(&mut pipe)
    });
    let output = child.wait_with_output().await?;
    let written = writer.await.context("the writer has panicked")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(program, arguments, output.status, &said));
    }
    written.with_context(|| format!("cannot write to `{program} {}`", arguments.join(" ")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program's input, for a thread that may wait.
struct SyncPipe {
    runtime: tokio::runtime::Handle,
    stdin: tokio::process::ChildStdin,
}

impl SyncPipe {
    fn new(stdin: tokio::process::ChildStdin) -> Self {
        Self {
            runtime: tokio::runtime::Handle::current(),
            stdin,
        }
    }
}

impl io::Write for SyncPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.stdin.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.runtime.block_on(self.stdin.flush())
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        // Ctrl-C is for the harness, which ends what it started.
        .kill_on_drop(true);
    command
}

fn not_run(program: &str, error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound {
        let help = match program {
            "kind" => super::cluster::INSTALL,
            _ => "install Docker: https://docs.docker.com/engine/install/",
        };
        anyhow::anyhow!("`{program}` is not on PATH; {help}")
    } else {
        anyhow::Error::new(error).context(format!("cannot run `{program}`"))
    }
}

fn failed(program: &str, arguments: &[&str], status: ExitStatus, said: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "`{program} {}` failed ({status}): {}",
        arguments.join(" "),
        last_lines(said)
    )
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.trim().lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
