//! Passes a request on to the upstream, and its answer back.

use http_body_util::Either;
use hyper::body::{Body, Incoming};
use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, MAX_FORWARDS, TE, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use crate::answer::{Answer, Refusal};
use crate::headers::{Pseudonym, ambiguous_framing, append_to_list, list, remove_hop_by_hop};
use crate::serve::Client;
use crate::upstream::{Unanswered, Upload, Upstream};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Forwards a request of `client` to the upstream, and returns the answer as soon as it begins.
///
/// # Errors
///
/// If the request is not one to forward, or the upstream gives no answer to it.
pub async fn forward(
    request: Request<Incoming>,
    client: &Client,
    upstream: &Upstream,
    pseudonym: &Pseudonym,
) -> Result<Answer, Refusal> {
    let outgoing = Outgoing::new(request, client, pseudonym)?;
    outgoing.send_once(upstream).await.map_err(Failed::into)
}

/// A request that is ready to be sent to an upstream.
///
/// Neither body is ever held as a whole: each piece is read when the other side has taken the
/// one before, so a slow reader slows the writer down, and an endless body needs no more memory
/// than a short one. A client that leaves drops this future, or the body that it returned, and
/// the request to the upstream with it.
///
/// What the upstream says before its answer (`100 Continue` and its like) stays here: hyper reads
/// past it, and itself tells a client that waits for it to go on, as soon as the upstream takes
/// the body.
pub struct Outgoing<'p> {
    head: Parts,
    body: Upload,
    pseudonym: &'p Pseudonym,
}

/// A request that an upstream has not answered.
pub struct Failed<'p> {
    /// What its client is told.
    pub why: Refusal,
    /// The request, if it may be sent to another upstream. Nothing of it was sent, or its method is
    /// idempotent and it has no body: done twice, it does what it does once (RFC 9110, section 9.2.2).
    pub again: Option<Outgoing<'p>>,
}

impl From<Failed<'_>> for Refusal {
    fn from(failed: Failed<'_>) -> Self {
        let unread = failed.again.and_then(|outgoing| outgoing.body.unread());
        match unread {
            Some(body) => failed.why.of(body),
            None => failed.why,
        }
    }
}

impl<'p> Outgoing<'p> {
    /// Makes of a request of `client` what may be sent on.
    ///
    /// # Errors
    ///
    /// If it is not one to forward.
    pub fn new(
        request: Request<Incoming>,
        client: &Client,
        pseudonym: &'p Pseudonym,
    ) -> Result<Self, Refusal> {
        // ANCHOR: request
        let (mut head, body) = request.into_parts();
        if let Err(refusal) = may_go_on(&mut head, pseudonym) {
            return Err(refusal.of(body));
        }

        let takes_trailers =
            list(&head.headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
        remove_hop_by_hop(&mut head.headers);
        if takes_trailers {
            head.headers
                .insert(TE, HeaderValue::from_static("trailers"));
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if body.size_hint().exact().is_none() {
            head.headers
                .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        append_to_list(&mut head.headers, X_FORWARDED_FOR, client.in_header());
        pseudonym.sign(&mut head.headers, head.version);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        // ANCHOR_END: request
        let body = Upload::new(body);
        Ok(Self {
            head,
            body,
            pseudonym,
        })
    }

    /// Sends it to an upstream, and returns the answer as soon as it begins.
    ///
    /// # Errors
    ///
    /// If the upstream gives no answer to it.
    pub async fn send(self, upstream: &Upstream) -> Result<Answer, Failed<'p>> {
        let pseudonym = self.pseudonym;
        let may_be_repeated = self.head.method.is_idempotent() && self.body.is_empty();
        let copy = may_be_repeated.then(|| Self {
            head: self.head.clone(),
            body: Upload::from(None),
            pseudonym,
        });
        self.send_once(upstream).await.map_err(|failed| Failed {
            again: failed.again.or(copy),
            ..failed
        })
    }

    /// The same, for whoever has no other upstream.
    async fn send_once(mut self, upstream: &Upstream) -> Result<Answer, Failed<'p>> {
        let pseudonym = self.pseudonym;
        // The app calls the sidecar `localhost`. That is not what the upstream is called.
        self.head.headers.insert(HOST, upstream.host());
        let request = Request::from_parts(self.head, self.body);
        match upstream.send(request).await {
            Ok(answer) => passed_back(answer, pseudonym).map_err(|why| Failed { why, again: None }),
            Err(Unanswered { why, unsent }) => {
                let again = unsent.map(|unsent| {
                    let (head, body) = unsent.into_parts();
                    Self {
                        head,
                        body,
                        pseudonym,
                    }
                });
                Err(Failed { why, again })
            }
        }
    }
}

/// Makes of an upstream's answer what may be passed back.
fn passed_back(answer: Response<Incoming>, pseudonym: &Pseudonym) -> Result<Answer, Refusal> {
    let (mut head, body) = answer.into_parts();
    if let Some((_, why)) = ambiguous_framing(&head.headers) {
        let why = format!("the answer from the upstream has {why}");
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, why));
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let why = "the upstream switches protocols, which nobody asked for";
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, why));
    }
    remove_hop_by_hop(&mut head.headers);
    pseudonym.sign(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Either::Right(body)))
}

/// Refuses a request that is not to be forwarded, and gives the target of any other the form
/// that a server expects.
fn may_go_on(head: &mut Parts, pseudonym: &Pseudonym) -> Result<(), Refusal> {
    // CONNECT asks for a tunnel, which shows neither requests nor answers. TRACE asks for the
    // request itself as the answer, credentials and all.
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        let why = format!("{} is not forwarded", head.method);
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, why));
    }
    // `/path`, `*`, or the whole URL, as to a proxy: whichever server that names, there is one
    // upstream.
    let target = match (head.uri.scheme_str(), head.uri.path_and_query()) {
        (None | Some("http"), Some(target)) => target,
        _ => {
            let why = "the request's target is neither a path nor an http URL";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
        }
    };
    if target == "*" && head.method != Method::OPTIONS {
        let why = "only OPTIONS can have the target *";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
    }
    if head.uri.authority().is_some() {
        head.uri = Uri::from(target.clone());
    }

    if pseudonym.has_signed(&head.headers) {
        let why = "the request has been here before: UPSTREAM leads back to this sidecar";
        return Err(Refusal::new(StatusCode::LOOP_DETECTED, why));
    }
    // How many more hops a request may take. Only OPTIONS and TRACE are bound by it.
    if head.method == Method::OPTIONS
        && let Some(hops) = head.headers.get(MAX_FORWARDS)
        && let Some(hops) = hops.to_str().ok().and_then(|hops| hops.parse::<u32>().ok())
    {
        match hops.checked_sub(1) {
            Some(hops) => head.headers.insert(MAX_FORWARDS, hops.into()),
            None => {
                return Err(Refusal::new(
                    StatusCode::OK,
                    "the request's Max-Forwards is 0",
                ));
            }
        };
    }
    Ok(())
}
