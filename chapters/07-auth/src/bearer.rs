//! The token of a request.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::denial::Denial;

/// The longest token that is looked at, in bytes. Those that people use are shorter than 2 KiB.
const LONGEST: usize = 8 * 1024;

// ANCHOR: bearer
/// Finds the token that a request bears (RFC 6750, section 2.1).
///
/// # Errors
///
/// If there is none, or more than one, or what is there cannot be one.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Denial> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(Denial::NoToken)?.as_bytes();
    if fields.next().is_some() {
        return Err(Denial::Malformed(
            "the request has more than one Authorization",
        ));
    }
    let (scheme, token) = match field.iter().position(|byte| *byte == b' ') {
        Some(space) => field.split_at(space),
        None => (field, &b""[..]),
    };
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(Denial::NoToken);
    }
    let token = token.trim_ascii();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    match std::str::from_utf8(token) {
        Ok(token) if token.len() > LONGEST => Err(Denial::invalid(format!(
            "the token is longer than {LONGEST} bytes"
        ))),
        Ok(token) if !token.is_empty() && token.bytes().all(|byte| is_token(&byte)) => Ok(token),
        _ => Err(Denial::Malformed("what follows Bearer is no token")),
    }
}
// ANCHOR_END: bearer

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// What is found in a request with these fields.
    fn found(fields: &[&str]) -> Result<String, Denial> {
        let mut headers = HeaderMap::new();
        for field in fields {
            let field = HeaderValue::from_bytes(field.as_bytes());
            headers.append(AUTHORIZATION, field.expect("a header value"));
        }
        bearer(&headers).map(ToOwned::to_owned)
    }

    #[test]
    fn a_token() {
        for field in ["Bearer a.b-c_d", "bearer a.b-c_d", "BEARER   a.b-c_d"] {
            assert_eq!(found(&[field]), Ok("a.b-c_d".to_owned()));
        }
        let longest = "a".repeat(LONGEST);
        assert_eq!(found(&[&format!("Bearer {longest}")]), Ok(longest));
    }

    #[test]
    fn no_token() {
        assert_eq!(found(&[]), Err(Denial::NoToken));
        for field in ["", "Basic YTpi", "Bearera.b.c", "Token a.b.c"] {
            assert_eq!(found(&[field]), Err(Denial::NoToken), "{field}");
        }
    }

    #[test]
    fn what_cannot_be_a_token() {
        for field in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \"a\"",
            "Bearer a, Bearer b",
            "Bearer \u{e9}",
            "Bearer a\tb",
            "Bearer\ta",
        ] {
            let denied = found(&[field]);
            // A tab is no space: the scheme is another.
            let expected = match field {
                "Bearer\ta" => Denial::NoToken,
                _ => Denial::Malformed("what follows Bearer is no token"),
            };
            assert_eq!(denied, Err(expected), "{field:?}");
        }
        assert_eq!(
            found(&["Bearer a", "Bearer a"]),
            Err(Denial::Malformed(
                "the request has more than one Authorization"
            ))
        );
        assert_eq!(
            found(&[&format!("Bearer {}", "a".repeat(LONGEST + 1))]),
            Err(Denial::invalid("the token is longer than 8192 bytes"))
        );
    }
}
