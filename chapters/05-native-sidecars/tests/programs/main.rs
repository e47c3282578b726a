//! What the programs of chapter 5 promise, tested from outside, without any engine.

mod collector;
mod customer;
mod shop;
mod stocktaking;

use sidecar_testing::http::Server;

/// A collector that listens.
fn collector() -> Server {
    let server = Server::start(env!("CARGO_BIN_EXE_log-collector"), &[]);
    assert_eq!(ask(&server, "GET", "/ready", ""), "200 OK: ready");
    server
}

/// Sends a request when the program listens: the answer's status and its body.
fn ask(server: &Server, method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let (head, body) = server
        .send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .message();
    format!("{}: {body}", head.status())
}
