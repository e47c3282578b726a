//! `sidecar-output` where it answers itself.

use std::net::TcpListener;
use std::process::Command;

use sidecar_testing::{Program, ReservedAddress};

use crate::sidecar::Sidecar;

#[test]
fn answers_hello() {
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.send("GET /hello HTTP/1.1\r\nHost: localhost:7979\r\n\r\n");

    let (head, body) = client.message();
    assert_eq!(head.status(), "200 OK");
    assert_eq!(head.get("content-type"), Some("text/html; charset=UTF-8"));
    assert_eq!(body, "<h1>Say hello to hyper</h1>");
    assert_eq!(sidecar.program.line(), "receive a request");

    // Over the same connection, and with a query.
    client.send("GET /hello?again HTTP/1.1\r\nHost: localhost:7979\r\n\r\n");
    assert_eq!(client.message().1, "<h1>Say hello to hyper</h1>");
    assert_eq!(sidecar.program.line(), "receive a request");
}

#[test]
fn answers_a_head_request_without_a_body() {
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.send(
        "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    );

    let head = client.head();
    assert_eq!(head.status(), "200 OK");
    assert_eq!(head.get("content-length"), Some("27"));
    assert_eq!(client.head().status(), "200 OK");
}

#[test]
fn answers_hello_where_it_forwards_the_rest() {
    let sidecar = Sidecar::start(&[("UPSTREAM", "http://127.0.0.1:1")]);
    let mut client = sidecar.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().1, "<h1>Say hello to hyper</h1>");
}

#[test]
fn refuses_to_be_posted_to() {
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.send("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");

    let (head, body) = client.message();
    assert_eq!(head.status(), "405 Method Not Allowed");
    assert_eq!(head.get("allow"), Some("GET, HEAD"));
    assert_eq!(body, "/hello takes GET and HEAD\n");
    assert_eq!(
        sidecar.program.line(),
        "405 Method Not Allowed: /hello takes GET and HEAD"
    );
}

#[test]
fn says_that_it_forwards_nothing() {
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.send("GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n");

    let (head, body) = client.message();
    assert_eq!(head.status(), "404 Not Found");
    assert_eq!(head.get("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(
        body,
        "only /hello is answered here; the rest is forwarded where UPSTREAM is set\n"
    );
}

#[test]
fn an_address_that_is_taken_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let sidecar = Program::start(
        env!("CARGO_BIN_EXE_sidecar-output"),
        &[("LISTEN", &address.to_string())],
    );

    let (status, printed) = sidecar.ended();
    assert_eq!(status.code(), Some(1));
    let expected = format!(
        "cannot listen on {address}; set LISTEN to a free address: Address already in use (os error 98)"
    );
    assert_eq!(printed, [expected]);
}

#[test]
fn an_upstream_that_cannot_be_is_one_line() {
    for (upstream, why) in [
        ("https://127.0.0.1", "it does not begin with http://"),
        ("127.0.0.1:9000", "it does not begin with http://"),
        (
            "http://127.0.0.1:9000/api",
            "it goes on after the port; the path of a request is kept",
        ),
        ("http://127.0.0.1:90000", "its port is none"),
        ("http://user@127.0.0.1:9000", "it names a user"),
    ] {
        let sidecar = Program::start(
            env!("CARGO_BIN_EXE_sidecar-output"),
            &[("UPSTREAM", upstream)],
        );
        let (status, printed) = sidecar.ended();
        assert_eq!(status.code(), Some(2));
        let expected = format!(
            "UPSTREAM={upstream:?} cannot be understood ({why}); http://127.0.0.1:9000 would do"
        );
        assert_eq!(printed, [expected]);
    }
}

#[test]
fn asks_itself_for_a_probe() {
    let sidecar = Sidecar::start(&[]);
    // It listens.
    drop(sidecar.connect());
    let probe = |address: &str, argument: &str| {
        let mut probe = Command::new(env!("CARGO_BIN_EXE_sidecar-output"));
        let output = probe.env("LISTEN", address).arg(argument).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let answered = probe(&sidecar.address.to_string(), "probe");
    assert_eq!(answered, (Some(0), String::new()));
    assert_eq!(sidecar.program.line(), "receive a request");

    let nobody = ReservedAddress::new();
    let (code, said) = probe(&nobody.address.to_string(), "probe");
    assert_eq!(code, Some(1));
    assert!(said.starts_with("/hello does not answer: "), "{said}");
    let (code, said) = probe(&nobody.address.to_string(), "prob");
    assert_eq!(code, Some(2));
    assert!(said.starts_with("\"prob\" is no command"), "{said}");
}
