//! `log-collector`: what it has answered is printed; and its probe tells whether it listens.

use std::net::TcpListener;

use sidecar_testing::abuse;
use sidecar_testing::http::Server;
use sidecar_testing::{Program, ReservedAddress, Signal};

use super::{ask, collector};

const COLLECTOR: &str = env!("CARGO_BIN_EXE_log-collector");

/// The program with one argument, to its end: its exit code, and what it printed.
fn act(action: &str, listen: &str) -> (Option<i32>, Vec<String>) {
    let program = Program::start_with(COLLECTOR, &[action], &[("LISTEN", listen)]);
    let (status, printed) = program.ended();
    (status.code(), printed)
}

#[test]
fn a_line_that_was_answered_is_printed() {
    let collector = collector();
    for line in ["one", "  two ", "\u{e9}"] {
        assert_eq!(ask(&collector, "POST", "/lines", line), "200 OK: ");
        assert_eq!(collector.program.line(), line);
    }
    let (status, printed) = collector.program.end();
    assert_eq!((status.code(), printed), (Some(0), Vec::new()));
}

#[test]
fn what_is_no_line_is_refused_and_the_next_one_is_taken() {
    let collector = collector();
    let post = "POST /lines HTTP/1.1\r\nHost: a\r\nContent-Length";
    let mut connection = collector.send(format!("{post}: 2\r\n\r\n"));
    connection.send(b"\xff\xfe");
    assert_eq!(connection.head().status(), "400 Bad Request");
    // A line of megabytes is not taken. Who sends it may find the connection closed.
    let mut connection = collector.send(format!("{post}: {}\r\n\r\n", 8 << 20));
    let _ = connection.try_send(vec![b'a'; 8 << 20]);
    // Who says half a line and no more keeps nobody from the log.
    let _silent = collector.send(format!("{post}: 4\r\n\r\nha"));
    assert_eq!(ask(&collector, "POST", "/lines", "next"), "200 OK: ");
    assert_eq!(collector.program.line(), "next");
}

#[test]
fn it_takes_lines_whoever_else_comes() {
    let collector = collector();
    let slow = "POST /lines HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    let take_a_line = || {
        assert_eq!(ask(&collector, "POST", "/lines", "next"), "200 OK: ");
        assert_eq!(collector.program.line(), "next");
    };
    abuse::connections_come_and_go(
        &collector,
        &["", "POST /li", slow, "?\r\n\r\n"],
        take_a_line,
    );
    abuse::slow_clients(&collector, slow, take_a_line);
}

#[test]
fn its_probe_succeeds_when_it_listens_and_not_before() {
    let reserved = ReservedAddress::new();
    let listen = reserved.address.to_string();
    let refused = "/ready does not answer: Connection refused (os error 111)".to_owned();
    assert_eq!(act("probe", &listen), (Some(1), vec![refused]));
    let collector = collector();
    assert_eq!(
        act("probe", &collector.address.to_string()),
        (Some(0), Vec::new())
    );
}

#[test]
fn told_to_end_while_it_prepares_it_leaves() {
    let settings = [("WARM_UP", "1h")];
    let collector = Server::start(COLLECTOR, &settings).program;
    collector.wait_until_it_handles_sigterm();
    assert_eq!(collector.end().0.code(), Some(0));
}

#[test]
fn told_to_end_it_answers_what_has_begun() {
    let collector = collector();
    let mut connection = collector.send(
        "POST /lines HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    // It has the head, since it asks for the body.
    assert_eq!(connection.head().status(), "100 Continue");
    collector.program.signal(Signal::TERM);
    connection.send("last");
    assert_eq!(connection.head().status(), "200 OK");
    let (status, printed) = collector.program.ended();
    assert_eq!((status.code(), printed), (Some(0), vec!["last".to_owned()]));
}

#[test]
fn an_address_that_is_taken_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, printed) = Program::start(COLLECTOR, &[("LISTEN", &address)]).ended();
    assert_eq!(status.code(), Some(1));
    let expected = format!(
        "cannot listen on {address}; set LISTEN to a free address: Address already in use (os error 98)"
    );
    assert_eq!(printed, [expected]);
}

#[test]
fn an_action_that_there_is_not_is_one_line() {
    let expected = "there is no `prob`, only `probe` and `pre-stop`".to_owned();
    assert_eq!(act("prob", "127.0.0.1:1"), (Some(1), vec![expected]));
}
