//! Clients that mean harm or are many, and neighbours that fail: each program goes on serving others.

mod discovery;
mod registrar;
mod registry;

use sidecar_testing::http::Upstream;

/// Plays a neighbour that sends these bytes and hangs up, whatever it is asked. Whoever asks may hang
/// up first.
fn answer(neighbour: &Upstream, bytes: impl AsRef<[u8]>) -> String {
    let mut connection = neighbour.accept();
    let head = connection.head();
    let _ = connection.try_send(bytes);
    head.start
}

/// An answer with this body.
fn ok(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

/// Answers with a body that does not end, until nobody reads on.
fn answer_without_end(neighbour: &Upstream, line: &str) {
    let mut connection = neighbour.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nETag: \"endless\"\r\n\r\n");
    let lines = line.repeat(1000);
    let taken = (0..10_000).take_while(|_| connection.try_send(&lines).is_ok());
    assert!(taken.count() < 10_000, "all of it is read");
}

/// What is no answer, or only the beginning of one.
const NO_ANSWERS: [&str; 5] = [
    "",
    "HTTP/1.1 200",
    "SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n",
];
