//! The keys of the issuer: that change, and that are not to be had.

use std::thread;
use std::time::Duration;

use serde_json::json;
use sidecar_testing::eventually;
use sidecar_testing::http::{Connection, Upstream};

use crate::kit::{
    App, Key, KeyServer, ask, bearing, get, invalid, key_set, ok, sidecar, status, with,
};

/// Asks again each time.
const EAGER: (&str, &str) = ("PAUSE", "1us");
/// Never asks a second time.
const LAZY: (&str, &str) = ("PAUSE", "1h");

#[test]
fn a_new_key_is_good_at_once_and_one_that_is_gone_is_not() {
    let [first, second, third] = ["first", "second", "third"].map(Key::new);
    let (keys, app) = (KeyServer::of(&first), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[EAGER]);
    let old = first.token_for("alice");
    assert_eq!(status(&sidecar, &old), "200 OK");
    assert_eq!(
        status(&sidecar, &second.token_for("alice")),
        "401 Unauthorized"
    );

    keys.publish(&[&second, &first]);
    assert_eq!(status(&sidecar, &second.token_for("alice")), "200 OK");
    assert_eq!(status(&sidecar, &old), "200 OK");

    // The first key is gone. What it has verified is remembered no longer.
    keys.publish(&[&third, &second]);
    assert_eq!(status(&sidecar, &third.token_for("alice")), "200 OK");
    assert_eq!(status(&sidecar, &second.token_for("alice")), "200 OK");
    assert_eq!(status(&sidecar, &old), "401 Unauthorized");
    assert_eq!(sidecar.program.end().0.code(), Some(0));
}

#[test]
fn keys_are_looked_for_without_being_asked_for() {
    let (key, other) = (Key::new("one"), Key::new("one"));
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[LAZY, ("INTERVAL", "10ms")]);
    let token = key.token_for("alice");
    assert_eq!(status(&sidecar, &token), "200 OK");
    // Another key of the same name.
    keys.publish(&[&other]);
    eventually("the old key is gone", || {
        (status(&sidecar, &token) == "401 Unauthorized").then_some(())
    });
    assert_eq!(status(&sidecar, &other.token_for("alice")), "200 OK");
}

#[test]
fn keys_that_are_the_same_as_before_change_nothing() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[LAZY, ("INTERVAL", "1ms")]);
    eventually("the keys are fetched often", || {
        (keys.asked() > 20).then_some(())
    });
    assert_eq!(status(&sidecar, &key.token_for("alice")), "200 OK");
    let (_, printed) = sidecar.program.end();
    assert_eq!(printed, ["keys of the issuer: 1"]);
}

#[test]
fn tokens_with_forged_keys_do_not_become_requests_to_the_key_server() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[LAZY]);
    assert_eq!(sidecar.program.line(), "keys of the issuer: 1");
    let mut client = sidecar.connect();
    for _ in 0..500 {
        let forged = Key::new("forged").token_for("boss");
        let (head, _) = ask(&mut client, &forged);
        let challenge = invalid("the issuer has no such key");
        assert_eq!(head.get("www-authenticate"), Some(&*challenge));
    }
    assert_eq!(keys.asked(), 1);
    assert_eq!(app.asked(), 0);
}

/// The next look for keys, and its answer.
fn looks(keys: &Upstream) -> Connection {
    let mut look = keys.accept();
    assert_eq!(look.head().start, "GET /jwks HTTP/1.1");
    look
}

#[test]
fn all_who_wait_for_a_key_wait_for_one_request() {
    let (key, keys, app) = (Key::new("one"), Upstream::new(), App::new());
    let url = format!("{}/jwks", keys.url());
    let sidecar = sidecar(&url, &app.url, &[LAZY]);
    let token = key.token_for("alice");
    let mut look = looks(&keys);
    let mut clients: Vec<Connection> = (0..40)
        .map(|_| sidecar.send(get(&bearing(&token))))
        .collect();
    // One who comes after them is refused at once, so they have all been read.
    assert_eq!(status(&sidecar, "x"), "401 Unauthorized");
    look.send(ok(&key_set(&[key.public()])));
    for client in &mut clients {
        assert_eq!(client.message().0.status(), "200 OK");
    }
    keys.has_no_further_connection();
}

#[test]
fn requests_that_wait_for_a_key_leave_room_for_others() {
    let (key, keys, app) = (Key::new("one"), Upstream::new(), App::new());
    let url = format!("{}/jwks", keys.url());
    let sidecar = sidecar(&url, &app.url, &[EAGER]);
    looks(&keys).send(ok(&key_set(&[key.public()])));
    assert_eq!(sidecar.program.line(), "keys of the issuer: 1");

    // The key server hangs from here on, and someone sends more tokens with forged keys than
    // there are connections.
    let forged = bearing(&Key::new("forged").token_for("boss"));
    let clients: Vec<Connection> = (0..350).map(|_| sidecar.send(get(&forged))).collect();
    let look = looks(&keys);
    let too_many = "503 Service Unavailable: too many requests wait for the issuer's keys";
    for _ in 0..300 {
        assert_eq!(sidecar.program.line(), too_many);
    }
    assert_eq!(status(&sidecar, &key.token_for("alice")), "200 OK");
    drop((clients, look));
}

#[test]
fn a_key_server_that_is_down_takes_nothing_away() {
    let [first, second] = ["first", "second"].map(Key::new);
    let (keys, app) = (KeyServer::of(&first), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[EAGER]);
    let known = first.token_for("alice");
    assert_eq!(status(&sidecar, &known), "200 OK");

    // It hangs up on each request.
    keys.answer("");
    let (head, body) = ask(&mut sidecar.connect(), &second.token_for("alice"));
    assert_eq!(head.status(), "503 Service Unavailable");
    assert_eq!(head.get("retry-after"), Some("1"));
    assert_eq!(head.get("www-authenticate"), None);
    assert_eq!(
        body,
        "no keys from the issuer: connection closed before message completed\n"
    );
    // One that was verified, and one that is new.
    assert_eq!(status(&sidecar, &known), "200 OK");
    assert_eq!(status(&sidecar, &first.token_for("bob")), "200 OK");
    assert_eq!(app.asked(), 3);

    keys.publish(&[&second, &first]);
    assert_eq!(status(&sidecar, &second.token_for("alice")), "200 OK");
}

#[test]
fn a_key_server_that_was_never_there_lets_nobody_in() {
    let (key, app) = (Key::new("one"), App::new());
    let sidecar = sidecar("http://127.0.0.1:1/jwks", &app.url, &[("PAUSE", "90s")]);
    let (head, body) = ask(&mut sidecar.connect(), &key.token_for("alice"));
    assert_eq!(head.status(), "503 Service Unavailable");
    assert_eq!(head.get("retry-after"), Some("90"));
    assert!(
        body.starts_with("no keys from the issuer: Connection refused"),
        "{body}"
    );
    // What no key could make good is refused as such.
    assert_eq!(status(&sidecar, "a.b.c"), "401 Unauthorized");
    assert_eq!(sidecar.send(get("")).head().status(), "401 Unauthorized");
    assert_eq!(app.asked(), 0);
}

#[test]
fn what_is_no_key_set_changes_nothing() {
    let [first, second] = ["first", "second"].map(Key::new);
    let elsewhere = KeyServer::of(&second);
    let both = key_set(&[second.public(), first.public()]);
    let moved = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        elsewhere.url
    );
    let (keys, app) = (KeyServer::of(&first), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[EAGER]);
    let mut client = sidecar.connect();
    let (known, unknown) = (first.token_for("alice"), second.token_for("alice"));
    assert_eq!(ask(&mut client, &known).0.status(), "200 OK");
    for (answer, why) in [
        (moved, "the answer is 302 Found"),
        (
            format!(
                "HTTP/1.1 500 Oh\r\nContent-Length: {}\r\n\r\n{both}",
                both.len()
            ),
            "the answer is 500 Internal Server Error",
        ),
        (ok("<html>Sign in</html>"), "the answer is no key set"),
        (ok(""), "the answer is no key set"),
        (ok("[]"), "the answer is no key set"),
        (ok("{}"), "the answer is no key set"),
        (ok(r#"{"keys":[7]}"#), "the answer is no key set"),
        (ok(&"[".repeat(60_000)), "the answer is no key set"),
        (ok(r#"{"keys":[]}"#), "none of its keys is for EdDSA"),
        (ok(&format!("{both}x")), "the answer is no key set"),
        // Long ones, with their length and without.
        (
            ok(&format!("{both}{}", " ".repeat(70_000))),
            "the answer is longer than 65536 bytes",
        ),
        (
            format!("HTTP/1.1 200 OK\r\n\r\n{both}{}", " ".repeat(10_000_000)),
            "the answer is longer than 65536 bytes",
        ),
        // Half of one.
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{both}"),
            "end of file before message length reached",
        ),
        (
            "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            "invalid HTTP version parsed",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(1_000_000)),
            "message head is too large",
        ),
    ] {
        keys.answer(&answer);
        let (head, body) = ask(&mut client, &unknown);
        assert_eq!(head.status(), "503 Service Unavailable", "{why}");
        assert_eq!(body, format!("no keys from the issuer: {why}\n"));
        assert_eq!(ask(&mut client, &known).0.status(), "200 OK", "{why}");
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[test]
fn a_key_server_that_hangs_or_trickles_is_not_waited_for() {
    let [first, second] = ["first", "second"].map(Key::new);
    let (keys, app) = (Upstream::new(), App::new());
    let url = format!("{}/jwks", keys.url());
    let sidecar = sidecar(&url, &app.url, &[EAGER, ("JWKS_TIMEOUT", "2s")]);
    looks(&keys).send(ok(&key_set(&[first.public()])));
    assert_eq!(sidecar.program.line(), "keys of the issuer: 1");

    let mut hanging = sidecar.send(get(&bearing(&second.token_for("alice"))));
    let mut look = looks(&keys);
    let (head, body) = hanging.message();
    assert_eq!(head.status(), "503 Service Unavailable");
    assert_eq!(body, "no keys from the issuer: operation timed out\n");
    look.is_closed_by_the_other_end();

    let mut waiting = sidecar.send(get(&bearing(&second.token_for("alice"))));
    let mut look = looks(&keys);
    let trickle = thread::spawn(move || {
        for byte in ok(&key_set(&[json!({})])).repeat(1000).bytes() {
            if look.try_send([byte]).is_err() {
                return;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        panic!("it was listened to until the end");
    });
    // Meanwhile, others are served.
    assert_eq!(status(&sidecar, &first.token_for("alice")), "200 OK");
    assert_eq!(waiting.message().0.status(), "503 Service Unavailable");
    trickle.join().unwrap();
}

#[test]
fn a_client_that_leaves_leaves_the_others_what_it_asked_for() {
    let (key, keys, app) = (Key::new("one"), Upstream::new(), App::new());
    let url = format!("{}/jwks", keys.url());
    let sidecar = sidecar(&url, &app.url, &[LAZY]);
    let token = key.token_for("alice");
    let mut look = looks(&keys);
    let leaving = sidecar.send(get(&bearing(&token)));
    assert_eq!(status(&sidecar, "x"), "401 Unauthorized");
    let mut staying = sidecar.send(get(&bearing(&token)));
    drop(leaving);
    look.send(ok(&key_set(&[key.public()])));
    assert_eq!(staying.message().0.status(), "200 OK");
    keys.has_no_further_connection();
}

#[test]
fn what_was_verified_once_is_not_good_for_ever() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[LAZY, ("LEEWAY", "2s")]);
    let exp = jsonwebtoken::get_current_timestamp() + 2;
    let token = key.token(&with(json!({ "exp": exp })));
    assert_eq!(status(&sidecar, &token), "200 OK");
    eventually("the token expires", || {
        let before = jsonwebtoken::get_current_timestamp();
        let (head, body) = ask(&mut sidecar.connect(), &token);
        if head.status() == "200 OK" {
            assert!(before <= exp + 2, "it outlives its end");
            return None;
        }
        assert_eq!(body, "the token has expired\n");
        assert!(
            jsonwebtoken::get_current_timestamp() > exp + 2,
            "it ends too soon"
        );
        Some(())
    });
}
