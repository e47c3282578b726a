//! The harness's hand in the pod: see [`pause::SERVE`].

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use pause::{Answer, ERRNO, Request, VOLUMES};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;

use crate::hold::{ARRIVED, LEAVE};

/// The pod's first process.
const FIRST: Pid = Pid::from_raw(1);

/// Serves the harness until it has hung up, and ends the pod then.
// ANCHOR: run
pub(crate) fn run() -> io::Result<()> {
    kill(FIRST, ARRIVED)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    // However the conversation ended, nobody is there any more.
    let _ = runtime.block_on(serve());
    kill(FIRST, LEAVE)?;
    Ok(())
}
// ANCHOR_END: run

async fn serve() -> io::Result<()> {
    let input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let output = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
    let streams = TokioIo::new(tokio::io::join(input, output));
    http2::Builder::new(TokioExecutor::new())
        .serve_connection(streams, service_fn(answer))
        .await
        .map_err(io::Error::other)
}

async fn answer(request: hyper::Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    if request.method() == Method::CONNECT {
        return Ok(connect(request).await);
    }
    let body = request.into_body().collect().await?.to_bytes();
    let answer = serde_json::from_slice(&body)
        .map_err(|error| error.to_string())
        .and_then(|request| act(request).map_err(|error| error.to_string()));
    // Answers are made of what JSON has.
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    Ok(Response::new(body.into()))
}

/// Connects, and passes bytes on in both directions until both have ended.
async fn connect(request: hyper::Request<Incoming>) -> Response<Full<Bytes>> {
    let address = request.uri().to_string();
    match TcpStream::connect(&address).await {
        Ok(mut stream) => {
            tokio::spawn(async move {
                if let Ok(tunnel) = hyper::upgrade::on(request).await {
                    // Each side sees for itself that it has ended.
                    let _ =
                        tokio::io::copy_bidirectional(&mut TokioIo::new(tunnel), &mut stream).await;
                }
            });
            Response::default()
        }
        Err(error) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            let number = error.raw_os_error().unwrap_or_default();
            response.headers_mut().insert(ERRNO, number.into());
            response
        }
    }
}

fn act(request: Request) -> io::Result<Answer> {
    match request {
        Request::Hosts(hosts) => write_hosts(hosts).map(|()| Answer::Done),
        Request::Prepare {
            volume,
            mode,
            group,
        } => {
            let folder = root(&volume);
            chown(&folder, None, group)?;
            // After the owner: a change of that clears the bit that passes the group on.
            fs::set_permissions(&folder, Permissions::from_mode(mode))?;
            Ok(Answer::Done)
        }
        Request::Write { volume, files } => {
            let files: Vec<_> = files
                .iter()
                .map(|file| pause::File {
                    path: &file.path,
                    mode: file.mode,
                    group: file.group,
                    content: &file.content,
                })
                .collect();
            pause::write(&root(&volume), &files)?;
            Ok(Answer::Done)
        }
        Request::Usage { volume } => Ok(Answer::Usage(usage(&root(&volume))?)),
        Request::SubPath { volume, path } => Ok(Answer::SubPath(sub_path(&root(&volume), &path)?)),
    }
}

/// Writes `/etc/hosts` in place, since every container has this very file. It is never made
/// shorter: whoever reads it meanwhile finds the names that stay.
fn write_hosts(hosts: String) -> io::Result<()> {
    let file = File::options().write(true).open("/etc/hosts")?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut hosts = hosts.into_bytes();
    hosts.resize(hosts.len().max(length), b'\n');
    file.write_all_at(&hosts, 0)
}

fn root(volume: &str) -> PathBuf {
    Path::new(VOLUMES).join(volume)
}

/// The bytes that the files of a folder take up. One that goes meanwhile takes up none.
fn usage(folder: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        // In the unit that `stat(2)` counts them.
        total += metadata.blocks() * 512;
        if metadata.is_dir() {
            total += usage(&entry.path()).unwrap_or(0);
        }
    }
    Ok(total)
}

/// Where a path leads in a volume, without links. Folders that are missing are made, with the
/// mode of the volume's root, as the kubelet does it.
fn sub_path(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mode = fs::metadata(root)?.permissions();
    let mut place = root.to_owned();
    for part in path.components() {
        let Component::Normal(part) = part else {
            continue;
        };
        place.push(part);
        match fs::create_dir(&place) {
            Ok(()) => fs::set_permissions(&place, mode.clone())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        place = place.canonicalize()?;
        if !place.starts_with(root) {
            let out = format!("{} leads out of the volume", path.display());
            return Err(io::Error::other(out));
        }
    }
    let inside = place.strip_prefix(root).map_err(io::Error::other)?;
    Ok(inside.to_owned())
}
