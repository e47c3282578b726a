//! `sidecar-output` when it is told to end.

use std::io;
use std::net::TcpStream;

use sidecar_testing::{Signal, eventually};

use crate::sidecar::Sidecar;
use sidecar_testing::http::Upstream;

#[test]
fn finishes_what_is_under_way() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut waiting = sidecar.send("GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut for_waiting = upstream.accept();
    for_waiting.head();
    let mut reading = sidecar.send("GET /reading HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut for_reading = upstream.accept();
    for_reading.head();
    for_reading.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let reading_head = reading.head();
    let mut sending = sidecar.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi");
    let mut for_sending = upstream.accept();
    let sending_head = for_sending.head();
    let mut idle = sidecar.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.message();
    let mut never_used = sidecar.connect();

    sidecar.program.signal(Signal::TERM);
    eventually("new connections are refused", || {
        TcpStream::connect(sidecar.address)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
            .then_some(())
    });
    idle.is_closed_by_the_other_end();
    never_used.is_closed_by_the_other_end();

    // The answer that has not begun says that it is the last one.
    for_waiting.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwaited");
    let (head, body) = waiting.message();
    assert_eq!(head.get("connection"), Some("close"));
    assert_eq!(body, "waited");
    assert_eq!(waiting.rest().unwrap(), "");

    for_reading.send("world");
    assert_eq!(reading.try_body(&reading_head).unwrap(), "helloworld");
    assert_eq!(reading.rest().unwrap(), "");

    sending.send("ho");
    assert_eq!(for_sending.try_body(&sending_head).unwrap(), "hiho");
    for_sending.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsent");
    assert_eq!(sending.message().1, "sent");

    let (status, printed) = sidecar.program.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, ["receive a request"]);
}

#[test]
fn leaves_at_once_when_nothing_is_under_way() {
    let sidecar = Sidecar::start(&[]);
    drop(sidecar.connect());
    let (status, printed) = sidecar.program.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
}

/// To a client that waits in the kernel's queue, the connection stands and its request is sent.
#[test]
fn who_is_in_the_queue_is_still_served() {
    let sidecar = Sidecar::start(&[]);
    sidecar.send("GET /hello HTTP/1.0\r\n\r\n").message();
    sidecar.program.freeze();
    let mut queued: Vec<_> = (0..10)
        .map(|_| sidecar.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    sidecar.program.signal(Signal::TERM);
    sidecar.program.signal(Signal::CONT);
    for client in &mut queued {
        assert_eq!(client.head().status(), "200 OK");
    }
    let (status, printed) = sidecar.program.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, ["receive a request"; 11]);
}
