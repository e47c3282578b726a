use std::time::{Duration, Instant};

use sidecar_testing::http::{Server, Upstream};
use sidecar_testing::{ReservedAddress, abuse, eventually};

use super::{NO_ANSWERS, answer, answer_without_end, ok};
use crate::discovery::{LIST, ORDER, discovery};
use crate::{announce, app, ask, registry};

fn serves(discovery: &Server) {
    let (status, ..) = ask(discovery, "GET", "/orders", "", "");
    assert_eq!(status, "200 OK");
}

/// The list of these lines, in this version.
fn list(version: usize, lines: &str) -> String {
    ok(&format!("ETag: \"{version}\"\r\n"), lines)
}

/// The line of a list.
fn line(name: &str, server: &Server) -> String {
    format!("{name} {}\n", server.address)
}

/// A discovery, and the two instances that it knows: `a`, which gets the first request, and another
/// that is well.
fn beside_another(settings: &[(&str, &str)]) -> (Server, Upstream, Server, Server) {
    let (registry, a, b) = (registry("1h"), Upstream::new(), app());
    announce(&registry, "a", &a.host());
    announce(&registry, "b", &b.address.to_string());
    let discovery = discovery(&registry.url(), settings);
    discovery.program.wait_for("instances: a, b");
    (registry, a, b, discovery)
}

#[test]
fn connections_come_and_go() {
    let (registry, app) = (registry("1h"), app());
    announce(&registry, "a", &app.address.to_string());
    let discovery = discovery(&registry.url(), &[]);
    discovery.program.wait_for("instances: a");
    let parts = ["", "GET /orders HT", LIST];
    abuse::connections_come_and_go(&discovery, &parts, || serves(&discovery));
}

#[test]
fn slow_clients_and_what_is_no_request() {
    let (registry, app) = (registry("1h"), app());
    announce(&registry, "a", &app.address.to_string());
    let discovery = discovery(&registry.url(), &[("HEAD_TIMEOUT", "1s")]);
    discovery.program.wait_for("instances: a");
    abuse::what_is_no_request(&discovery, "/orders", "");
    let beginning = "GET /orders HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    abuse::slow_clients(&discovery, beginning, || serves(&discovery));
    abuse::too_many_slow_clients(&discovery, beginning, || serves(&discovery));
    // None of it was taken for a fault of the instance.
    let (_, printed) = discovery.program.end();
    let passed_over = printed.iter().find(|line| line.contains("passed over"));
    assert_eq!(passed_over, None);
}

#[test]
fn an_instance_that_hangs_holds_up_nobody_else() {
    let (_registry, a, _b, discovery) = beside_another(&[("TIMEOUT", "3s")]);
    let mut order = discovery.send(ORDER);
    let hanging = a.accept();
    for _ in 0..20 {
        serves(&discovery);
    }
    assert_eq!(order.message().0.status(), "504 Gateway Timeout");
    let line = discovery.program.line();
    assert_eq!(line, "a does not answer, and is passed over for 1s");
    drop(hanging);
}

#[test]
fn an_instance_that_trickles_does_so_to_one_request() {
    let (_registry, a, _b, discovery) = beside_another(&[]);
    let mut trickled = discovery.send(LIST);
    let mut trickling = a.accept();
    trickling.head();
    // The head as well comes byte by byte, and another instance serves others meanwhile.
    for byte in "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n".chars() {
        serves(&discovery);
        trickling.send(byte.to_string());
    }
    let head = trickled.head();
    for byte in ["y", "e", "s"] {
        trickling.send(byte);
    }
    assert_eq!(trickled.try_body(&head).unwrap(), "yes");
}

#[test]
fn an_answer_that_breaks_off_is_not_complete() {
    let (_registry, a, _b, discovery) = beside_another(&[]);
    let mut client = discovery.send(LIST);
    answer(&a, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let head = client.head();
    client.try_body(&head).expect_err("half an answer is one");
    serves(&discovery);
}

#[test]
fn what_is_no_answer_is_asked_for_elsewhere_and_an_order_is_not_placed_twice() {
    let (registry, a, _b, _) = beside_another(&[]);
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "a".repeat(1_000_000));
    // An instance that says by itself that it is broken has answered.
    for bytes in NO_ANSWERS[..4].iter().copied().chain([&*long]) {
        for (request, status) in [(LIST, "200 OK"), (ORDER, "502 Bad Gateway")] {
            let discovery = discovery(&registry.url(), &[]);
            discovery.program.wait_for("instances: a, b");
            let mut client = discovery.send(request);
            answer(&a, bytes);
            assert_eq!(client.message().0.status(), status, "{bytes:.80}");
            let line = discovery.program.line();
            assert_eq!(line, "a does not answer, and is passed over for 1s");
            serves(&discovery);
        }
    }
}

#[test]
fn a_registry_that_fails_is_away_and_is_asked_again() {
    let (registry, app) = (Upstream::new(), app());
    let discovery = discovery(&registry.url(), &[]);
    answer(&registry, list(0, &line("a0", &app)));
    discovery.program.wait_for("instances: a0");
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "a".repeat(1_000_000));
    let failures = [
        &long,
        // Without its version, a list cannot be asked for again.
        "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nb 127.0.0.1:1\n",
        "HTTP/1.1 200 OK\r\nETag: \"b\"\r\nContent-Length: 20\r\n\r\nb 127.0.0.1:1\n",
        "HTTP/1.1 200 OK\r\nETag: \"b\"\r\nContent-Length: 6\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\nETag: \"b\"\r\nContent-Length: 1\r\n\r\n\0",
    ];
    let fails = |version, fail: &dyn Fn()| {
        fail();
        let before = discovery
            .program
            .wait_for("the registry is away; the last list holds");
        assert_eq!(before, [""; 0]);
        serves(&discovery);
        answer(
            &registry,
            list(version, &line(&format!("a{version}"), &app)),
        );
        assert_eq!(discovery.program.line(), format!("instances: a{version}"));
        assert_eq!(discovery.program.line(), "the registry is there");
    };
    for (number, bytes) in NO_ANSWERS.into_iter().chain(failures).enumerate() {
        fails(number + 1, &|| drop(answer(&registry, bytes)));
    }
    fails(100, &|| answer_without_end(&registry, "b 127.0.0.1:1\n"));
}

/// It has as long as a question may take. Two at once, since that is long.
#[test]
fn a_registry_that_hangs_or_trickles_is_given_up() {
    let app = Server::start(&crate::order_service(), &[("WORK", "50ms")]);
    let registries = [Upstream::new(), Upstream::new()];
    let discoveries = [0, 1].map(|number| discovery(&registries[number].url(), &[]));
    let both = || registries.iter().zip(&discoveries);
    for (registry, discovery) in both() {
        answer(registry, list(1, &line("a", &app)));
        discovery.program.wait_for("instances: a");
    }
    let _hanging = registries[0].accept();
    let mut trickling = registries[1].accept();
    trickling.head();
    trickling.send("HTTP/1.1 200 OK\r\nETag: \"2\"\r\nContent-Length: 100000\r\n\r\n");
    eventually("nobody waits for the rest", || {
        discoveries.iter().for_each(serves);
        trickling.try_send("b").err()
    });
    for (registry, discovery) in both() {
        discovery
            .program
            .wait_for("the registry is away; the last list holds");
        answer(registry, list(2, &line("b", &app)));
        assert_eq!(discovery.program.line(), "instances: b");
        serves(discovery);
    }
}

/// Whatever stands between the two may not know of the wish to wait.
#[test]
fn a_registry_that_keeps_no_question_is_not_asked_without_a_pause() {
    let (registry, app) = (Upstream::new(), app());
    let discovery = discovery(&registry.url(), &[]);
    let begin = Instant::now();
    answer(&registry, list(1, &line("a", &app)));
    for same in [
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        &list(1, &line("a", &app)),
    ] {
        answer(&registry, same);
    }
    answer(&registry, list(2, &line("b", &app)));
    assert!(begin.elapsed() > Duration::from_secs(2));
    assert_eq!(discovery.program.line(), "instances: a");
    assert_eq!(discovery.program.line(), "instances: b");
}

/// A request is tried with each instance once, and so each is there once.
#[test]
fn an_instance_that_is_on_the_list_twice_is_there_once() {
    let (registry, nobody) = (Upstream::new(), ReservedAddress::new());
    let discovery = discovery(&registry.url(), &[]);
    let a = format!("a {}\n", nobody.address);
    let b = format!("b {}\n", nobody.address);
    answer(&registry, list(1, &a));
    discovery.program.wait_for("instances: a");
    answer(&registry, list(2, &format!("{a}{b}{a}")));
    discovery.program.wait_for("instances: a, b");
    let (status, ..) = ask(&discovery, "GET", "/orders", "", "");
    assert_eq!(status, "502 Bad Gateway");
}
