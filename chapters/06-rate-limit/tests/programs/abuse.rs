//! `rate-limiter` where its clients mean harm, or are many: it goes on serving others.

use std::ops::Range;

use sidecar_testing::abuse;
use sidecar_testing::http::{Connection, Upstream};

use crate::sidecar::{Limited, Sidecar, passes, refused};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SLOW: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ";
const BY_HEADER: (&str, &str) = ("CLIENT_HEADER", "X-Forwarded-For");

fn named(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\n\r\n")
}

/// Sends a request of each of these clients, some at a time, and returns how many passed to
/// an app that is not there. All others are refused.
fn passed(client: &mut Connection, numbers: Range<u32>) -> usize {
    let numbers: Vec<_> = numbers.collect();
    let mut passed = 0;
    for some in numbers.chunks(50) {
        let requests: String = some.iter().map(|number| named(*number)).collect();
        client.send(requests);
        for _ in some {
            match client.message().0.status() {
                "502 Bad Gateway" => passed += 1,
                status => assert_eq!(status, "429 Too Many Requests"),
            }
        }
    }
    passed
}

/// Whoever can come from as many addresses cannot make the memory grow, nor rid anybody of what
/// they owe.
#[test]
fn memory_is_flat_while_a_hundred_thousand_clients_pass() {
    let settings = [("UPSTREAM", "http://127.0.0.1:1"), BY_HEADER];
    let limited = Limited::start(&[("/", "1/h", 1)], &settings);
    let mut client = limited.server.connect();
    assert_eq!(passed(&mut client, 0..1000), 1000);
    let few = limited.server.program.memory();
    assert_eq!(passed(&mut client, 1000..100_000), 99_000);
    let many = limited.server.program.memory();
    // The table of buckets: 17 bytes for each place, and as many places as the next power of two;
    // and half of that once more while it grows.
    assert!(many < few + (6 << 20), "{few} bytes, and then {many}");

    // The table is full. One of those who come now passes, and all others share its debt.
    assert_eq!(passed(&mut client, 100_000..200_000), 1);
    let more = limited.server.program.memory();
    assert!(more < many + (1 << 20), "{many} bytes, and then {more}");
    limited.server.program.wait_for(
        "there are more clients than can be told apart: those who come anew share one bucket",
    );
    // Nobody's debt is forgotten.
    assert_eq!(passed(&mut client, 0..100_000), 0);
}

#[test]
fn thousands_of_clients_pass_beside_a_greedy_one() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[BY_HEADER]);
    let mut app = None;
    let mut greedy = limited.server.connect();
    passes(&mut greedy, named(0), &limited.upstream, &mut app);
    let mut others = limited.server.connect();
    for number in 1..3000 {
        // Sent, and not waited for: the others come in between.
        greedy.send(named(0));
        passes(&mut others, named(number), &limited.upstream, &mut app);
        assert_eq!(greedy.message().0.status(), "429 Too Many Requests");
    }
}

#[test]
fn thousands_of_connections_that_come_and_go_leave_nothing_behind() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let parts = ["", "GET / HT", "what is this?\r\n\r\n"];
    abuse::connections_come_and_go(&sidecar, &parts, || {
        // The app's connection is not kept for so long.
        passes(&mut sidecar.connect(), GET, &upstream, &mut None);
    });
}

#[test]
fn slow_clients_hold_up_nobody() {
    let upstream = Upstream::new();
    let sidecar = Sidecar::before(&upstream);
    let mut app = None;
    abuse::slow_clients(&sidecar, SLOW, || {
        passes(&mut sidecar.connect(), GET, &upstream, &mut app);
    });
}

#[test]
fn slow_clients_keep_their_places_for_a_limited_time() {
    let upstream = Upstream::new();
    let url = upstream.url();
    let sidecar = Sidecar::start(&[("UPSTREAM", &url), ("HEAD_TIMEOUT", "500ms")]);
    abuse::too_many_slow_clients(&sidecar, SLOW, || {
        passes(&mut sidecar.connect(), GET, &upstream, &mut None);
    });
}

/// An app that hangs holds up those who asked it, and nobody else: there is a connection for each.
#[test]
fn an_app_that_hangs_trickles_or_resets_does_so_to_one_request() {
    let limited = Limited::start(&[("/", "1/h", 10)], &[("TIMEOUT", "1h"), BY_HEADER]);
    let mut hanging = limited.server.send(named(1));
    let mut hung = limited.upstream.accept();
    hung.head();
    let mut trickling = limited.server.send(named(2));
    let mut trickled = limited.upstream.accept();
    trickled.head();
    trickled.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
    let head = trickling.head();
    let mut broken = limited.server.send(named(3));
    let mut reset = limited.upstream.accept();
    reset.head();
    drop(reset);
    assert_eq!(broken.message().0.status(), "502 Bad Gateway");

    let mut app = None;
    for byte in ["o", "k", "!"] {
        passes(
            &mut limited.server.connect(),
            named(4),
            &limited.upstream,
            &mut app,
        );
        trickled.send(byte);
    }
    assert_eq!(trickling.try_body(&head).unwrap(), "ok!");
    hung.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(hanging.head().status(), "200 OK");
}

/// A request that gets no answer has cost a token: it may have cost the app its work.
#[test]
fn a_request_that_fails_has_cost_its_token() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    let mut client = limited.server.send(GET);
    drop(limited.upstream.accept());
    assert_eq!(client.message().0.status(), "502 Bad Gateway");
    refused(&mut client, GET);
}

#[test]
fn what_is_no_request_is_answered_by_the_limiter_itself() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    abuse::what_is_no_request(&limited.server, "/", "");
    // None of them has taken the token.
    let (limited, app) = (&limited, &mut None);
    passes(&mut limited.server.connect(), GET, &limited.upstream, app);
}
