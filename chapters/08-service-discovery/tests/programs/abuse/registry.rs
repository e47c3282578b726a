use sidecar_testing::abuse;
use sidecar_testing::http::Server;

use crate::{announce, ask, list};

const ENTRY: &str = "a 10.0.0.1:8080\n";

/// A registry that lists one instance, and keeps listing it.
fn one(settings: &[(&str, &str)]) -> Server {
    let registry = Server::start(env!("CARGO_BIN_EXE_registry"), settings);
    announce(&registry, "a", "10.0.0.1:8080");
    registry
}

fn lists(registry: &Server) {
    assert_eq!(list(registry).0, ENTRY);
}

/// The question of who has the list with this tag, and waits for the next one.
fn question(tag: &str) -> String {
    format!(
        "GET /services/orders HTTP/1.1\r\nhost: x\r\nif-none-match: {tag}\r\nprefer: wait=60\r\n\r\n"
    )
}

#[test]
fn connections_and_watchers_come_and_go() {
    let registry = one(&[("LEASE", "1h")]);
    let watcher = question(&list(&registry).1);
    let parts = ["", "PUT /services/orders/b HT", &watcher];
    abuse::connections_come_and_go(&registry, &parts, || lists(&registry));
}

#[test]
fn slow_clients_hold_up_nobody() {
    let registry = one(&[("LEASE", "1h"), ("HEAD_TIMEOUT", "1s")]);
    let beginning = "GET /services/orders HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    abuse::slow_clients(&registry, beginning, || lists(&registry));
    abuse::too_many_slow_clients(&registry, beginning, || lists(&registry));
}

#[test]
fn what_is_no_request_is_refused() {
    let registry = one(&[("LEASE", "1h")]);
    for path in ["/services/orders", "/services/orders/b", "/", "/ready/"] {
        abuse::what_is_no_request(&registry, path, "");
    }
    lists(&registry);
}

#[test]
fn an_announcement_that_does_not_end_is_refused() {
    let registry = one(&[("LEASE", "1h")]);
    let head = "PUT /services/orders/b HTTP/1.1\r\nHost: a\r\n";
    let mut slow = registry.send(format!("{head}Content-Length: 13\r\n\r\n10.0.0.2"));
    assert_eq!(slow.message().0.status(), "408 Request Timeout");
    slow.is_closed_by_the_other_end();

    let mut endless = registry.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    let piece = format!("1000\r\n{}\r\n", "1".repeat(0x1000));
    let taken = (0..10_000).take_while(|_| endless.try_send(&piece).is_ok());
    assert!(taken.count() < 10_000, "all of it is read");
    lists(&registry);
}

/// Without a limit, those who wait would take all places, and no lease could be renewed.
#[test]
fn too_many_watchers_keep_nobody_from_announcing() {
    let registry = one(&[("LEASE", "1h")]);
    let watcher = question(&list(&registry).1);
    let mut watchers = Vec::from_iter((0..1000).map(|_| registry.send(&watcher)));
    announce(&registry, "b", "10.0.0.2:8080");
    let (mut told, mut sent_away) = (0, 0);
    for watcher in &mut watchers {
        let (head, body) = watcher.message();
        match head.status() {
            "200 OK" => {
                assert_eq!(body, "a 10.0.0.1:8080\nb 10.0.0.2:8080\n");
                told += 1;
            }
            status => {
                assert_eq!(status, "304 Not Modified");
                assert_eq!(head.get("connection"), Some("close"));
                sent_away += 1;
            }
        }
    }
    assert!(told >= 200, "{told} were told, and {sent_away} sent away");
    assert!(sent_away > 0);
}

#[test]
fn a_full_registry_refuses_more_and_keeps_those_it_has() {
    let registry = Server::start(env!("CARGO_BIN_EXE_registry"), &[("LEASE", "1h")]);
    let mut client = registry.connect();
    let mut put = |service: &str, number: u32| {
        let address = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
        client.send(format!(
            "PUT /services/{service}/{number:a>63} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{address}",
            address.len()
        ));
        client.message().0.status().to_owned()
    };
    for number in 0..1000 {
        assert_eq!(put("orders", number), "200 OK");
    }
    for service in ["orders", "bills"] {
        assert_eq!(put(service, 1000), "507 Insufficient Storage");
    }
    assert_eq!(put("orders", 7), "200 OK");
    // All places are taken by those who ask for the long list, and do not read it.
    let memory = registry.program.memory();
    let question = "GET /services/orders HTTP/1.1\r\nHost: a\r\n\r\n";
    let hanging = Vec::from_iter((0..350).map(|_| registry.send(question)));
    assert_eq!(list(&registry).0.lines().count(), 1000);
    let after = registry.program.memory();
    // A list for each.
    assert!(after < memory + (48 << 20), "{memory} bytes, then {after}");
    drop(hanging);
}

#[test]
fn services_that_come_and_go_leave_nothing_behind() {
    let registry = one(&[("LEASE", "1h")]);
    let mut client = registry.connect();
    let mut come_and_go = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let path = format!("/services/{number:s>60}/b");
            client.send(format!(
                "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n10.0.0.1:1\
                 DELETE {path} HTTP/1.1\r\nHost: a\r\n\r\n"
            ));
            assert_eq!(client.message().0.status(), "200 OK");
            assert_eq!(client.message().0.status(), "204 No Content");
        }
    };
    come_and_go(0..1000);
    let memory = registry.program.memory();
    come_and_go(1000..10_000);
    let after = registry.program.memory();
    assert!(after < memory + (1 << 20), "{memory} bytes, then {after}");
    let (status, ..) = ask(&registry, "GET", "/ready", "", "");
    assert_eq!(status, "200 OK");
    lists(&registry);
}
