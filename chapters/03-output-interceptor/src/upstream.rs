//! The upstream, and the connections to it that are kept for the next request.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use sidecar_kit::{Setting, cause};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::BUFFER;
use crate::answer::Refusal;

/// For how long a connection that was kept is used again. Servers close what is idle, many of
/// them after five seconds: a younger one is hardly ever being closed at the moment it is used.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// How many connections are kept at most.
const KEPT: usize = 100;

/// The server that requests are forwarded to.
pub struct Upstream {
    address: Address,
    timeout: Duration,
    /// Connections without a request under way, the youngest last.
    kept: Arc<Mutex<Vec<Kept>>>,
}

struct Kept {
    connection: SendRequest<Upload>,
    since: Instant,
}

impl Upstream {
    /// The server at an address, which may take this long to accept a connection, and this long
    /// to begin its answer.
    #[must_use]
    pub fn new(address: Address, timeout: Duration) -> Self {
        Self {
            address,
            timeout,
            kept: Arc::default(),
        }
    }

    /// What the upstream is called in `Host`.
    pub(crate) fn host(&self) -> HeaderValue {
        self.address.authority.clone()
    }

    // ANCHOR: send
    /// Sends a request to the upstream, and returns the answer as soon as it has begun.
    pub(crate) async fn send(
        &self,
        mut request: Request<Upload>,
    ) -> Result<Response<Incoming>, Unanswered> {
        loop {
            let (mut connection, is_new) = match self.take() {
                Some(kept) => (kept, false),
                None => match self.connect().await {
                    Ok(new) => (new, true),
                    Err(why) => return Err(Unanswered::unsent(why, request)),
                },
            };
            let progress = request.body().progress.clone();
            // Its time begins here: what was spent on connections is no fault of this one.
            lock(&progress).moved = Instant::now();
            let answer = connection.try_send_request(request);
            match self.within_the_time(answer, &progress).await {
                Ok(Ok(answer)) => {
                    self.keep(connection);
                    return Ok(answer);
                }
                Ok(Err(mut error)) => match error.take_message() {
                    // The upstream has closed this kept connection, and nothing of the request
                    // was sent: another connection may have it. What was sent once is never
                    // sent again, since the upstream may have done what it asks for, and an
                    // order is not to be placed twice.
                    Some(unsent) if !is_new => request = unsent,
                    Some(unsent) => {
                        return Err(Unanswered::unsent(no_answer(error.error()), unsent));
                    }
                    None => return Err(no_answer(error.error()).into()),
                },
                Err(why) => return Err(why.into()),
            }
        }
    }
    // ANCHOR_END: send

    /// Opens a connection.
    async fn connect(&self) -> Result<SendRequest<Upload>, Refusal> {
        let address = (&*self.address.host, self.address.port);
        let connected = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // Without it, the connection to a machine that has vanished is open for ever.
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(15))
                .with_interval(Duration::from_secs(5));
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            Ok::<_, io::Error>(stream)
        };
        let stream = match timeout(self.timeout, connected).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let why = format!("no connection to the upstream: {error}");
                return Err(Refusal::new(StatusCode::BAD_GATEWAY, why));
            }
            Err(_) => {
                let why = format!("no connection to the upstream within {:?}", self.timeout);
                return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, why));
            }
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/1 has no handshake that could fail");
        // The connection reads and writes in a task of its own; requests are handed to it. What
        // goes wrong is told to the one who sent the request.
        tokio::spawn(connection);
        Ok(sender)
    }

    // ANCHOR: pool
    /// Takes the connection that was used last, if there is one that is still good.
    fn take(&self) -> Option<SendRequest<Upload>> {
        let mut kept = lock(&self.kept);
        let youngest = kept.pop()?;
        if youngest.since.elapsed() < KEPT_FOR {
            return Some(youngest.connection);
        }
        kept.clear();
        None
    }

    /// Keeps a connection, once its answer has been read to the end. If it never is, because
    /// the client has left or the upstream broke off, the connection is closed instead.
    fn keep(&self, mut connection: SendRequest<Upload>) {
        let kept = self.kept.clone();
        tokio::spawn(async move {
            if connection.ready().await.is_ok() {
                let mut kept = lock(&kept);
                if kept.len() < KEPT {
                    kept.push(Kept {
                        connection,
                        since: Instant::now(),
                    });
                }
            }
        });
    }
    // ANCHOR_END: pool

    /// Waits for the answer, but not for longer than the upstream may take.
    ///
    /// A long upload takes longer than that, and no answer can come before its end. So the time
    /// begins anew with each piece of it.
    async fn within_the_time<T>(
        &self,
        answer: impl Future<Output = T>,
        progress: &Mutex<Progress>,
    ) -> Result<T, Refusal> {
        let mut answer = pin!(answer);
        loop {
            let begin = lock(progress).moved;
            if let Ok(answer) = timeout_at(begin + self.timeout, &mut answer).await {
                return Ok(answer);
            }
            let progress = lock(progress);
            if progress.moved > begin {
                continue;
            }
            let (status, why) = if progress.waits_for_client {
                (StatusCode::REQUEST_TIMEOUT, "nothing of the request")
            } else {
                (StatusCode::GATEWAY_TIMEOUT, "no answer from the upstream")
            };
            return Err(Refusal::new(
                status,
                format!("{why} within {:?}", self.timeout),
            ));
        }
    }
}

fn no_answer(error: &hyper::Error) -> Refusal {
    let why = cause(error);
    if error.is_user() {
        // hyper's word for a body that failed: the client's, which was on its way.
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the request breaks off: {why}"),
        )
    } else {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            format!("no answer from the upstream: {why}"),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock")
}

/// Why there is no answer.
pub(crate) struct Unanswered {
    pub(crate) why: Refusal,
    /// The request, if nothing of it was sent.
    pub(crate) unsent: Option<Request<Upload>>,
}

impl Unanswered {
    fn unsent(why: Refusal, request: Request<Upload>) -> Self {
        let unsent = Some(request);
        Self { why, unsent }
    }
}

impl From<Refusal> for Unanswered {
    fn from(why: Refusal) -> Self {
        Self { why, unsent: None }
    }
}

/// The body of a request on its way to the upstream.
pub(crate) struct Upload {
    /// None where the request has no body.
    body: Option<Incoming>,
    progress: Arc<Mutex<Progress>>,
}

/// How an upload is getting on.
struct Progress {
    /// When a piece of it was last passed on.
    moved: Instant,
    /// The upstream would take more, and the client has not sent it yet.
    waits_for_client: bool,
}

impl Upload {
    pub(crate) fn new(body: Incoming) -> Self {
        Self::from((!body.is_end_stream()).then_some(body))
    }

    /// What the client has to send that nobody has read.
    pub(crate) fn unread(self) -> Option<Incoming> {
        self.body
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_none()
    }
}

impl From<Option<Incoming>> for Upload {
    fn from(body: Option<Incoming>) -> Self {
        let progress = Progress {
            moved: Instant::now(),
            waits_for_client: false,
        };
        Self {
            body,
            progress: Arc::new(Mutex::new(progress)),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        let mut progress = lock(&self.progress);
        progress.waits_for_client = frame.is_pending();
        if frame.is_ready() {
            progress.moved = Instant::now();
        }
        drop(progress);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// Where the upstream is.
pub struct Address {
    host: String,
    port: u16,
    /// Both, as the setting has them.
    authority: HeaderValue,
}

impl Setting for Address {
    const EXAMPLE: &'static str = "http://127.0.0.1:9000";

    fn parse(value: &str) -> Result<Self, String> {
        let uri: Uri = value.parse().map_err(|error| format!("{error}"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("it does not begin with http://".to_owned());
        };
        if authority.as_str().contains('@') {
            return Err("it names a user".to_owned());
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("it goes on after the port; the path of a request is kept".to_owned());
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => 80,
            None => return Err("its port is none".to_owned()),
        };
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|error| error.to_string())?,
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let authority = address.to_string();
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            authority: HeaderValue::from_str(&authority)
                .expect("an address is made of letters, digits and signs"),
        }
    }
}
