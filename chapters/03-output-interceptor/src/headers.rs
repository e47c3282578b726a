//! Which header fields belong to one connection, and which to the message that is passed on.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::{HeaderMap, StatusCode, Version};

/// The name under which a sidecar signs what it forwards (RFC 9110, section 7.6.3).
#[derive(Clone, Debug)]
pub struct Pseudonym {
    name: &'static str,
    received_as_1_0: HeaderValue,
    received_as_1_1: HeaderValue,
}

impl Pseudonym {
    /// A name of letters, digits and dashes, which no other proxy on the way has.
    ///
    /// # Panics
    ///
    /// If it cannot stand in a header field.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let signature = |version| {
            HeaderValue::from_maybe_shared(format!("{version} {name}"))
                .expect("a name of letters, digits and dashes is a header value")
        };
        Self {
            name,
            received_as_1_0: signature("1.0"),
            received_as_1_1: signature("1.1"),
        }
    }

    /// Signs a message that was received with this version of HTTP.
    pub(crate) fn sign(&self, headers: &mut HeaderMap, version: Version) {
        let signature = match version {
            Version::HTTP_10 => &self.received_as_1_0,
            _ => &self.received_as_1_1,
        };
        append_to_list(headers, VIA, signature.clone());
    }

    /// Whether the message has already passed here.
    pub(crate) fn has_signed(&self, headers: &HeaderMap) -> bool {
        list(headers, &VIA)
            .any(|hop| hop.split(|byte| *byte == b' ').nth(1) == Some(self.name.as_bytes()))
    }
}

// ANCHOR: hop-by-hop
/// Fields that speak to the other end of one connection, the hop, and not to the other end of
/// the way (RFC 9110, section 7.6.1).
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what belongs to the hop that a message came over: the fields that always do, and
/// those that the sender names in `Connection`.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = list(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
// ANCHOR_END: hop-by-hop

/// The members of a field that is a list, over all the lines that it may be spread over.
pub(crate) fn list<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Adds a member to the end of a field that is a list, all of it on one line.
pub(crate) fn append_to_list(headers: &mut HeaderMap, name: HeaderName, member: HeaderValue) {
    let before: Vec<&[u8]> = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let value = if before.is_empty() {
        member
    } else {
        let joined = [before.join(&b", "[..]), member.as_bytes().to_vec()].join(&b", "[..]);
        HeaderValue::from_maybe_shared(joined)
            .expect("header values joined by a comma are a header value")
    };
    headers.insert(name, value);
}

// ANCHOR: framing
/// Says what is wrong with the way in which a message marks the end of its body, if anything is.
///
/// Whoever can make two servers disagree on where a message ends can hide a second message in
/// the first one. hyper reads by the letter of the standard and writes the framing of what it
/// passes on anew; what is refused here is what the standard lets one accept in hope.
pub(crate) fn ambiguous_framing(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let lengths = list(headers, &CONTENT_LENGTH).count();
    let mut codings = list(headers, &TRANSFER_ENCODING);
    match (codings.next(), codings.next()) {
        (None, _) if lengths > 1 => Some((StatusCode::BAD_REQUEST, "more than one Content-Length")),
        (None, _) => None,
        (Some(_), _) if lengths > 0 => Some((
            StatusCode::BAD_REQUEST,
            "both Transfer-Encoding and Content-Length",
        )),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => None,
        (Some(_), _) => Some((
            StatusCode::NOT_IMPLEMENTED,
            "a Transfer-Encoding other than chunked",
        )),
    }
}
// ANCHOR_END: framing
