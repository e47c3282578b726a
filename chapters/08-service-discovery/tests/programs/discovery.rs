//! The sidecar that finds the app. The test plays the instances.

use sidecar_testing::http::{Server, Upstream};

use crate::{announce, ask, registry};

pub(crate) fn discovery(registry: &str, settings: &[(&str, &str)]) -> Server {
    let mut all = vec![("REGISTRY", registry), ("TIMEOUT", "60s")];
    all.extend(settings);
    Server::start(env!("CARGO_BIN_EXE_discovery"), &all)
}

pub(crate) const ORDER: &str = "POST /orders HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\ntea";
pub(crate) const LIST: &str = "GET /orders HTTP/1.1\r\nhost: x\r\n\r\n";
const YES: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";

/// A discovery that knows the instances `a` and `b`. Equals take turns, and `a` begins.
fn two(registry: &Server, a: &Upstream, b: &Upstream) -> Server {
    announce(registry, "a", &a.host());
    announce(registry, "b", &b.host());
    let discovery = discovery(&registry.url(), &[]);
    discovery.program.wait_for("instances: a, b");
    discovery
}

#[test]
fn who_works_on_the_fewest_gets_the_next_request() {
    let (registry, a, b) = (registry("1m"), Upstream::new(), Upstream::new());
    let discovery = two(&registry, &a, &b);
    let mut first = discovery.send(LIST);
    let mut at_a = a.accept();
    at_a.head();
    let mut second = discovery.send(LIST);
    let mut at_b = b.accept();
    at_b.head();
    at_b.send(YES);
    assert_eq!(second.message().1, "yes");
    // By turns, the next one would be for `a`.
    let mut third = discovery.send(LIST);
    at_b.head();
    at_b.send(YES);
    assert_eq!(third.message().1, "yes");
    a.has_no_further_connection();
    at_a.send(YES);
    assert_eq!(first.message().1, "yes");
}

#[test]
fn an_order_that_was_sent_is_not_sent_again() {
    let (registry, a, b) = (registry("1m"), Upstream::new(), Upstream::new());
    let discovery = two(&registry, &a, &b);
    let mut client = discovery.send(ORDER);
    let mut at_a = a.accept();
    let head = at_a.head();
    assert_eq!(at_a.try_body(&head).unwrap(), "tea");
    drop(at_a);
    let (head, _) = client.message();
    assert_eq!(head.status(), "502 Bad Gateway");
    b.has_no_further_connection();
    let line = discovery.program.line();
    assert_eq!(line, "a does not answer, and is passed over for 1s");
}

#[test]
fn a_question_that_was_sent_is_asked_elsewhere() {
    let (registry, a, b) = (registry("1m"), Upstream::new(), Upstream::new());
    let discovery = two(&registry, &a, &b);
    let mut client = discovery.send(LIST);
    let mut at_a = a.accept();
    at_a.head();
    drop(at_a);
    let mut at_b = b.accept();
    let head = at_b.head();
    assert!(head.start.starts_with("GET /orders"), "{head:?}");
    at_b.send(YES);
    assert_eq!(client.message().1, "yes");
}

#[test]
fn what_was_not_sent_goes_to_another_whatever_it_asks() {
    let (registry, a) = (registry("1m"), Upstream::new());
    // Nobody listens at the other address.
    let nobody = sidecar_testing::ReservedAddress::new();
    announce(&registry, "a", &a.host());
    announce(&registry, "b", &nobody.address.to_string());
    let discovery = discovery(&registry.url(), &[]);
    discovery.program.wait_for("instances: a, b");
    let mut connection = None;
    for _ in 0..4 {
        let mut client = discovery.send(ORDER);
        let at_a = connection.get_or_insert_with(|| a.accept());
        let head = at_a.head();
        assert_eq!(at_a.try_body(&head).unwrap(), "tea");
        at_a.send(YES);
        assert_eq!(client.message().1, "yes");
    }
    let (_, printed) = discovery.program.end();
    assert_eq!(printed, ["b does not answer, and is passed over for 1s"]);
}

#[test]
fn without_the_registry_the_last_list_holds() {
    let (registry, a) = (registry("1m"), Upstream::new());
    announce(&registry, "a", &a.host());
    let discovery = discovery(&registry.url(), &[]);
    discovery.program.wait_for("instances: a");
    registry.program.end();
    discovery
        .program
        .wait_for("the registry is away; the last list holds");
    let mut client = discovery.send(LIST);
    let mut at_a = a.accept();
    at_a.head();
    at_a.send(YES);
    assert_eq!(client.message().1, "yes");
}

#[test]
fn without_instances_it_says_so_and_is_not_ready() {
    let registry = registry("1m");
    let discovery = discovery(&registry.url(), &[]);
    for path in ["/orders", "/-/ready"] {
        let (status, _, body) = ask(&discovery, "GET", path, "", "");
        assert_eq!(status, "503 Service Unavailable");
        assert_eq!(body, "no instance is known yet\n");
    }
    announce(&registry, "a", "127.0.0.1:1");
    discovery.program.wait_for("instances: a");
    let (status, ..) = ask(&discovery, "GET", "/-/ready", "", "");
    assert_eq!(status, "200 OK");
}
