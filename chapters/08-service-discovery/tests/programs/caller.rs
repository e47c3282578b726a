//! The caller, and that it counts.

use sidecar_testing::http::Upstream;
use sidecar_testing::{Program, Signal};

fn caller(upstream: &Upstream) -> Program {
    let url = format!("{}/orders", upstream.url());
    let settings = [("UPSTREAM", &*url), ("CLIENTS", "1")];
    let caller = Program::start(env!("CARGO_BIN_EXE_caller"), &settings);
    assert_eq!(caller.line(), format!("calls {url}"));
    caller
}

#[test]
fn calls_that_fail_are_counted_and_told_of() {
    let service = Upstream::new();
    let caller = caller(&service);
    let mut connection = service.accept();
    for (method, status) in [
        ("POST", "201 Created"),
        ("GET", "503 Busy"),
        ("POST", "200 OK"),
    ] {
        let (head, _) = connection.message();
        assert!(head.start.starts_with(method), "{head:?}");
        connection.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
    }
    assert_eq!(caller.line(), "a call failed");
    // A call that is under way counts, and is waited for.
    connection.message();
    caller.signal(Signal::USR1);
    connection.send("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(caller.line(), "a call failed");
    assert_eq!(caller.line(), "asked 4 times, and 2 calls failed");
    assert_eq!(caller.line(), "some of the calls failed");
    connection.message();
    caller.signal(Signal::USR1);
    connection.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(caller.line(), "asked 1 times, and 0 calls failed");
    assert_eq!(caller.line(), "none of the calls failed");
    connection.message();
    caller.signal(Signal::USR2);
    connection.send("HTTP/1.1 204 No Content\r\n\r\n");
    caller.wait_for("no more calls failed than are under way at once");
    connection.message();
    caller.signal(Signal::TERM);
    connection.send("HTTP/1.1 204 No Content\r\n\r\n");
    let (status, _) = caller.ended();
    assert!(status.success());
}
