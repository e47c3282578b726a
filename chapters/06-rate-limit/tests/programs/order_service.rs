//! The app.

use std::process::Command;

use sidecar_testing::http::Server;
use sidecar_testing::{Signal, abuse};

const PROGRAM: &str = env!("CARGO_BIN_EXE_order-service");

fn post(what: &str, fields: &str) -> String {
    let length = what.len();
    format!("POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n{what}")
}

#[test]
fn orders_are_numbered_and_listed() {
    let app = Server::start(PROGRAM, &[("WORK", "1ms")]);
    let mut client = app.connect();
    for (what, fields, order) in [
        ("tea\n", "", "order 1 for somebody: tea"),
        ("salt", "X-User: alice\r\n", "order 2 for alice: salt"),
    ] {
        client.send(post(what, fields));
        let (head, body) = client.message();
        assert_eq!(head.status(), "201 Created");
        assert_eq!(body.trim_end(), order);
        assert_eq!(app.program.line(), order);
    }
    client.send("GET /orders HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, body) = client.message();
    assert_eq!(body, "order 1 for somebody: tea\norder 2 for alice: salt\n");
    assert_eq!(app.program.line(), "a list for somebody");
}

#[test]
fn it_takes_orders_whoever_else_comes() {
    let app = Server::start(PROGRAM, &[("WORK", "1ms")]);
    let slow = "POST /orders HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    let mut number = 0;
    let mut order = || {
        number += 1;
        let (head, body) = app.send(post("tea", "")).message();
        assert_eq!(head.status(), "201 Created");
        assert_eq!(body, format!("order {number} for somebody: tea\n"));
    };
    abuse::connections_come_and_go(&app, &["", "POST /or", slow, "?\r\n\r\n"], &mut order);
    abuse::slow_clients(&app, slow, &mut order);
    abuse::refuses(&app, &post(&"a".repeat(8 << 20), ""));
    order();
}

#[test]
fn old_orders_are_forgotten() {
    let app = Server::start(PROGRAM, &[("WORK", "1ms")]);
    let mut client = app.connect();
    for _ in 0..25 {
        client.send(post("tea", ""));
        client.message();
    }
    client.send("GET /orders HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, body) = client.message();
    let first = body.lines().next().unwrap();
    assert_eq!(
        (body.lines().count(), first),
        (20, "order 6 for somebody: tea")
    );
}

#[test]
fn it_answers_a_probe_while_all_workers_are_busy() {
    let app = Server::start(PROGRAM, &[("WORK", "1h"), ("WORKERS", "1")]);
    let _busy = app.send("GET /orders HTTP/1.1\r\nHost: a\r\n\r\n");
    let listen = app.address.to_string();
    let mut probe = Command::new(PROGRAM);
    let probed = probe.arg("probe").env("LISTEN", &listen).output().unwrap();
    assert!(probed.status.success(), "{probed:?}");

    drop(app);
    let refused = probe.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stdout).unwrap();
    assert!(
        said.starts_with("/ready does not answer: Connection refused"),
        "{said}"
    );
}

#[test]
fn it_ends_when_told_and_answers_what_it_has_begun() {
    let app = Server::start(PROGRAM, &[("WORK", "1ms")]);
    let mut client = app.connect();
    client.send(
        "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    // It says this when it reads the body: the request has begun.
    assert_eq!(client.head().status(), "100 Continue");
    app.program.signal(Signal::TERM);
    client.send("tea");
    assert_eq!(client.message().1, "order 1 for somebody: tea\n");
    let (status, _) = app.program.ended();
    assert!(status.success());
}
