//! Passes a request on to the upstream, and its answer back.

use http_body_util::Either;
use hyper::body::{Body, Incoming};
use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, MAX_FORWARDS, TE, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use crate::answer::{Answer, Refusal};
use crate::headers::{ambiguous_framing, append_to_list, is_signed, list, remove_hop_by_hop, sign};
use crate::upstream::{Upload, Upstream};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Forwards a request of `client` to the upstream, and returns the answer as soon as it begins.
///
/// Neither body is ever held as a whole: each piece is read when the other side has taken the
/// one before, so a slow reader slows the writer down, and an endless body needs no more memory
/// than a short one. A client that leaves drops this future, or the body that it returned, and
/// the request to the upstream with it.
///
/// What the upstream says before its answer (`100 Continue` and its like) stays here: hyper reads
/// past it, and itself tells a client that waits for it to go on, as soon as the upstream takes
/// the body.
pub(crate) async fn forward(
    request: Request<Incoming>,
    client: &HeaderValue,
    upstream: &Upstream,
) -> Result<Answer, Refusal> {
    // ANCHOR: request
    let (mut head, body) = request.into_parts();
    if let Err(refusal) = may_go_on(&mut head) {
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
    // The app calls the sidecar `localhost`. That is not what the upstream is called.
    head.headers.insert(HOST, upstream.host());
    append_to_list(&mut head.headers, X_FORWARDED_FOR, client.clone());
    sign(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    head.extensions.clear();

    let answer = upstream
        .send(Request::from_parts(head, Upload::new(body)))
        .await?;
    // ANCHOR_END: request

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
    sign(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Either::Right(body)))
}

/// Refuses a request that is not to be forwarded, and gives the target of any other the form
/// that a server expects.
fn may_go_on(head: &mut Parts) -> Result<(), Refusal> {
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

    if is_signed(&head.headers) {
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
