//! The naive sidecar, and what it lets through: the reason for the other one.

use serde_json::json;
use sidecar_testing::http::{Server, Upstream};

use crate::kit::{Key, base64, bearing, get, with};

fn before(upstream: &Upstream) -> Server {
    let settings = [("UPSTREAM", &*upstream.url())];
    Server::start(env!("CARGO_BIN_EXE_sidecar-auth-naive"), &settings)
}

#[test]
fn passes_the_tests_of_its_author() {
    let (key, upstream) = (Key::new("one"), Upstream::new());
    let sidecar = before(&upstream);
    for token in [
        "",
        "Authorization: Bearer x\r\n",
        &bearing(&key.token(&with(json!({"exp": 7})))),
    ] {
        assert_eq!(
            sidecar.send(get(token)).message().0.status(),
            "401 Unauthorized"
        );
    }
    upstream.has_no_further_connection();
    let _client = sidecar.send(get(&bearing(&key.token_for("alice"))));
    assert_eq!(upstream.accept().head().get("x-user"), Some("alice"));
}

#[test]
fn believes_what_nobody_has_signed_and_who_says_who_they_are() {
    let (key, upstream) = (Key::new("one"), Upstream::new());
    let sidecar = before(&upstream);
    let claims = base64(with(json!({"sub": "boss"})).to_string());
    let _forger = sidecar.send(get(&bearing(&format!("e30.{claims}."))));
    assert_eq!(upstream.accept().head().get("x-user"), Some("boss"));

    let pretender = format!("{}X-User: boss\r\n", bearing(&key.token_for("alice")));
    let _pretender = sidecar.send(get(&pretender));
    let head = upstream.accept().head();
    let first = head.fields.iter().find(|(name, _)| name == "x-user");
    // The first of the two is the one that an app reads.
    assert_eq!(first.unwrap().1, "boss");
}
