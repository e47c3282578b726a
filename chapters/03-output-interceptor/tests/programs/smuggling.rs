//! No message can be hidden in another one: whatever is unclear about where one ends is refused,
//! or passed on in a form that is clear. Other chapters put their own sidecars through these tests
//! too.

use crate::sidecar::Sidecar;
use sidecar_testing::http::Upstream;

/// What a smuggler would like to get through.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends a request that must not reach the upstream, and returns the status of the answer.
fn refused(request: &str) -> String {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(request);
    let head = client.head();
    client.try_body(&head).unwrap();
    // Nothing that follows is taken for another request.
    client.is_closed_by_the_other_end();
    upstream.has_no_further_connection();
    head.status().to_owned()
}

#[test]
fn requests_of_unclear_length_are_refused() {
    for (fields, status) in [
        ("Content-Length: 5\r\nContent-Length: 6", "400 Bad Request"),
        ("Content-Length: 6\r\nContent-Length: 5", "400 Bad Request"),
        ("Content-Length: 5, 6", "400 Bad Request"),
        ("Content-Length: 5, 5", "400 Bad Request"),
        ("Content-Length: +5", "400 Bad Request"),
        ("Content-Length: -5", "400 Bad Request"),
        ("Content-Length: 0x5", "400 Bad Request"),
        ("Content-Length: 5 5", "400 Bad Request"),
        ("Content-Length: 5a", "400 Bad Request"),
        ("Content-Length:", "400 Bad Request"),
        ("Content-Length: 18446744073709551616", "400 Bad Request"),
        ("Content-Length : 5", "400 Bad Request"),
        ("Content-Length\t: 5", "400 Bad Request"),
        ("Content-Length\u{b}: 5", "400 Bad Request"),
        ("Transfer-Encoding : chunked", "400 Bad Request"),
        ("Transfer-Encoding: identity", "400 Bad Request"),
        ("Transfer-Encoding: gzip", "400 Bad Request"),
        ("Transfer-Encoding: xchunked", "400 Bad Request"),
        ("Transfer-Encoding: chunked;q=1", "400 Bad Request"),
        ("Transfer-Encoding: \"chunked\"", "400 Bad Request"),
        ("Transfer-Encoding: chunked, identity", "400 Bad Request"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "400 Bad Request",
        ),
        ("Transfer-Encoding: \u{b}chunked", "400 Bad Request"),
        ("Transfer-Encoding: chun\0ked", "400 Bad Request"),
        ("Transfer-Encoding: gzip, chunked", "501 Not Implemented"),
        (
            "Transfer-Encoding: identity, chunked",
            "501 Not Implemented",
        ),
        ("Transfer-Encoding: chunked, chunked", "501 Not Implemented"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "501 Not Implemented",
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "501 Not Implemented",
        ),
        // A field that goes on in the next line, and one that a careless reader sees in it.
        ("X: y\r\n Transfer-Encoding: chunked", "400 Bad Request"),
        ("Transfer-Encoding:\r\n chunked", "400 Bad Request"),
        (
            "Transfer-Encoding: chunked\r\n , identity",
            "400 Bad Request",
        ),
        ("X: y\rTransfer-Encoding: chunked", "400 Bad Request"),
        ("X: y\0\r\nContent-Length: 5", "400 Bad Request"),
        ("Content-Length", "400 Bad Request"),
        (": 5", "400 Bad Request"),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{HIDDEN}");
        assert_eq!(refused(&request), status, "{fields:?}");
    }
}

#[test]
fn what_it_answers_itself_must_be_clear_too() {
    for (fields, status) in [
        (
            "Host: a\r\nTransfer-Encoding: gzip, chunked",
            "501 Not Implemented",
        ),
        ("Host: a\r\nContent-Length: 5, 5", "400 Bad Request"),
        ("Host: a\r\nHost: a", "400 Bad Request"),
        ("X: y", "400 Bad Request"),
    ] {
        let request = format!("GET /hello HTTP/1.1\r\n{fields}\r\n\r\n0\r\n\r\n{HIDDEN}");
        assert_eq!(refused(&request), status, "{fields:?}");
    }
}

#[test]
fn what_is_not_a_request_is_refused() {
    for request in [
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
    ] {
        assert_eq!(refused(request), "400 Bad Request", "{request:?}");
    }
}

#[test]
fn chunks_that_cannot_be_are_refused() {
    for chunks in [
        "g\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;extension\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\nX y\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    ] {
        let upstream = Upstream::new();
        let sidecar = Sidecar::before(&upstream);
        let mut client = sidecar.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{HIDDEN}"
        ));
        // The upstream sees a request that has no end, if it sees it at all.
        let mut connection = upstream.accept();
        if let Ok(head) = connection.try_head() {
            assert_eq!(head.start, "POST / HTTP/1.1");
            let body = connection.try_body(&head);
            assert!(body.is_err(), "{chunks:?} is passed on as {body:?}");
        }
        let head = client.head();
        assert_eq!(head.status(), "400 Bad Request", "{chunks:?}");
        client.try_body(&head).unwrap();
        client.is_closed_by_the_other_end();
        upstream.has_no_further_connection();
    }
}

#[test]
fn what_can_be_read_in_one_way_only_is_passed_on_in_its_clear_form() {
    for (request, fields, body) in [
        // Of both lengths the standard takes the chunks, and no other request after it.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\n\r\n",
            vec![("transfer-encoding", "chunked")],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n\
             2\r\nhi\r\n0\r\n\r\n",
            vec![("transfer-encoding", "chunked")],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        // The same length twice is that length.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\
             Content-Length: 2\r\n\r\nhi",
            vec![("content-length", "2")],
            "hi",
        ),
        // A line may end in LF alone. The lines that are passed on do not.
        (
            "POST / HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 2\n\nhi",
            vec![("content-length", "2")],
            "hi",
        ),
        (
            "\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
            vec![("content-length", "2")],
            "hi",
        ),
        // Capitals, spaces around the value, and extensions of chunks, which are dropped.
        (
            "POST / HTTP/1.1\r\nhOST:a\r\nConnection: close\r\ntRANSFER-eNCODING:\t CHUNKED \r\n\r\n\
             02;a=b;c=\"d\"\r\nhi\r\n000;e\r\n\r\n",
            vec![("transfer-encoding", "chunked")],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        // What stands after the end cannot change what came before it.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: Content-Length, Host\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n",
            vec![
                ("trailer", "Content-Length, Host"),
                ("transfer-encoding", "chunked"),
            ],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
    ] {
        let upstream = Upstream::new();
        let sidecar = Sidecar::before(&upstream);
        let mut client = sidecar.send(format!("{request}{HIDDEN}"));

        let mut connection = upstream.accept();
        let head = connection.head();
        assert_eq!(head.start, "POST / HTTP/1.1");
        let mut passed_on: Vec<_> = head
            .fields
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .filter(|(name, _)| !["host", "via", "x-forwarded-for"].contains(name))
            .collect();
        passed_on.sort_unstable();
        assert_eq!(passed_on, fields, "{request:?}");
        assert_eq!(
            connection.read_exact(body.len()).unwrap(),
            body.as_bytes(),
            "{request:?}"
        );
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

        assert_eq!(
            client.head().get("connection"),
            Some("close"),
            "{request:?}"
        );
        client.is_closed_by_the_other_end();
        sidecar.program.end();
        assert_eq!(connection.rest().unwrap(), "", "{request:?}");
        upstream.has_no_further_connection();
    }
}

/// An answer that must not reach the client.
fn refused_answer(answer: &str) -> String {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut connection = upstream.accept();
    connection.head();
    connection.send(answer);
    let (head, body) = client.message();
    assert_eq!(head.status(), "502 Bad Gateway", "{answer:?}");
    // Nothing that follows is taken for the answer to the next request.
    connection.is_closed_by_the_other_end();
    body
}

#[test]
fn answers_of_unclear_length_are_refused() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length : 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \u{b}chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\0",
    ] {
        let hidden = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden";
        let body = refused_answer(&format!(
            "HTTP/1.1 200 OK\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}"
        ));
        assert!(body.contains("the upstream"), "{body}");
    }
}

#[test]
fn what_is_not_an_answer_is_refused() {
    for answer in [
        "+OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 99 Too Low\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        refused_answer(answer);
    }
}

#[test]
fn chunks_of_an_answer_that_cannot_be_have_no_end() {
    for chunks in [
        "5\r\nhello\r\ng\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello!!0\r\n\r\n",
        "5\r\nhello\r\n10000000000000000\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::new();
        let sidecar = Sidecar::before(&upstream);
        let mut client = sidecar.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut connection = upstream.accept();
        connection.head();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));

        if let Ok(head) = client.try_head() {
            let body = client.try_body(&head);
            assert!(body.is_err(), "{chunks:?} is passed on as {body:?}");
        }
        connection.is_closed_by_the_other_end();
    }
}

#[test]
fn no_answer_can_be_hidden_behind_another() {
    let hidden = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden";
    for (method, first) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 48\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 48\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 48\r\n\r\n",
        ),
    ] {
        let upstream = Upstream::new();
        let sidecar = Sidecar::before(&upstream);
        let mut client = sidecar.send(format!(
            "{method} /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let mut connection = upstream.accept();
        connection.head();
        connection.send(format!("{first}{hidden}"));
        let head = client.head();
        if method == "GET" && head.status() == "200 OK" {
            client.try_body(&head).unwrap();
        }

        // The second request goes over another connection, and has its own answer.
        let mut other = upstream.accept();
        assert_eq!(other.head().start, "GET /second HTTP/1.1");
        other.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
        assert_eq!(client.message().1, "second", "{first:?}");
        connection.is_closed_by_the_other_end();
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_dropped() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut connection = upstream.accept();
    connection.head();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
    client.message();
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nunwanted");
    connection.is_closed_by_the_other_end();

    client.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut other = upstream.accept();
    other.head();
    other.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
    assert_eq!(client.message().1, "second");
}
