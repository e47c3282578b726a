//! No message can be hidden in another one: whatever is unclear about where one ends is refused,
//! or passed on in a form that is clear.

use crate::http::{Sidecar, Upstream};

/// What a smuggler would like to get through.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends a request that must not reach the upstream, and returns the status of the answer.
fn refused(request: &str) -> String {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut client = sidecar.send(request);
    let status = match client.try_head() {
        Ok(head) => {
            assert_ne!(head.status(), "200 OK", "{request:?}");
            client.try_body(&head).unwrap();
            head.status().to_owned()
        }
        Err(_) => "hangs up".to_owned(),
    };
    // Nothing that may still be in the connection is taken for a request.
    client.is_closed_by_the_other_end();
    upstream.has_no_further_connection();
    status
}

#[test]
fn requests_with_an_unclear_length_are_refused() {
    for length in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 6\r\nContent-Length: 5",
        "Content-Length: 5, 6",
        "Content-Length: 5,5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5a",
        "Content-Length: ",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\nhello{HIDDEN}");
        assert_eq!(refused(&request), "400 Bad Request", "{length}");
    }
}
