//! `output-workload`: the app, which goes on whatever it gets.

use sidecar_testing::{Program, ReservedAddress};

use crate::sidecar::Sidecar;
use sidecar_testing::http::Upstream;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_output-workload");

#[test]
fn prints_what_the_sidecar_answers() {
    let sidecar = Sidecar::start(&[]);
    drop(sidecar.connect());
    // By the name that all containers of a pod have for one another.
    let url = format!("http://localhost:{}/hello", sidecar.address.port());
    let app = Program::start(WORKLOAD, &[("UPSTREAM", &url), ("INTERVAL", "10ms")]);

    for _ in 0..2 {
        assert_eq!(app.line(), "200 OK");
        assert_eq!(app.line(), "content-length: 27");
        assert_eq!(app.line(), "content-type: text/html; charset=UTF-8");
        assert_eq!(app.line(), "<h1>Say hello to hyper</h1>");
    }
}

#[test]
fn says_that_the_sidecar_is_not_there_and_goes_on() {
    let reserved = ReservedAddress::new();
    let listen = reserved.address.to_string();
    let url = format!("http://localhost:{}/hello", reserved.address.port());
    let app = Program::start(WORKLOAD, &[("UPSTREAM", &url), ("INTERVAL", "10ms")]);
    assert_eq!(app.line(), "trouble: Connection refused (os error 111)");

    let _sidecar = Program::start(env!("CARGO_BIN_EXE_sidecar-output"), &[("LISTEN", &listen)]);
    let trouble = app.wait_for("200 OK");
    assert!(
        trouble
            .iter()
            .all(|line| line == "trouble: Connection refused (os error 111)")
    );
}

#[test]
fn told_to_end_in_the_middle_of_a_call_it_leaves_at_once() {
    let upstream = Upstream::new();
    let app = Program::start(WORKLOAD, &[("UPSTREAM", &upstream.url())]);
    let mut connection = upstream.accept();
    connection.head();

    let (status, printed) = app.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
}

#[test]
fn an_answer_that_is_none_is_one_line() {
    let upstream = Upstream::new();
    let app = Program::start(
        WORKLOAD,
        &[("UPSTREAM", &upstream.url()), ("INTERVAL", "10ms")],
    );
    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 503 Later\r\nContent-Length: 10\r\n\r\nnot today\n");
    assert_eq!(app.line(), "trouble: 503 Service Unavailable: not today");

    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    drop(connection);
    assert_eq!(app.line(), "200 OK");
    assert_eq!(app.line(), "content-length: 10");
    assert_eq!(
        app.line(),
        "trouble: end of file before message length reached"
    );
}
