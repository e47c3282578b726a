//! `input-http-server`: answers, and leaves when it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use sidecar_testing::{Program, ReservedAddress, eventually};

const APP: &str = env!("CARGO_BIN_EXE_input-http-server");

fn connect(address: SocketAddr) -> TcpStream {
    eventually("the app listens", || TcpStream::connect(address).ok())
}

#[test]
fn answers_hello() {
    let reserved = ReservedAddress::new();
    let app = Program::start(APP, &[("LISTEN", &reserved.address.to_string())]);

    let mut connection = connect(reserved.address);
    connection
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nHello"), "{answer}");
    assert_eq!(app.line(), "receive a request!");
}

#[test]
fn told_to_end_it_leaves_although_connections_are_open() {
    let reserved = ReservedAddress::new();
    let app = Program::start(APP, &[("LISTEN", &reserved.address.to_string())]);

    let _never_used = connect(reserved.address);
    let mut kept_alive = connect(reserved.address);
    kept_alive
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    app.wait_for("receive a request!");

    let (status, printed) = app.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
    let mut answer = String::new();
    kept_alive.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("Hello"), "{answer}");
}

#[test]
fn told_to_end_while_it_prepares_it_leaves() {
    let reserved = ReservedAddress::new();
    let address = reserved.address.to_string();
    let app = Program::start(APP, &[("LISTEN", &address), ("WARM_UP", "1h")]);
    // The handler of the signal stands when the process has asked the kernel for it.
    app.wait_until_it_handles_sigterm();

    let (status, _) = app.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let app = Program::start(APP, &[("LISTEN", &address.to_string())]);

    let (status, printed) = app.ended();
    assert_eq!(status.code(), Some(1));
    let expected = format!(
        "cannot listen on {address}; set LISTEN to a free address: Address already in use (os error 98)"
    );
    assert_eq!(printed, [expected]);
}
