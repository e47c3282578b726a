//! The client: what it says of the app and the limiter that answer it.

use sidecar_testing::http::Upstream;
use sidecar_testing::{Program, ReservedAddress};

const PROGRAM: &str = env!("CARGO_BIN_EXE_order-client");

fn client(upstream: &str, patience: &str) -> Program {
    let url = format!("{upstream}/orders");
    let settings = [
        ("UPSTREAM", &*url),
        ("INTERVAL", "1ms"),
        ("PATIENCE", patience),
    ];
    Program::start(PROGRAM, &settings)
}

/// Answers the next call, and hangs up.
fn answer(upstream: &Upstream, status: &str, fields: &str, body: &str) {
    let mut call = upstream.accept();
    let head = call.head();
    assert_eq!(head.start, "POST /orders HTTP/1.1");
    assert_eq!(call.try_body(&head).unwrap(), "tea");
    let length = body.len();
    call.send(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{fields}\r\n{body}"
    ));
}

fn order(upstream: &Upstream, number: u64, fields: &str) {
    let body = format!("order {number} for somebody: tea\n");
    answer(upstream, "201 Created", fields, &body);
}

const TOLD: &str = "RateLimit-Policy: \"orders\";q=3;w=60\r\n";

#[test]
fn it_tells_an_upgrade_of_the_limiter_from_a_restart_of_the_app() {
    let upstream = Upstream::new();
    let client = client(&upstream.url(), "1h");
    for number in 1..=3 {
        order(&upstream, number, "");
    }
    assert_eq!(client.line(), "the limiter does not tell its limits");
    assert_eq!(client.line(), "the app counts from 1");
    order(&upstream, 4, TOLD);
    assert_eq!(
        client.line(),
        "the limiter tells its limits: \"orders\";q=3;w=60"
    );
    assert_eq!(client.line(), "the app counts on");
    order(&upstream, 1, "");
    assert_eq!(client.line(), "the limiter does not tell its limits");
    assert_eq!(client.line(), "the app counts from 1");
    // The limiter is the same, and the app is not.
    order(&upstream, 2, "");
    order(&upstream, 1, "");
    assert_eq!(client.line(), "the app counts 1 after 2");
}

#[test]
fn an_order_that_was_placed_though_its_call_failed_is_told() {
    let upstream = Upstream::new();
    let client = client(&upstream.url(), "1h");
    order(&upstream, 1, "");
    client.wait_for("the app counts from 1");
    // This one is taken, and never answered.
    drop(upstream.accept());
    assert!(client.line().starts_with("calls fail: "));
    order(&upstream, 3, "");
    assert_eq!(client.line(), "calls are answered again; 1 failed");
    assert_eq!(client.line(), "the app counts 3 after 1");
}

#[test]
fn failures_are_counted_and_named() {
    let upstream = Upstream::new();
    let client = client(&upstream.url(), "1h");
    // Nobody counts what fails before the first answer.
    answer(&upstream, "502 Bad Gateway", "", "no");
    order(&upstream, 1, "");
    client.wait_for("the app counts from 1");
    answer(&upstream, "429 Too Many Requests", "", "no");
    answer(&upstream, "429 Too Many Requests", "", "no");
    answer(&upstream, "503 Service Unavailable", "", "no");
    order(&upstream, 2, "");
    assert_eq!(client.line(), "calls fail: 429 Too Many Requests");
    assert_eq!(client.line(), "calls are answered again; 3 failed");
    // The client waits for this answer when it is told to end.
    let _call = upstream.accept();
    let (status, printed) = client.end();
    assert!(status.success());
    assert_eq!(
        printed,
        ["5 calls, 3 failed: 2 429 Too Many Requests, 1 503 Service Unavailable"]
    );
}

#[test]
fn it_gives_up_when_calls_fail_for_too_long() {
    let nobody = ReservedAddress::new();
    let client = client(&format!("http://{}", nobody.address), "50ms");
    let (status, printed) = client.ended();
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        printed,
        [
            "calls have failed for longer than 50ms",
            "0 calls, 0 failed"
        ]
    );
}
