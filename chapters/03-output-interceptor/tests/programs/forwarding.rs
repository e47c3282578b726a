//! A sidecar as a proxy: what passes through it, and in which form. Other chapters put their own
//! through these tests too.

use std::thread;

use crate::sidecar::Sidecar;
use sidecar_testing::http::{Server, Upstream};

#[test]
fn forwards_a_request_and_its_answer() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(
        "GET /path?query=1 HTTP/1.1\r\nHost: localhost:7979\r\nAccept: text/plain\r\nX-Own: 1\r\n\r\n",
    );

    let mut connection = upstream.accept();
    let request = connection.head();
    assert_eq!(request.start, "GET /path?query=1 HTTP/1.1");
    assert_eq!(request.get("host"), Some(&*upstream.host()));
    assert_eq!(request.get("accept"), Some("text/plain"));
    assert_eq!(request.get("x-own"), Some("1"));
    assert_eq!(request.get("via"), Some(Sidecar::VIA));
    assert_eq!(request.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.fields.len(), 5, "{request:#?}");

    connection.send(
        "HTTP/1.1 203 Its Own Words\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 4\r\n\r\nbody",
    );
    let (answer, body) = client.message();
    assert_eq!(answer.start, "HTTP/1.1 203 Its Own Words");
    let cookies = answer
        .fields
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    assert_eq!(
        cookies.map(|(_, value)| &**value).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(answer.get("via"), Some(Sidecar::VIA));
    assert_eq!(answer.get("content-length"), Some("4"));
    assert_eq!(body, "body");
}

#[test]
fn keeps_its_connections_to_the_upstream() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);

    // Each client comes over a connection of its own.
    let mut client = sidecar.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    client.message();
    for number in 2..5 {
        let mut client = sidecar.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(connection.head().start, format!("GET /{number} HTTP/1.1"));
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"
        ));
        assert_eq!(client.message().1, number.to_string());
    }
    upstream.has_no_further_connection();
}

#[test]
fn drops_what_belongs_to_the_hop() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nConnection: x-other\r\n\
         X-Hop: 1\r\nX-Other: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         TE: gzip\r\nX-End: 1\r\n\r\n",
    );

    let mut connection = upstream.accept();
    let request = connection.head();
    let names: Vec<_> = request.fields.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names.len(), 4, "{request:#?}");
    for name in ["host", "x-end", "via", "x-forwarded-for"] {
        assert!(names.contains(&name), "{request:#?}");
    }

    connection.send(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Upgrade: h2c\r\nProxy-Connection: keep-alive\r\nX-End: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = client.head();
    let mut names: Vec<_> = answer.fields.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date", "via", "x-end"]);
}

#[test]
fn what_the_client_calls_a_hop_field_is_still_right() {
    // A client that could make the sidecar drop these would hide where it comes from.
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let _client = sidecar.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\
         Connection: Host, Via, X-Forwarded-For, Content-Length\r\n\r\nhi",
    );

    let mut connection = upstream.accept();
    let (request, body) = connection.message();
    assert_eq!(request.get("host"), Some(&*upstream.host()));
    assert_eq!(request.get("via"), Some(Sidecar::VIA));
    assert_eq!(request.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(body, "hi");
}

#[test]
fn adds_itself_to_the_way_that_a_message_has_come() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(
        "GET / HTTP/1.0\r\nVia: 1.0 fred\r\nVia: 1.1 p.example.net\r\n\
         X-Forwarded-For: 192.0.2.43\r\nX-Forwarded-For: 198.51.100.17\r\n\r\n",
    );

    let mut connection = upstream.accept();
    let request = connection.head();
    assert_eq!(request.start, "GET / HTTP/1.1");
    let as_1_0 = Sidecar::VIA.replace("1.1", "1.0");
    assert_eq!(
        request.get("via"),
        Some(&*format!("1.0 fred, 1.1 p.example.net, {as_1_0}"))
    );
    assert_eq!(
        request.get("x-forwarded-for"),
        Some("192.0.2.43, 198.51.100.17, 127.0.0.1")
    );

    connection.send("HTTP/1.0 200 OK\r\nVia: 1.1 far\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        client.head().get("via"),
        Some(&*format!("1.1 far, {as_1_0}"))
    );
}

#[test]
fn a_request_that_comes_around_again_is_refused() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 x, {}\r\n\r\n",
        Sidecar::VIA
    ));

    let (answer, body) = client.message();
    assert_eq!(answer.status(), "508 Loop Detected");
    assert_eq!(
        body,
        "the request has been here before: UPSTREAM leads back to this sidecar\n"
    );
    upstream.has_no_further_connection();
}

#[test]
fn streams_both_ways() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client =
        sidecar.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");

    // Each piece arrives although the next one has not been sent.
    let mut connection = upstream.accept();
    assert_eq!(connection.head().get("transfer-encoding"), Some("chunked"));
    for piece in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        assert_eq!(connection.chunk().unwrap(), piece.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(connection.chunk().unwrap(), b"");
    assert_eq!(connection.trailers(), "");

    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().get("transfer-encoding"), Some("chunked"));
    for piece in ["four", "five", "six"] {
        connection.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        assert_eq!(client.chunk().unwrap(), piece.as_bytes());
    }
    connection.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), b"");
    assert_eq!(client.trailers(), "");
}

#[test]
fn answers_while_the_request_is_still_being_sent() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client =
        sidecar.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");

    let mut connection = upstream.accept();
    connection.head();
    connection.chunk().unwrap();
    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status(), "200 OK");
    // An echo, piece by piece.
    for _ in 0..3 {
        client.send("4\r\necho\r\n");
        assert_eq!(connection.chunk().unwrap(), b"echo");
        connection.send("4\r\necho\r\n");
        assert_eq!(client.chunk().unwrap(), b"echo");
    }
}

#[test]
fn long_bodies_arrive_as_they_were_sent() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let body: String = (0..500_000).map(|number| format!("{number}\n")).collect();
    let length = body.len();

    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = upstream.accept();
            let (_, received) = connection.message();
            assert!(received == body, "the upload has changed");
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        });
        let mut client = sidecar.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert!(client.message().1 == body, "the answer has changed");
    });
}

#[test]
fn an_upload_that_the_upstream_does_not_read_is_held_back() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client =
        sidecar.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    let mut connection = upstream.accept();
    connection.head();

    let held_back = client.send_until_held_back();
    assert!(held_back < 100_000_000, "{held_back} bytes went somewhere");
    assert!(
        sidecar.program.memory() < 16 << 20,
        "{} bytes",
        sidecar.program.memory()
    );
}

#[test]
fn an_answer_that_the_client_does_not_read_is_held_back() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    client.head();

    let held_back = connection.send_until_held_back();
    assert!(held_back < 100_000_000, "{held_back} bytes went somewhere");
    assert!(
        sidecar.program.memory() < 16 << 20,
        "{} bytes",
        sidecar.program.memory()
    );
}

#[test]
fn passes_trailers_to_who_takes_them() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
    );

    let mut connection = upstream.accept();
    let request = connection.head();
    assert_eq!(request.get("te"), Some("trailers"));
    assert_eq!(request.get("connection"), Some("te"));
    assert_eq!(request.get("trailer"), Some("X-Sum"));
    assert_eq!(connection.chunk().unwrap(), b"hi");
    assert_eq!(connection.chunk().unwrap(), b"");
    assert_eq!(connection.trailers(), "x-sum: 1\r\n");

    connection.send(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n",
    );
    assert_eq!(client.head().get("trailer"), Some("X-Sum"));
    assert_eq!(client.chunk().unwrap(), b"hi");
    assert_eq!(client.chunk().unwrap(), b"");
    assert_eq!(client.trailers(), "x-sum: 2\r\n");
}

#[test]
fn keeps_trailers_from_who_does_not_take_them() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");

    let mut connection = upstream.accept();
    assert_eq!(connection.head().get("te"), None);
    connection.send(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n",
    );
    client.head();
    assert_eq!(client.chunk().unwrap(), b"hi");
    assert_eq!(client.chunk().unwrap(), b"");
    assert_eq!(client.trailers(), "");
}

#[test]
fn answers_without_a_body_have_none() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.connect();
    let mut connection = None;
    for (method, answer, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 1234", Some("1234")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", None),
        ("GET", "204 No Content", None),
        ("GET", "304 Not Modified\r\nETag: \"x\"", None),
        ("GET", "304 Not Modified\r\nContent-Length: 1234", None),
        ("GET", "200 OK\r\nContent-Length: 0", Some("0")),
        ("POST", "200 OK\r\nContent-Length: 0", Some("0")),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let connection = connection.get_or_insert_with(|| upstream.accept());
        assert_eq!(connection.head().start, format!("{method} / HTTP/1.1"));
        connection.send(format!("HTTP/1.1 {answer}\r\n\r\n"));

        let head = client.head();
        assert!(answer.starts_with(head.status()), "{head:?}");
        assert_eq!(head.get("content-length"), length, "{method}: {answer}");
        assert_eq!(head.get("transfer-encoding"), None, "{method}: {answer}");
        // What comes next is the answer to the next request, and nothing in between.
    }
}

#[test]
fn a_body_is_passed_on_whatever_the_method() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.connect();
    let mut connection = None;
    for method in ["GET", "DELETE", "OPTIONS", "PROPFIND"] {
        for framed in [
            "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "Content-Length: 2\r\n\r\nhi",
        ] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{framed}"));
            let connection = connection.get_or_insert_with(|| upstream.accept());
            let (head, body) = connection.message();
            assert_eq!(head.start, format!("{method} / HTTP/1.1"));
            assert_eq!(body, "hi", "{head:#?}");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            client.head();
        }
    }
}

#[test]
fn a_client_that_waits_for_consent_gets_it() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");

    // It gets it when the upstream has taken the head, and can refuse the rest.
    let mut connection = upstream.accept();
    assert_eq!(connection.head().get("expect"), Some("100-continue"));
    assert_eq!(client.head().start, "HTTP/1.1 100 Continue");
    client.send("hi");
    assert_eq!(connection.read_exact(2).unwrap(), b"hi");
    // The upstream's own consent is for the sidecar, which did not wait for it.
    connection.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.head().status(), "200 OK");
}

#[test]
fn a_client_that_waits_for_consent_need_not_send_what_nobody_takes() {
    let sidecar = Sidecar::start(&[("UPSTREAM", "http://127.0.0.1:1")]);
    let mut client = sidecar
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status(), "502 Bad Gateway");
}

#[test]
fn speaks_with_clients_of_http_1_0() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send("GET / HTTP/1.0\r\n\r\n");

    let mut connection = upstream.accept();
    assert_eq!(connection.head().start, "GET / HTTP/1.1");
    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status(), "200 OK");
    assert_eq!(head.get("transfer-encoding"), None);
    assert_eq!(client.rest().unwrap(), "hi");
}

#[test]
fn speaks_with_upstreams_of_http_1_0() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");

    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.0 200 OK\r\n\r\nuntil the connection closes");
    drop(connection);
    let (head, body) = client.message();
    assert_eq!(head.start, "HTTP/1.1 200 OK");
    assert_eq!(body, "until the connection closes");
}

#[test]
fn targets_keep_their_meaning() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.connect();
    let mut connection = None;
    for (sent, received) in [
        (
            "GET http://example.com/path?query HTTP/1.1",
            "GET /path?query HTTP/1.1",
        ),
        ("GET http://example.com HTTP/1.1", "GET / HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
        (
            "GET //two/slashes/../and%20dots HTTP/1.1",
            "GET //two/slashes/../and%20dots HTTP/1.1",
        ),
        ("GET /hello/ HTTP/1.1", "GET /hello/ HTTP/1.1"),
        ("GET /? HTTP/1.1", "GET /? HTTP/1.1"),
    ] {
        client.send(format!("{sent}\r\nHost: example.com\r\n\r\n"));
        let connection = connection.get_or_insert_with(|| upstream.accept());
        let request = connection.head();
        assert_eq!(request.start, received);
        assert_eq!(request.get("host"), Some(&*upstream.host()));
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        client.head();
    }
}

#[test]
fn what_is_not_forwarded_is_refused() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    for (request, status) in [
        (
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
            "501 Not Implemented",
        ),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "501 Not Implemented"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request"),
        (
            "GET example.com HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 Bad Request",
        ),
        (
            "GET ftp://example.com/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 Bad Request",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "400 Bad Request",
        ),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 Bad Request"),
        (
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
            "200 OK",
        ),
    ] {
        let (head, body) = sidecar.send(request).message();
        assert_eq!(head.status(), status, "{request}");
        assert!(body.ends_with('\n'), "{request} {body}");
    }
    upstream.has_no_further_connection();
}

#[test]
fn counts_the_hops_of_options() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let _client = sidecar.send("OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n");
    assert_eq!(upstream.accept().head().get("max-forwards"), Some("2"));
    let _client = sidecar.send("GET /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(upstream.accept().head().get("max-forwards"), Some("0"));
}

#[test]
fn an_upgrade_is_not_passed_on() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");

    // To the upstream it is an ordinary request, and its answer is passed back.
    let mut connection = upstream.accept();
    let request = connection.head();
    assert_eq!(request.get("upgrade"), None);
    assert_eq!(request.get("connection"), None);
    connection.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.head().status(), "426 Upgrade Required");

    // The connection is good for the next request.
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.head().start, "GET /next HTTP/1.1");
}

#[test]
fn serves_many_at_once_but_not_without_bound() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut first = sidecar.connect();
    let _others: Vec<_> = (0..500).map(|_| sidecar.connect()).collect();

    eventually_files(&sidecar, 400);
    // All that have come so far are accepted before the next request is answered.
    first.send("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
    first.message();
    assert!(
        sidecar.program.open_files() < 420,
        "{}",
        sidecar.program.open_files()
    );
}

fn eventually_files(sidecar: &Server, count: usize) {
    sidecar_testing::eventually("the sidecar accepts the connections", || {
        (sidecar.program.open_files() >= count).then_some(())
    });
}
