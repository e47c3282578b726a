//! Why a request is not let through, and how its client is told.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use output_interceptor::Refusal;

// ANCHOR: denial
/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It has no bearer token.
    NoToken,
    /// It has something that cannot be one.
    Malformed(&'static str),
    /// Its token is not one to believe, for this reason.
    Invalid(String),
    /// Its token is good, and not for this: it lacks this scope.
    LacksScope(String),
    /// Nobody may ask this, whatever the token.
    Unknown,
    /// Its token may be good: the key server would have to say so, and does not.
    NoKeys {
        /// What is wrong with the key server.
        why: String,
        /// When to ask again.
        retry_after: Duration,
    },
}

impl Denial {
    /// The answer to the client (RFC 6750, section 3).
    ///
    /// # Panics
    ///
    /// If `realm` or a scope cannot stand in a header field.
    #[must_use]
    pub fn refusal(self, realm: &str) -> Refusal {
        let challenge = |status, why: &str, more: String| {
            let challenge =
                HeaderValue::from_maybe_shared(format!("Bearer realm=\"{realm}\"{more}"))
                    .expect("names and reasons are plain text");
            Refusal::new(status, why).with(WWW_AUTHENTICATE, challenge)
        };
        let error = |error, why: &str| format!(", error=\"{error}\", error_description=\"{why}\"");
        match self {
            // Who sent no token did nothing wrong, and is told no error.
            Self::NoToken => challenge(
                StatusCode::UNAUTHORIZED,
                "the request has no token",
                String::new(),
            ),
            Self::Malformed(why) => {
                challenge(StatusCode::BAD_REQUEST, why, error("invalid_request", why))
            }
            Self::Invalid(why) => {
                challenge(StatusCode::UNAUTHORIZED, &why, error("invalid_token", &why))
            }
            Self::LacksScope(scope) => {
                let why = format!("the token lacks the scope {scope}");
                let more = format!(", error=\"insufficient_scope\", scope=\"{scope}\"");
                challenge(StatusCode::FORBIDDEN, &why, more)
            }
            Self::Unknown => Refusal::new(
                StatusCode::FORBIDDEN,
                "SCOPES does not name this method and path",
            ),
            Self::NoKeys { why, retry_after } => {
                let seconds = retry_after.as_secs().max(1);
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why).with(RETRY_AFTER, seconds.into())
            }
        }
    }
    // ANCHOR_END: denial

    /// A token is not one to believe.
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }
}
