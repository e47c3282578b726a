//! The issuer.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use sidecar_testing::abuse;
use sidecar_testing::http::Server;

use crate::kit::{App, sidecar};

const PROGRAM: &str = env!("CARGO_BIN_EXE_issuer");

fn ask(issuer: &Server, request: &str) -> (String, String) {
    let mut client = issuer.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let (head, body) = client.message();
    (head.status().to_owned(), body)
}

fn keys(issuer: &Server) -> JwkSet {
    serde_json::from_str(&ask(issuer, "GET /jwks").1).unwrap()
}

#[test]
fn a_token_says_what_was_wished_for() {
    let issuer = Server::start(PROGRAM, &[("ISSUER", "https://issuer.example")]);
    let (status, token) = ask(
        &issuer,
        "GET /token?sub=alice&scope=orders:read%20orders:write&aud=shop&lifetime=60",
    );
    assert_eq!(status, "200 OK");
    let token = token.trim_end();
    let kid = decode_header(token).unwrap().kid.unwrap();
    let keys = keys(&issuer);
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["https://issuer.example"]);
    validation.set_audience(&["shop"]);
    let claims = decode::<Value>(token, &key, &validation).unwrap().claims;
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["scope"], "orders:read orders:write");
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lifetime, 60);
    // The private key is nobody's business.
    assert!(!ask(&issuer, "GET /jwks").1.contains("\"d\""));
}

#[test]
fn it_gives_its_keys_whoever_else_comes() {
    let issuer = Server::start(PROGRAM, &[]);
    let slow = "GET /jwks HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    let give = || assert_eq!(keys(&issuer).keys.len(), 1);
    abuse::connections_come_and_go(&issuer, &["", "GET /jw", slow, "?\r\n\r\n"], give);
    abuse::slow_clients(&issuer, slow, give);
    let long = "a".repeat(200_000);
    let wish = format!("GET /token?sub={long} HTTP/1.1\r\nHost: a\r\n\r\n");
    abuse::refuses(&issuer, &wish);
    give();
}

#[test]
fn a_wish_without_a_name_is_400() {
    let issuer = Server::start(PROGRAM, &[]);
    assert_eq!(ask(&issuer, "GET /token").0, "400 Bad Request");
    assert_eq!(
        ask(&issuer, "GET /token?sub=a&lifetime=long").0,
        "400 Bad Request"
    );
    assert_eq!(ask(&issuer, "GET /rotate").0, "405 Method Not Allowed");
}

#[test]
fn a_rotation_keeps_the_key_before_and_no_other() {
    let issuer = Server::start(PROGRAM, &[]);
    let kid = |index: usize| keys(&issuer).keys[index].common.key_id.clone();
    let first = kid(0);
    assert_eq!(keys(&issuer).keys.len(), 1);
    assert_eq!(ask(&issuer, "POST /rotate").0, "200 OK");
    let second = kid(0);
    assert_ne!(second, first);
    assert_eq!(kid(1), first);
    ask(&issuer, "POST /rotate");
    assert_eq!(kid(1), second);
    assert_eq!(keys(&issuer).keys.len(), 2);
    // Another one has other keys, under other names.
    let other = Server::start(PROGRAM, &[]);
    assert!(!keys(&issuer).keys.contains(&keys(&other).keys[0]));
}

#[test]
fn the_sidecar_believes_it_and_no_other() {
    let settings = [("ISSUER", "https://issuer.example")];
    let [issuer, other] = [0; 2].map(|_| Server::start(PROGRAM, &settings));
    let app = App::new();
    let sidecar = sidecar(
        &format!("{}/jwks", issuer.url()),
        &app.url,
        &[("PAUSE", "1us")],
    );
    drop(issuer.connect());
    for (issuer, expected) in [(&issuer, "200 OK"), (&other, "401 Unauthorized")] {
        let (_, token) = ask(issuer, "GET /token?sub=alice&scope=orders:read");
        assert_eq!(crate::kit::status(&sidecar, token.trim_end()), expected);
    }
}
