//! The sidecar: answers `/hello` itself, and forwards everything else to `UPSTREAM`.
//!
//! This file accepts connections and sees them off. What is done with a request is in `answer`,
//! how one is passed on in `forward`, and the connections to the upstream are in `upstream`.

mod answer;
mod forward;
mod headers;
mod upstream;

use std::net::SocketAddr;
use std::pin::{self, pin};
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sidecar_kit::{optional_setting, setting, told_to_end};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use crate::answer::Sidecar;
use crate::headers::cause;
use crate::upstream::Upstream;

/// How many connections are served at once; further ones wait in the kernel's queue. Each can
/// need a second one to the upstream, and 1,024 files is what a process may have open by default.
const CONNECTIONS: usize = 400;

/// The longest head of a message in bytes, and the most that is buffered of a body.
const BUFFER: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ended = run().await;
    if let Err(error) = &ended {
        println!("{error:#}");
    }
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(i32::from(ended.is_err()));
}

/// Accepts connections until the program is told to end, then finishes those that are open.
async fn run() -> anyhow::Result<()> {
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:7979");
    // How long the upstream may take to accept a connection, and to begin its answer.
    let timeout: Duration = setting("TIMEOUT", "30s");
    let upstream = optional_setting("UPSTREAM").map(|address| Upstream::new(address, timeout));
    // How long a client may take to send the head of its next request. One that sends it byte by
    // byte, or never, would otherwise hold its place among CONNECTIONS for ever.
    let head_timeout: Duration = setting("HEAD_TIMEOUT", "30s");
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(BUFFER);
    let sidecar = Arc::new(Sidecar { http, upstream });

    let mut told_to_end = pin!(told_to_end());
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set LISTEN to a free address"))?;

    // ANCHOR: accept
    // Each connection is a task of its own, so that none waits for another. All of them hold
    // the receiving end of a channel, and learn from its closing that it is time to leave.
    let mut connections = JoinSet::new();
    let (leave, leaving) = watch::channel(());
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, client)) => {
                    connections.spawn(serve(stream, client, sidecar.clone(), leaving.clone()));
                }
                Err(error) => {
                    // The client has gone already, or there are no files left to be opened.
                    println!("cannot accept a connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut told_to_end => break,
        }
    }
    // ANCHOR_END: accept

    // ANCHOR: leave
    // Clients that wait in the kernel's queue believe that they are connected, and are still
    // served. From here on new ones are refused, and open connections end with the answer that
    // they wait for.
    let listener = listener.into_std()?;
    while connections.len() < CONNECTIONS
        && let Ok((stream, client)) = listener.accept()
    {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream)?;
        connections.spawn(serve(stream, client, sidecar.clone(), leaving.clone()));
    }
    drop(listener);
    // Before its tasks go on, the runtime asks the kernel what has arrived: so they see the
    // requests of those clients first, and then that it is time to leave.
    yield_now().await;
    drop(leave);
    while connections.join_next().await.is_some() {}
    // ANCHOR_END: leave
    Ok(())
}

// ANCHOR: serve
/// Serves the requests of one connection, until the client leaves or all are told to.
async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    sidecar: Arc<Sidecar>,
    mut leaving: watch::Receiver<()>,
) {
    // Small pieces of a streamed answer must not wait for more to come.
    let _ = stream.set_nodelay(true);
    let client = HeaderValue::from_str(&client.ip().to_canonical().to_string())
        .expect("an address is made of digits, dots and colons");
    let mut connection = sidecar.http.serve_connection(
        TokioIo::new(stream),
        service_fn(|request| sidecar.answer(request, &client)),
    );

    let served = tokio::select! {
        // In this order, so that a request that has arrived is seen before the time to leave.
        biased;
        served = &mut connection => served,
        _ = leaving.changed() => {
            // The answer under way will say `Connection: close`, and be the last one.
            pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    match served {
        Err(error) if error.is_user() => {
            // hyper's word for a body that failed: the upstream broke off in the middle of it.
            // The client must not take what it has for the whole. Mostly it knows the length or
            // misses the last chunk, but an HTTP/1.0 client reads until the connection closes:
            // only a reset tells it that this is not the end.
            println!("the upstream broke off its answer: {}", cause(&error));
            let _ = connection.into_parts().io.inner().set_zero_linger();
        }
        Err(error) if error.is_parse() => println!("not a request: {}", cause(&error)),
        // Clients leave when they like; nobody is left to be told.
        Err(_) | Ok(()) => {}
    }
}
// ANCHOR_END: serve
