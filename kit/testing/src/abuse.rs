//! Clients that mean harm, or are many. The program goes on serving others: `serve` asks it for
//! something, and fails the test if that is not what is answered.

use crate::eventually;
use crate::http::{Connection, Server};

/// Opens thousands of connections, sends one of these parts of a request over each, and drops it.
/// Nothing of them stays.
pub fn connections_come_and_go(server: &Server, parts: &[&str], mut serve: impl FnMut()) {
    serve();
    let (files, memory) = (server.program.open_files(), server.program.memory());
    // A few at a time: what is open at once takes memory too, and the allocator keeps that.
    for _ in 0..30 {
        for number in 0..100 {
            let mut connection = server.connect();
            let _ = connection.try_send(parts[number % parts.len()]);
        }
        serve();
        eventually("all connections are closed", || {
            // One or two to its upstream may have come since, and are kept.
            (server.program.open_files() <= files + 2).then_some(())
        });
    }
    let after = server.program.memory();
    assert!(after < memory + (4 << 20), "{memory} bytes, then {after}");
}

/// Hundreds of clients send the head of a request byte by byte, after this beginning, and hold up
/// nobody.
pub fn slow_clients(server: &Server, beginning: &str, mut serve: impl FnMut()) {
    let mut slow = Vec::from_iter((0..300).map(|_| server.send(beginning)));
    for _ in 0..100 {
        for client in &mut slow {
            // Its time may be up.
            let _ = client.try_send("a");
        }
        serve();
    }
}

/// More slow clients than can be served at once. They lose their places when their time is up,
/// which is `HEAD_TIMEOUT`: the test sets less than its default.
pub fn too_many_slow_clients(server: &Server, beginning: &str, serve: impl FnOnce()) {
    let mut slow = Vec::from_iter((0..1000).map(|_| server.send(beginning)));
    serve();
    slow.iter_mut()
        .for_each(Connection::is_closed_by_the_other_end);
}

/// Sends what is no request, and what is too long for one. `fields` are those of a good one, each
/// with its end of line.
pub fn what_is_no_request(server: &Server, path: &str, fields: &str) {
    let long = "a".repeat(200_000);
    let get = |more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}{more}\r\n");
    for request in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        // Somebody speaks TLS.
        "\u{16}\u{3}\u{1}".to_owned(),
        format!("GET {path} HTTP/1.1\r\n{fields}\r\n"),
        format!("GET {path} HTTP/2.0\r\nHost: a\r\n{fields}\r\n"),
        format!("GET {path}/{long} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
        get("Host: b\r\n"),
        get("X: \0\r\n"),
        get("Content-Length: -1\r\n"),
        get("Content-Length: 1\r\nContent-Length: 2\r\n"),
        get(&"X: 1\r\n".repeat(200)),
        get(&format!("X: {long}\r\n")),
    ] {
        refuses(server, &request);
    }
}

/// Sends a request that is refused by the program itself: with an answer, or by hanging up.
pub fn refuses(server: &Server, request: &str) {
    let mut client = server.connect();
    // It may hang up in the middle.
    let _ = client.try_send(request);
    if let Ok(head) = client.try_head() {
        let status = head.status();
        let is_refusal = status.starts_with('4') || status.starts_with("501");
        assert!(is_refusal, "{status}: {request:.400}");
    }
}
