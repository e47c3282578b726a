//! How the app learns who asks.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderName, HeaderValue, TRAILER};

use crate::denial::Denial;

/// The field that tells the app who asks.
pub const X_USER: HeaderName = HeaderName::from_static("x-user");

/// The longest name of a user, in bytes: no issuer's is longer (OpenID Connect Core, section 2).
const LONGEST: usize = 255;

// ANCHOR: introduce
/// Tells the app who asks, in a field that only this sidecar can set.
///
/// # Errors
///
/// If the client tries to have the field removed on its way.
pub fn introduce(headers: &mut HeaderMap, user: HeaderValue) -> Result<(), Denial> {
    // `Connection: X-User` says that the field is for the next hop only, and forwarding would
    // take it away.
    let mut options = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    if options.any(|option| is_x_user(option.trim_ascii())) {
        return Err(Denial::Malformed("Connection names X-User"));
    }
    // A client that says itself who it is says nothing. `X_User` is another field to HTTP, and the
    // same one to all that turn field names into variables, as CGI does (RFC 3875, 4.1.18).
    let claimed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_x_user(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
    // Fields can follow the body too. Without this one, none of them is passed on.
    headers.remove(TRAILER);
    // The app does not need the token, and what it does not have it cannot write into a log.
    headers.remove(AUTHORIZATION);
    headers.insert(X_USER, user);
    Ok(())
}
// ANCHOR_END: introduce

/// Whether a field is the one that tells who asks, or is taken for it.
fn is_x_user(name: &[u8]) -> bool {
    let alike = |byte: u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    name.iter().map(|byte| alike(*byte)).eq(*b"x-user")
}

// ANCHOR: name
/// The name of a user as a header field has it, if it is one to be read in one way only: issuers
/// make names of letters, digits and the signs of URLs and addresses. A space, a comma or a quote
/// could end a name in the eyes of one who reads the field as a list.
pub(crate) fn name(sub: &str) -> Option<HeaderValue> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@|+=".contains(&byte);
    let fits = !sub.is_empty() && sub.len() <= LONGEST && sub.bytes().all(is_plain);
    fits.then(|| HeaderValue::from_str(sub).ok())?
}
// ANCHOR_END: name

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for sub in [
            "alice",
            "alice@example.org",
            "auth0|5f7c8ec7",
            "system:serviceaccount:shop:web",
            "spiffe://example.org/ns/shop",
            "a+b=c_d~e.f-g",
            &"a".repeat(255),
        ] {
            assert_eq!(name(sub).map(|name| name == *sub), Some(true), "{sub}");
        }
        for sub in [
            "",
            " ",
            "alice ",
            "al ice",
            "alice,boss",
            "alice\r\nX-User: boss",
            "alice\nboss",
            "alice\0",
            "al\u{7f}ice",
            "\u{e9}lise",
            "al\u{200b}ice",
            "\"alice\"",
            "a;b",
            "a\\b",
            "a%62",
            "<a>",
            "\u{430}lice",
            &"a".repeat(256),
        ] {
            assert_eq!(name(sub), None, "{sub:?}");
        }
    }
}
