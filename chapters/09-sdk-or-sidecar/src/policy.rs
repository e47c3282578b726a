//! How a limiter tells its limits.

use http::{HeaderName, HeaderValue};
use rate_limit::Limiter;

/// The field in which an answer tells of limits.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

// ANCHOR: policy
/// What the answer to a request for `path` tells of the limit: as `"/orders";q=3;w=180`, if three
/// requests may come at once, and three tokens take as many minutes to come ([RateLimit header
/// fields for HTTP](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/), a
/// draft).
pub fn policy(limiter: &Limiter, path: &str) -> Option<HeaderValue> {
    let limit = limiter.limit(path)?;
    let window = limit.rate.period() * limit.burst.get();
    // In whole seconds, of which there is at least one.
    let window = window.as_secs_f64().ceil().max(1.0);
    // A name is a string between quotes (RFC 9651, section 3.3.3).
    let name = limit.path.replace('\\', "\\\\").replace('"', "\\\"");
    let policy = format!("\"{name}\";q={};w={window}", limit.burst);
    // A path that no header field can have is told by none.
    HeaderValue::from_str(&policy).ok()
}
// ANCHOR_END: policy

#[cfg(test)]
mod tests {
    use rate_limit::Limits;

    use super::*;

    fn told(limits: &str, path: &str) -> Option<String> {
        let limiter = Limiter::new(Limits::parse(limits).expect("limits"));
        let policy = policy(&limiter, path)?;
        Some(policy.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn the_limit_of_the_path_is_told() {
        let limits = "[[limit]]\npath = '/orders'\nrate = '1/min'\nburst = 3\n\
                      [[limit]]\npath = '/orders/\"a\"'\nrate = '1000/s'\nburst = 5";
        let policy = |path| told(limits, path);
        assert_eq!(policy("/orders").as_deref(), Some("\"/orders\";q=3;w=180"));
        assert_eq!(
            policy("/orders/7").as_deref(),
            Some("\"/orders\";q=3;w=180")
        );
        assert_eq!(
            policy("/orders/\"a\"").as_deref(),
            Some("\"/orders/\\\"a\\\"\";q=5;w=1")
        );
        assert_eq!(policy("/ready"), None);
    }
}
