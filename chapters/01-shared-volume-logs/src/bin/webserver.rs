//! The app: a web server that writes its access log to a file, as it always did.
//!
//! It knows nothing of the sidecar. When its log has grown to `ROTATE_AT` bytes it renames it and
//! begins a new one, and keeps the last few. It writes each line at once, or `BUFFER` bytes at a
//! time.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Router, serve};
use sidecar_kit::{setting, told_to_end};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("webserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let end = told_to_end();
    let listen: SocketAddr = setting("LISTEN", "0.0.0.0:8080");
    let path: PathBuf = setting("LOG_PATH", "/var/log/webserver/access.log");
    let (rotate_at, keep) = (setting("ROTATE_AT", "1048576"), setting("KEEP", "3"));
    let log = AccessLog::open(path, rotate_at, keep, setting("BUFFER", "1"))?;
    let log = Arc::new(Mutex::new(log));

    let app = Router::new()
        .fallback(page)
        .layer(from_fn_with_state(log.clone(), log_access));
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on LISTEN={listen}; another port may be free"))?;
    println!("listening on {}", listener.local_addr()?);
    // On SIGTERM, no new connection is accepted, and requests in flight are answered.
    serve(listener, app).with_graceful_shutdown(end).await?;
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.file.flush().context("cannot write the end of the log")
}

/// Answers every request; the body, if there is one, is read first.
async fn page(uri: Uri, _body: Bytes) -> String {
    format!("This is {}.\n", uri.path())
}

/// Writes the access line of a request when its answer is known, before it is sent.
async fn log_access(
    State(log): State<Arc<Mutex<AccessLog>>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let line = format!("{asked} {}\n", response.status().as_u16());
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = log.append(line.as_bytes()) {
        // Whoever asked should not suffer from a full disk.
        println!("webserver: cannot write to {}: {error}", log.path.display());
    }
    response
}

/// A log file that is renamed when it has grown large, and begun anew.
struct AccessLog {
    path: PathBuf,
    file: Buffered,
    size: u64,
    rotate_at: u64,
    /// How many renamed files are kept: `access.log.1` is the youngest.
    keep: u64,
}

impl AccessLog {
    fn open(path: PathBuf, rotate_at: u64, keep: u64, piece: u64) -> anyhow::Result<AccessLog> {
        let file = append_to(&path).with_context(|| {
            format!(
                "cannot write to LOG_PATH={}; a path on a volume would do",
                path.display()
            )
        })?;
        let size = file.metadata()?.len();
        Ok(AccessLog {
            path,
            file: Buffered {
                file,
                piece,
                buffer: Vec::new(),
            },
            size,
            rotate_at,
            keep,
        })
    }

    // ANCHOR: rotate
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.rotate_at {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        for number in (1..self.keep).rev() {
            match fs::rename(self.rotated(number), self.rotated(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.rotated(1))?;
        self.file.file = append_to(&self.path)?;
        self.size = 0;
        let (log, rotated) = (self.path.display(), self.rotated(1));
        println!("{log} is full, and is {} now", rotated.display());
        Ok(())
    }
    // ANCHOR_END: rotate

    fn rotated(&self, number: u64) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

/// A file that is written `piece` bytes at a time, as by programs that use the standard library
/// of C: a piece ends where it is full, which may be in the middle of a line.
struct Buffered {
    file: File,
    piece: u64,
    /// What has not been written yet, and is gone if the program is killed.
    buffer: Vec<u8>,
}

impl Buffered {
    /// Writes the first so many bytes of the buffer. What cannot be written is dropped: a disk
    /// that is full must not fill the memory as well.
    fn write_some(&mut self, bytes: usize) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer[..bytes]);
        self.buffer.drain(..bytes);
        written
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend(bytes);
        let rest = self.buffer.len() as u64 % self.piece.max(1);
        self.write_some(self.buffer.len() - rest as usize)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_some(self.buffer.len())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}
