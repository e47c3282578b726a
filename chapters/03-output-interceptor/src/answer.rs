//! The answers that a sidecar gives itself: those of its own, and refusals, which say why.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode, Version};
use tokio::time::timeout;

use crate::headers::ambiguous_framing;

/// An answer, with a body that is written here or streamed from the upstream.
pub type Answer = Response<Either<Full<Bytes>, Incoming>>;

/// Refuses a request that does not say clearly where it ends, or for whom it is.
pub(crate) fn is_clear(request: &Request<Incoming>) -> Result<(), Refusal> {
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

/// An answer that is written here.
pub fn answer(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(text.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Why a request gets no other answer than this.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    why: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of the request, where nobody has read it.
    unread: Option<Incoming>,
    is_logged: bool,
}

impl Refusal {
    /// The status that it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A refusal, and why in a few words, for the client and for the sidecar's log.
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
            headers: Vec::new(),
            unread: None,
            is_logged: true,
        }
    }

    /// Refuses the request that has this body.
    #[must_use]
    pub fn of(self, body: Incoming) -> Self {
        Self {
            unread: Some(body),
            ..self
        }
    }

    /// Tells the client more, in a header field: what would be taken, or when to ask again.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says the reason to the client alone: what may happen thousands of times in a second is
    /// better counted than logged.
    #[must_use]
    pub fn unlogged(self) -> Self {
        Self {
            is_logged: false,
            ..self
        }
    }

    /// Says the reason to the log and to the client.
    pub(crate) async fn answer(self, waits_for_consent: bool) -> Answer {
        if self.is_logged {
            println!("{}: {}", self.status, self.why);
        }
        let is_read = match self.unread {
            // Who waits for consent has not begun to send, and need not.
            Some(body) if !waits_for_consent => read_to_the_end(body).await,
            Some(_) => false,
            None => true,
        };
        let mut answer = answer(self.status, "text/plain; charset=UTF-8", self.why + "\n");
        answer.headers_mut().extend(self.headers);
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
