//! Accepts connections, serves them side by side, and sees them off.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{self, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sidecar_kit::{cause, setting, told_to_end};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use crate::BUFFER;
use crate::answer::{Answer, Refusal, is_clear};

/// How many connections are served at once; further ones wait in the kernel's queue. Each can
/// need a second one to the upstream, and 1,024 files is what a process may have open by default.
const CONNECTIONS: usize = 400;

// ANCHOR: sidecar
/// What a sidecar does with a request.
pub trait Sidecar: Send + Sync + 'static {
    /// Answers a request of `client`, or says why it is refused.
    fn answer(
        &self,
        request: Request<Incoming>,
        client: &Client,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send;
}
// ANCHOR_END: sidecar

/// Who opened a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address; an IPv4 one is told as such even where IPv6 carries it.
    pub ip: IpAddr,
    header: HeaderValue,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let header = HeaderValue::from_str(&ip.to_string())
            .expect("an address is made of digits, dots and colons");
        Self { ip, header }
    }

    /// The address as a header field has it.
    pub(crate) fn in_header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// What all connections share.
struct Shared<S> {
    /// How a connection is served.
    http: http1::Builder,
    sidecar: Arc<S>,
}

/// Accepts connections on `LISTEN` until the program is told to end, then finishes those that are
/// open.
///
/// # Errors
///
/// If nobody can listen at the address.
pub async fn serve<S: Sidecar>(default_address: &str, sidecar: Arc<S>) -> anyhow::Result<()> {
    let listen: SocketAddr = setting("LISTEN", default_address);
    // How long a client may take to send the head of its next request. One that sends it byte by
    // byte, or never, would otherwise hold its place among CONNECTIONS for ever.
    let head_timeout: Duration = setting("HEAD_TIMEOUT", "30s");
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(BUFFER);
    let shared = Arc::new(Shared { http, sidecar });

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
                    connections.spawn(serve_one(stream, client, shared.clone(), leaving.clone()));
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
        connections.spawn(serve_one(stream, client, shared.clone(), leaving.clone()));
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
async fn serve_one<S: Sidecar>(
    stream: TcpStream,
    client: SocketAddr,
    shared: Arc<Shared<S>>,
    mut leaving: watch::Receiver<()>,
) {
    // Small pieces of a streamed answer must not wait for more to come.
    let _ = stream.set_nodelay(true);
    let client = Client::new(client);
    let mut connection = shared.http.serve_connection(
        TokioIo::new(stream),
        service_fn(|request| answer_one(&*shared.sidecar, request, &client)),
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

/// Answers a request, if it says clearly what it asks.
async fn answer_one<S: Sidecar>(
    sidecar: &S,
    request: Request<Incoming>,
    client: &Client,
) -> Result<Answer, Infallible> {
    let waits_for_consent = request.headers().contains_key(EXPECT);
    let answer = match is_clear(&request) {
        Ok(()) => sidecar.answer(request, client).await,
        Err(refusal) => Err(refusal.of(request.into_body())),
    };
    match answer {
        Ok(answer) => Ok(answer),
        Err(refusal) => Ok(refusal.answer(waits_for_consent).await),
    }
}
