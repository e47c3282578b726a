//! What a token must be good for.

use hyper::Method;
use sidecar_kit::Setting;

use crate::denial::Denial;

// ANCHOR: scopes
/// The scope that each request needs. What is not listed is refused, so that a path which is
/// written in an unforeseen way (`//orders`, `/%6frders`) opens nothing.
pub struct Scopes(Vec<Rule>);

struct Rule {
    method: Method,
    path: String,
    scope: String,
}

impl Scopes {
    /// Refuses a request that the scopes of its token are not enough for.
    ///
    /// # Errors
    ///
    /// If the token lacks the scope, or nobody may ask this.
    pub fn allow(&self, method: &Method, path: &str, granted: &str) -> Result<(), Denial> {
        let mut rules = self.0.iter();
        let rule = rules
            .find(|rule| rule.method == method && rule.path == path)
            .ok_or(Denial::Unknown)?;
        // The scopes of a token are one string with spaces (RFC 8693, section 4.2).
        if granted.split(' ').any(|scope| scope == rule.scope) {
            Ok(())
        } else {
            Err(Denial::LacksScope(rule.scope.clone()))
        }
    }
}
// ANCHOR_END: scopes

/// A rule a line: method, path, scope.
impl Setting for Scopes {
    const EXAMPLE: &'static str = "\"GET /orders orders:read\", a line for each method and path,";

    fn parse(value: &str) -> Result<Self, String> {
        let rules: Vec<Rule> = value
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(rule)
            .collect::<Result<_, _>>()?;
        if rules.is_empty() {
            return Err("it lets nobody in".to_owned());
        }
        Ok(Self(rules))
    }
}

fn rule(line: &str) -> Result<Rule, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [method, path, scope] = words[..] else {
        return Err(format!("{line:?} is not a method, a path and a scope"));
    };
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(format!("{path:?} is no path"));
    }
    // RFC 6749, section 3.3.
    if !scope
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    {
        return Err(format!("{scope:?} is no scope"));
    }
    let method = Method::from_bytes(method.as_bytes());
    let method = method.map_err(|error| format!("{:?}: {error}", words[0]))?;
    if method
        .as_str()
        .bytes()
        .any(|byte| byte.is_ascii_lowercase())
    {
        return Err(format!(
            "{method} is no method: methods have capital letters"
        ));
    }
    Ok(Rule {
        method,
        path: path.to_owned(),
        scope: scope.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPES: &str = "GET /orders orders:read\n\n  POST   /orders orders:write\n";

    #[test]
    fn each_method_and_path_has_its_scope() {
        let scopes = Scopes::parse(SCOPES).unwrap();
        let lacks = |scope: &str| Err(Denial::LacksScope(scope.to_owned()));
        for (method, path, granted, allowed) in [
            (Method::GET, "/orders", "orders:read", Ok(())),
            (Method::GET, "/orders", "a orders:read b", Ok(())),
            (Method::POST, "/orders", "orders:write", Ok(())),
            (
                Method::POST,
                "/orders",
                "orders:read",
                lacks("orders:write"),
            ),
            (Method::GET, "/orders", "", lacks("orders:read")),
            (
                Method::GET,
                "/orders",
                "orders:reader",
                lacks("orders:read"),
            ),
            (Method::GET, "/orders", "orders:rea", lacks("orders:read")),
            (Method::GET, "/orders", "ORDERS:READ", lacks("orders:read")),
            (
                Method::GET,
                "/orders",
                "orders:read,x",
                lacks("orders:read"),
            ),
            (
                Method::DELETE,
                "/orders",
                "orders:write",
                Err(Denial::Unknown),
            ),
            (Method::HEAD, "/orders", "orders:read", Err(Denial::Unknown)),
        ] {
            assert_eq!(
                scopes.allow(&method, path, granted),
                allowed,
                "{method} {granted:?}"
            );
        }
    }

    #[test]
    fn a_path_in_other_words_opens_nothing() {
        let scopes = Scopes::parse(SCOPES).unwrap();
        for path in [
            "/",
            "/orders/",
            "//orders",
            "/./orders",
            "/x/../orders",
            "/%6frders",
            "/Orders",
            "/orders;x",
            "/orders%00",
            "/ready",
            "*",
            "",
        ] {
            let denied = scopes.allow(&Method::GET, path, "orders:read orders:write");
            assert_eq!(denied, Err(Denial::Unknown), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        for (value, why) in [
            ("", "it lets nobody in"),
            (" \n", "it lets nobody in"),
            (
                "GET /orders",
                "\"GET /orders\" is not a method, a path and a scope",
            ),
            ("GET orders a", "\"orders\" is no path"),
            ("GET /orders?x=1 a", "\"/orders?x=1\" is no path"),
            ("G(T /orders a", "\"G(T\": invalid HTTP method"),
            (
                "get /orders a",
                "get is no method: methods have capital letters",
            ),
            ("GET /orders a\"b", "\"a\\\"b\" is no scope"),
        ] {
            assert_eq!(
                Scopes::parse(value).err().as_deref(),
                Some(why),
                "{value:?}"
            );
        }
    }
}
