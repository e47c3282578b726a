//! A sidecar where the upstream or the client fails. Other chapters put their own through these
//! tests too.

use std::io;
use std::time::{Duration, Instant};

use crate::sidecar::Sidecar;
use sidecar_testing::http::Upstream;

const HELD: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_upstream_that_is_down_is_502() {
    let sidecar = Sidecar::start(&[("UPSTREAM", "http://127.0.0.1:1")]);
    let mut client = sidecar.send(HELD);

    let (head, body) = client.message();
    assert_eq!(head.status(), "502 Bad Gateway");
    assert_eq!(
        body,
        "no connection to the upstream: Connection refused (os error 111)\n"
    );
    assert_eq!(
        sidecar.program.line(),
        "502 Bad Gateway: no connection to the upstream: Connection refused (os error 111)"
    );
}

#[test]
fn an_upstream_that_is_down_is_502_for_an_upload_too() {
    let sidecar = Sidecar::start(&[("UPSTREAM", "http://127.0.0.1:1")]);
    let mut client = sidecar.connect();
    // The client reads nothing before it has sent everything, and may be reset by nobody.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    for _ in 0..10 {
        client.send([b'a'; 100_000]);
    }
    assert_eq!(client.message().0.status(), "502 Bad Gateway");
    // The connection is good for the next request.
    client.send(HELD);
    assert_eq!(client.message().0.status(), "502 Bad Gateway");
}

#[test]
fn an_upstream_that_hangs_up_is_502_and_is_not_asked_again() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    for connection_is_new in [true, false] {
        let mut client = sidecar.connect();
        let mut connection;
        if connection_is_new {
            client.send("POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            connection = upstream.accept();
        } else {
            client.send(HELD);
            connection = upstream.accept();
            connection.head();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            client.head();
            client.send("POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        }
        assert_eq!(connection.head().start, "POST /order HTTP/1.1");
        drop(connection);

        let (head, body) = client.message();
        assert_eq!(head.status(), "502 Bad Gateway");
        assert_eq!(
            body,
            "no answer from the upstream: connection closed before message completed\n"
        );
        upstream.has_no_further_connection();
    }
}

#[test]
fn a_connection_that_the_upstream_has_closed_is_not_used() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.connect();
    for _ in 0..20 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        let mut connection = upstream.accept();
        connection.message();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        // As a server does that closes what is idle, at this very moment.
        drop(connection);
        assert_eq!(client.message().0.status(), "200 OK");
    }
}

#[test]
fn an_upstream_that_is_slow_is_504() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::start(&[("UPSTREAM", &upstream.url()), ("TIMEOUT", "50ms")]);
    let mut client = sidecar.send(HELD);

    let mut connection = upstream.accept();
    let (head, body) = client.message();
    assert_eq!(head.status(), "504 Gateway Timeout");
    assert_eq!(body, "no answer from the upstream within 50ms\n");
    assert_eq!(
        sidecar.program.line(),
        "504 Gateway Timeout: no answer from the upstream within 50ms"
    );
    // Nobody waits for this answer any more.
    connection.head();
    connection.is_closed_by_the_other_end();
}

#[test]
fn an_upstream_that_takes_no_connection_is_504() {
    // The kernel completes a connection for a socket that listens, until its queue is full.
    let full = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (listener, _held) = full.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let held = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (listener, held)
    });
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sidecar = Sidecar::start(&[("UPSTREAM", &url), ("TIMEOUT", "50ms")]);

    let (head, body) = sidecar.send(HELD).message();
    assert_eq!(head.status(), "504 Gateway Timeout");
    assert_eq!(body, "no connection to the upstream within 50ms\n");
}

#[test]
fn an_upload_may_take_longer_than_the_upstream_may() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::start(&[("UPSTREAM", &upstream.url()), ("TIMEOUT", "1s")]);
    let mut client =
        sidecar.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut connection = upstream.accept();
    connection.head();

    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        client.send("2\r\nhi\r\n");
        assert_eq!(connection.chunk().unwrap(), b"hi");
    }
    client.send("0\r\n\r\n");
    connection.chunk().unwrap();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.head().status(), "200 OK");
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_request_is_408() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::start(&[("UPSTREAM", &upstream.url()), ("TIMEOUT", "50ms")]);
    let mut client = sidecar.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi");

    let (head, body) = client.message();
    assert_eq!(head.status(), "408 Request Timeout");
    assert_eq!(head.get("connection"), Some("close"));
    assert_eq!(body, "nothing of the request within 50ms\n");
    let mut connection = upstream.accept();
    connection.is_closed_by_the_other_end();
}

#[test]
fn an_answer_may_pause_for_longer_than_it_may_take_to_begin() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::start(&[("UPSTREAM", &upstream.url()), ("TIMEOUT", "1s")]);
    let mut client = sidecar.send(HELD);
    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();

    // Another request is 504 meanwhile, so more than a second has passed.
    assert_eq!(
        sidecar.send(HELD).message().0.status(),
        "504 Gateway Timeout"
    );
    connection.send("2\r\nhi\r\n0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), b"hi");
    assert_eq!(client.chunk().unwrap(), b"");
}

#[test]
fn an_answer_that_breaks_off_is_not_complete() {
    for (request, answer) in [
        (HELD, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        (
            HELD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ),
        (
            HELD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
        ),
        (
            HELD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        ),
        // This client knows no other end than that of the connection.
        (
            "GET / HTTP/1.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ),
    ] {
        let upstream = Upstream::new();
        let sidecar = Sidecar::before(&upstream);
        let mut client = sidecar.send(request);
        let mut connection = upstream.accept();
        connection.head();
        connection.send(answer);
        let head = client.head();
        assert_eq!(head.status(), "200 OK");
        drop(connection);

        if request.contains("HTTP/1.0") {
            let end = client.rest().unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::ConnectionReset, "{answer}");
        } else {
            client.try_body(&head).expect_err(answer);
        }
        let line = sidecar.program.line();
        assert!(
            line.starts_with("the upstream broke off its answer: "),
            "{line}"
        );
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_cancels_the_request() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let client = sidecar.send(HELD);
    let mut connection = upstream.accept();
    connection.head();

    drop(client);
    connection.is_closed_by_the_other_end();
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_request_cancels_it() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let client = sidecar.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi");
    let mut connection = upstream.accept();
    let head = connection.head();
    assert_eq!(connection.read_exact(2).unwrap(), b"hi");

    drop(client);
    connection
        .try_body(&head)
        .expect_err("the request is complete");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_the_answer_cancels_the_request() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(HELD);
    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    client.head();

    // The upstream sends nothing more: it is the client's leaving alone that is noticed.
    drop(client);
    connection.is_closed_by_the_other_end();
}

#[test]
fn a_head_that_is_too_long_is_431() {
    let sidecar = Sidecar::start(&[]);
    let mut client = sidecar.connect();
    client.send("GET /hello HTTP/1.1\r\nHost: a\r\nX-Long: ");
    // The sidecar reads no more than it must, and hangs up.
    let _ = client.try_send(vec![b'a'; 100_000]);
    match client.try_head() {
        Ok(head) => assert_eq!(head.status(), "431 Request Header Fields Too Large"),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }

    let fields: String = (0..101)
        .map(|number| format!("X-{number}: 1\r\n"))
        .collect();
    let mut client = sidecar.send(format!("GET /hello HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(
        client.head().status(),
        "431 Request Header Fields Too Large"
    );
}

#[test]
fn a_head_of_an_answer_that_is_too_long_is_502() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(HELD);
    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nX-Long: ");
    let _ = connection.try_send(vec![b'a'; 100_000]);

    let (head, body) = client.message();
    assert_eq!(head.status(), "502 Bad Gateway");
    assert_eq!(
        body,
        "no answer from the upstream: message head is too large\n"
    );
}

#[test]
fn a_client_that_sends_its_request_too_slowly_is_sent_away() {
    let begin = Instant::now();
    let sidecar = Sidecar::start(&[("HEAD_TIMEOUT", "50ms")]);
    let mut silent = sidecar.connect();
    silent.is_closed_by_the_other_end();
    let mut slow = sidecar.send("GET /hello HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    slow.is_closed_by_the_other_end();
    // After 30 s hyper would have done it without being told.
    assert!(begin.elapsed() < Duration::from_secs(25));
}
