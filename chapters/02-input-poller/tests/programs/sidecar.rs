//! `input-sidecar`: whatever the app does, it says so in one line and goes on.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use sidecar_testing::{Program, ReservedAddress, Signal};

const APP: &str = env!("CARGO_BIN_EXE_input-http-server");
const SIDECAR: &str = env!("CARGO_BIN_EXE_input-sidecar");
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello";

/// An app that is played by the test: it does with each call what `answer` does with the number
/// of the call and its connection.
fn app(answer: impl Fn(usize, TcpStream) + Send + Sync + Copy + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            let connection = connection.unwrap();
            thread::spawn(move || {
                read_request(&connection);
                answer(number, connection);
            });
        }
    });
    url
}

/// Reads the head of a request, and says whether there was one.
fn read_request(connection: &TcpStream) -> bool {
    let mut lines = BufReader::new(connection).lines();
    lines.any(|line| line.is_ok_and(|line| line.is_empty()))
}

/// Sends bytes to a sidecar that may not want to read them all.
fn send(mut connection: &TcpStream, bytes: &[u8]) {
    let _ = connection.write_all(bytes);
}

/// Sends the same bytes again and again, until the sidecar hangs up.
fn send_without_end(mut connection: &TcpStream, bytes: &[u8]) {
    while connection.write_all(bytes).is_ok() {}
}

fn start(url: &str, settings: &[(&str, &str)]) -> Program {
    let mut all = vec![("UPSTREAM", url), ("INTERVAL", "10ms")];
    all.extend(settings);
    Program::start(SIDECAR, &all)
}

#[test]
fn prints_what_the_app_answers() {
    let reserved = ReservedAddress::new();
    let address = reserved.address.to_string();
    let app = Program::start(APP, &[("LISTEN", &address)]);
    // By the name that all containers of a pod have for one another.
    let url = format!("http://localhost:{}", reserved.address.port());
    let sidecar = start(&url, &[]);

    sidecar.wait_for("Hello");
    assert_eq!(sidecar.line(), "Hello");
    assert_eq!(app.line(), "receive a request!");
    assert_eq!(app.line(), "receive a request!");
}

#[test]
fn waits_for_an_app_that_starts_late() {
    let reserved = ReservedAddress::new();
    let address = reserved.address.to_string();
    let sidecar = start(
        &format!("http://localhost:{}", reserved.address.port()),
        &[],
    );
    assert_eq!(sidecar.line(), "trouble: Connection refused (os error 111)");

    let _app = Program::start(APP, &[("LISTEN", &address)]);
    assert_eq!(sidecar.line(), "Hello");
}

#[test]
fn survives_an_app_that_restarts() {
    let reserved = ReservedAddress::new();
    let address = reserved.address.to_string();
    let first = Program::start(APP, &[("LISTEN", &address)]);
    let sidecar = start(&format!("http://{address}"), &[]);
    sidecar.wait_for("Hello");

    first.signal(Signal::KILL);
    first.ended();
    sidecar.wait_for("trouble: Connection refused (os error 111)");

    let _second = Program::start(APP, &[("LISTEN", &address)]);
    assert_eq!(sidecar.line(), "the app answers again");
    assert_eq!(sidecar.line(), "Hello");
}

#[test]
fn a_connection_that_the_app_would_not_answer_again_is_no_trouble() {
    // As after a restart between two calls: the connection of the first one is dead.
    let url = app(|_, connection| {
        send(&connection, HELLO);
        read_request(&connection);
    });
    let sidecar = start(&url, &[]);

    let printed: Vec<_> = (0..5).map(|_| sidecar.line()).collect();
    assert_eq!(printed, ["Hello"; 5]);
}

#[test]
fn an_app_that_hangs_is_one_line() {
    let url = app(|number, connection| {
        if number < 3 {
            // Holds the connection and says nothing, until the sidecar gives it up.
            read_request(&connection);
        } else {
            send(&connection, HELLO);
        }
    });
    let sidecar = start(&url, &[("TIMEOUT", "50ms")]);

    assert_eq!(
        sidecar.wait_for("Hello"),
        ["trouble: no answer within 50ms"]
    );
}

#[test]
fn an_app_that_hangs_in_the_middle_of_its_answer_is_one_line() {
    let url = app(|number, connection| {
        if number < 3 {
            send(
                &connection,
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHe",
            );
            read_request(&connection);
        } else {
            send(&connection, HELLO);
        }
    });
    let sidecar = start(&url, &[("TIMEOUT", "50ms")]);

    assert_eq!(
        sidecar.wait_for("Hello"),
        ["trouble: no answer within 50ms"]
    );
}

#[test]
fn each_kind_of_garbage_is_one_line() {
    let url = app(|number, connection| match number {
        0 => send(&connection, HELLO),
        1 => send(
            &connection,
            b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
        ),
        2 => send(&connection, b"+OK Dovecot ready.\r\n"),
        3 => {
            send(&connection, b"HTTP/1.1 200 OK\r\nX-Endless: ");
            send_without_end(&connection, &[b'a'; 4096]);
        }
        4 => send(
            &connection,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHell",
        ),
        5 => send(
            &connection,
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        ),
        6 => {
            send(&connection, b"HTTP/1.1 200 OK\r\n\r\n");
            send_without_end(&connection, &[b'a'; 4096]);
        }
        7 => send(
            &connection,
            b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        ),
        8 => {} // It hangs up without a word.
        _ => send(&connection, HELLO),
    });
    let sidecar = start(&url, &[("TIMEOUT", "1h")]);

    assert_eq!(sidecar.line(), "Hello");
    assert_eq!(
        sidecar.wait_for("the app answers again"),
        [
            "trouble: status 500 Internal Server Error",
            "trouble: invalid HTTP version parsed",
            "trouble: message head is too large",
            "trouble: end of file before message length reached",
            "trouble: an answer that is not UTF-8",
            "trouble: an answer of more than 65536 bytes",
            "trouble: status 302 Found",
            "trouble: connection closed before message completed",
        ]
    );
    assert_eq!(sidecar.line(), "Hello");
}

#[test]
fn trouble_that_lasts_is_told_once() {
    let url = app(|number, connection| match number {
        1..5 => send(
            &connection,
            b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n",
        ),
        _ => send(&connection, HELLO),
    });
    let sidecar = start(&url, &[]);

    assert_eq!(sidecar.line(), "Hello");
    assert_eq!(sidecar.line(), "trouble: status 503 Service Unavailable");
    assert_eq!(sidecar.line(), "the app answers again");
    assert_eq!(sidecar.line(), "Hello");
}

#[test]
fn after_trouble_it_does_not_wait_for_the_whole_interval() {
    let url = app(|number, connection| match number {
        0..3 => send(
            &connection,
            b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n",
        ),
        _ => send(&connection, HELLO),
    });
    let sidecar = start(&url, &[("INTERVAL", "1d")]);

    sidecar.wait_for("Hello");
}

#[test]
fn told_to_end_while_it_waits_it_leaves_at_once() {
    let url = app(|_, connection| send(&connection, HELLO));
    let sidecar = start(&url, &[("INTERVAL", "1d")]);
    sidecar.wait_for("Hello");

    let (status, printed) = sidecar.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
}

#[test]
fn told_to_end_in_the_middle_of_a_call_it_leaves_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sidecar = start(&url, &[("TIMEOUT", "1d")]);
    let (connection, _) = listener.accept().unwrap();
    assert!(read_request(&connection));

    let (status, printed) = sidecar.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
}

#[test]
fn a_url_that_it_cannot_call_ends_it_with_one_line() {
    for (url, why) in [
        ("https://localhost", "this program speaks http, not https"),
        ("localhost:7878", "this program speaks http, not localhost"),
        ("localhost", "relative URL without a base"),
    ] {
        let (status, printed) = Program::start(SIDECAR, &[("UPSTREAM", url)]).ended();
        assert_eq!(status.code(), Some(2));
        let expected = format!(
            "UPSTREAM={url:?} cannot be understood ({why}); http://127.0.0.1:9000 would do"
        );
        assert_eq!(printed, [expected]);
    }
}
