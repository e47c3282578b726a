//! `sidecar-output-naive`: fails as the chapter says.

use std::net::TcpStream;

use sidecar_testing::{Program, ReservedAddress, eventually};

const NAIVE: &str = env!("CARGO_BIN_EXE_sidecar-output-naive");
const WORKLOAD: &str = env!("CARGO_BIN_EXE_output-workload");

/// An app that calls `path` through the naive sidecar.
fn app(path: &str, upstream: &str) -> (Program, Program) {
    let reserved = ReservedAddress::new();
    let listen = reserved.address.to_string();
    let sidecar = Program::start(NAIVE, &[("LISTEN", &listen), ("UPSTREAM", upstream)]);
    let url = format!("http://{listen}{path}");
    (
        Program::start(WORKLOAD, &[("UPSTREAM", &url), ("INTERVAL", "10ms")]),
        sidecar,
    )
}

/// What the app printed, but for calls that it made before the sidecar listened.
fn answered(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| !is_early(line));
    lines
}

fn is_early(line: &str) -> bool {
    line == "trouble: Connection refused (os error 111)"
}

#[test]
fn answers_hello() {
    let (app, _sidecar) = app("/hello", "");
    assert_eq!(
        answered(app.wait_for("<h1>Say hello to hyper</h1>")),
        [
            "200 OK",
            "content-length: 27",
            "content-type: text/html; charset=UTF-8"
        ]
    );
}

#[test]
fn cuts_an_answer_that_is_longer_than_its_buffer() {
    let reserved = ReservedAddress::new();
    let listen = reserved.address.to_string();
    let _upstream = Program::start(
        env!("CARGO_BIN_EXE_output-upstream"),
        &[("LISTEN", &listen)],
    );
    eventually("the upstream listens", || {
        TcpStream::connect(reserved.address).ok()
    });
    let (app, _sidecar) = app("/text", &format!("http://{listen}"));

    assert_eq!(
        answered(app.wait_for("trouble: end of file before message length reached")),
        [
            "200 OK",
            "content-length: 672",
            "content-type: text/plain; charset=utf-8"
        ]
    );
}

#[test]
fn says_nothing_when_the_upstream_is_down() {
    let (app, sidecar) = app("/text", "http://127.0.0.1:1");
    let first = std::iter::repeat_with(|| app.line()).find(|line| !is_early(line));
    assert_eq!(
        first.as_deref(),
        Some("trouble: connection closed before message completed")
    );
    sidecar.wait_for("trouble: Connection refused (os error 111)");
}
