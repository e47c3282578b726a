//! Clients that mean no good, and an app that fails behind the sidecar.

use sidecar_testing::abuse;
use sidecar_testing::http::Upstream;

use crate::kit::{App, Key, KeyServer, ask, bearing, get, sidecar, status};

#[test]
fn thousands_of_connections_that_are_opened_and_dropped() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[]);
    let token = key.token_for("alice");
    let request = get(&bearing(&token));
    abuse::connections_come_and_go(&sidecar, &["", &request[..60], &request], || {
        assert_eq!(status(&sidecar, &token), "200 OK");
    });
}

#[test]
fn slow_clients_do_not_keep_others_waiting() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[("HEAD_TIMEOUT", "1s")]);
    let token = key.token_for("alice");
    // Each is in the middle of its token.
    let half = &get(&bearing(&token))[..100];
    abuse::slow_clients(&sidecar, half, || {
        assert_eq!(status(&sidecar, &token), "200 OK");
    });
    let asked = app.asked();
    abuse::too_many_slow_clients(&sidecar, half, || {
        assert_eq!(status(&sidecar, &token), "200 OK");
    });
    assert_eq!(app.asked(), asked + 1);
}

#[test]
fn heads_that_are_too_long_and_requests_that_are_none() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[]);
    let token = bearing(&key.token_for("alice"));
    abuse::what_is_no_request(&sidecar, "/orders", &token);
    for request in [
        get(&bearing(&"a".repeat(100_000))),
        get("Authorization: Bearer \0\r\n"),
        get("Authorization: Bearer a\nX-User: boss\r\n"),
        format!("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n{token}\r\n"),
        format!("TRACE /orders HTTP/1.1\r\nHost: a\r\n{token}\r\n"),
    ] {
        abuse::refuses(&sidecar, &request);
    }
    assert_eq!(app.asked(), 0);
    assert_eq!(status(&sidecar, &key.token_for("alice")), "200 OK");
}

#[test]
fn an_app_that_hangs_up_hangs_or_trickles() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), Upstream::new());
    let patient = sidecar(&keys.url, &app.url(), &[]);
    let sidecar = sidecar(&keys.url, &app.url(), &[("TIMEOUT", "300ms")]);
    let token = bearing(&key.token_for("alice"));

    let mut client = patient.send(get(&token));
    drop(app.accept());
    assert_eq!(client.message().0.status(), "502 Bad Gateway");

    let mut client = sidecar.send(get(&token));
    let hanging = app.accept();
    // Whoever has no token does not wait for the app.
    assert_eq!(
        sidecar.send(get("")).message().0.status(),
        "401 Unauthorized"
    );
    assert_eq!(client.message().0.status(), "504 Gateway Timeout");
    drop(hanging);

    let mut client = patient.send(get(&token));
    let mut trickling = app.accept();
    trickling.head();
    trickling.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status(), "200 OK");
    for byte in ["a", "b", "c"] {
        trickling.send(format!("1\r\n{byte}\r\n"));
        assert_eq!(client.chunk().unwrap(), byte.as_bytes());
    }
    drop(trickling);
    client
        .chunk()
        .expect_err("half an answer looks like a whole one");
}

#[test]
fn an_upload_without_a_token_does_not_reach_the_app() {
    let key = Key::new("one");
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[]);
    let mut client =
        sidecar.send("POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.send([b'a'; 100_000]);
    assert_eq!(client.message().0.status(), "401 Unauthorized");
    assert_eq!(
        ask(&mut client, &key.token_for("alice")).0.status(),
        "200 OK"
    );
    assert_eq!(app.asked(), 1);
}
