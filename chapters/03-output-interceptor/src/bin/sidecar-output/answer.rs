//! What is done with a request: answer it, forward it, or refuse it and say why.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::timeout;

use crate::forward::forward;
use crate::headers::ambiguous_framing;
use crate::upstream::Upstream;

/// An answer, with a body that is written here or streamed from the upstream.
pub(crate) type Answer = Response<Either<Full<Bytes>, Incoming>>;

/// What all connections share.
pub(crate) struct Sidecar {
    /// How a connection is served.
    pub(crate) http: http1::Builder,
    /// Where requests are forwarded to, if anywhere.
    pub(crate) upstream: Option<Upstream>,
}

impl Sidecar {
    // ANCHOR: answer
    /// Answers a request that came from `client`.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        client: &HeaderValue,
    ) -> Result<Answer, Infallible> {
        let waits_for_consent = request.headers().contains_key(EXPECT);
        let answer = match (is_clear(&request), request.uri().path(), &self.upstream) {
            (Err(refusal), ..) => Err(refusal.of(request.into_body())),
            (_, "/hello", _) => hello(request),
            (_, _, Some(upstream)) => forward(request, client, upstream).await,
            (_, _, None) => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "only /hello is answered here; the rest is forwarded where UPSTREAM is set",
            )
            .of(request.into_body())),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(refusal) => Ok(refusal.answer(waits_for_consent).await),
        }
    }
    // ANCHOR_END: answer
}

/// Refuses a request that does not say clearly where it ends, or for whom it is.
fn is_clear(request: &Request<Incoming>) -> Result<(), Refusal> {
    if let Some((status, why)) = ambiguous_framing(request.headers()) {
        return Err(Refusal::new(status, format!("the request has {why}")));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let why = match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => "the request has no Host",
        (Some(_), Some(_)) => "the request has more than one Host",
        (Some(host), _) if !host.is_empty() && Authority::try_from(host.as_bytes()).is_err() => {
            "the request has a Host that cannot be"
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(StatusCode::BAD_REQUEST, why))
}

// ANCHOR: hello
fn hello(request: Request<Incoming>) -> Result<Answer, Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            println!("receive a request");
            Ok(answer(
                StatusCode::OK,
                "text/html; charset=UTF-8",
                "<h1>Say hello to hyper</h1>",
            ))
        }
        _ => Err(
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "/hello takes GET and HEAD")
                .of(request.into_body()),
        ),
    }
}
// ANCHOR_END: hello

fn answer(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(text.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    answer
}

/// Why a request gets no other answer than this.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    why: String,
    /// The body of the request, where nobody has read it.
    unread: Option<Incoming>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
            unread: None,
        }
    }

    /// Refuses the request that has this body.
    pub(crate) fn of(self, body: Incoming) -> Self {
        Self {
            unread: Some(body),
            ..self
        }
    }

    /// Says the reason to the log and to the client.
    async fn answer(self, waits_for_consent: bool) -> Answer {
        println!("{}: {}", self.status, self.why);
        let is_read = match self.unread {
            // Who waits for consent has not begun to send, and need not.
            Some(body) if !waits_for_consent => read_to_the_end(body).await,
            Some(_) => false,
            None => true,
        };
        let mut answer = answer(self.status, "text/plain; charset=UTF-8", self.why + "\n");
        // Where it is not certain where the request ends, none can follow it.
        let has_an_end = !matches!(
            self.status,
            StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT | StatusCode::NOT_IMPLEMENTED
        );
        if !(is_read && has_an_end) {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// Reads a body that nobody wants and throws it away, unless it is long or slow; says whether it
/// came to its end.
///
/// A client that is still sending when the connection closes finds it reset, and may never read
/// the answer that was already there.
async fn read_to_the_end(mut body: Incoming) -> bool {
    const LONG: u64 = 1024 * 1024;
    const SLOW: Duration = Duration::from_secs(5);

    let mut left = LONG;
    if body.size_hint().lower() > left {
        return false;
    }
    let reading = async {
        while let Some(frame) = body.frame().await {
            let length = frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
            left = left.checked_sub(length)?;
        }
        Some(())
    };
    matches!(timeout(SLOW, reading).await, Ok(Some(())))
}
