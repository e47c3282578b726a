//! The registry.

use crate::{announce, ask, list, registry};

#[test]
fn it_lists_who_is_announced_and_not_withdrawn() {
    let registry = registry("1m");
    assert_eq!(list(&registry).0, "");
    announce(&registry, "b", "10.0.0.2:8080");
    announce(&registry, "a", "10.0.0.1:8080");
    announce(&registry, "a", "10.0.0.1:8080");
    assert_eq!(list(&registry).0, "a 10.0.0.1:8080\nb 10.0.0.2:8080\n");
    let (status, _, _) = ask(&registry, "DELETE", "/services/orders/a", "", "");
    assert_eq!(status, "204 No Content");
    assert_eq!(list(&registry).0, "b 10.0.0.2:8080\n");
    let (_, printed) = registry.program.end();
    assert_eq!(
        printed,
        ["b is announced", "a is announced", "a is withdrawn"]
    );
}

#[test]
fn who_waits_is_told_of_a_change_and_of_nothing_else() {
    let registry = registry("1m");
    announce(&registry, "a", "10.0.0.1:8080");
    let (_, tag) = list(&registry);
    let same = format!("if-none-match: {tag}\r\n");
    let (status, ..) = ask(&registry, "GET", "/services/orders", &same, "");
    assert_eq!(status, "304 Not Modified", "who does not want to wait");
    let mut waits = registry.send(format!(
        "GET /services/orders HTTP/1.1\r\nhost: x\r\n{same}prefer: wait=60\r\n\r\n"
    ));
    // A lease that is renewed is no news, and neither is another service.
    announce(&registry, "a", "10.0.0.1:8080");
    let (status, ..) = ask(&registry, "PUT", "/services/bills/a", "", "10.0.0.9:1");
    assert_eq!(status, "200 OK");
    announce(&registry, "b", "10.0.0.2:8080");
    let (head, list) = waits.message();
    assert_eq!(head.status(), "200 OK");
    assert_ne!(head.get("etag"), Some(&*tag));
    assert_eq!(list, "a 10.0.0.1:8080\nb 10.0.0.2:8080\n");
}

#[test]
fn whoever_is_silent_is_forgotten_and_watchers_are_told() {
    let registry = registry("200ms");
    announce(&registry, "a", "10.0.0.1:8080");
    let (list, tag) = list(&registry);
    if list.is_empty() {
        // This machine took longer than a lease for two requests.
        return;
    }
    let more = format!("if-none-match: {tag}\r\nprefer: wait=60\r\n");
    let (status, _, list) = ask(&registry, "GET", "/services/orders", &more, "");
    assert_eq!((&*status, &*list), ("200 OK", ""));
    registry.program.wait_for("the lease of a has run out");
}

#[test]
fn it_keeps_nobody_waiting_when_it_ends() {
    let registry = registry("1m");
    announce(&registry, "a", "10.0.0.1:8080");
    let (_, tag) = list(&registry);
    let request = format!(
        "GET /services/orders HTTP/1.1\r\nhost: x\r\nif-none-match: {tag}\r\nprefer: wait=60\r\n\r\n"
    );
    let mut connection = registry.send(request);
    let (status, _) = registry.program.end();
    assert!(status.success());
    // Unless it was told to end before it had read the question.
    if let Ok(head) = connection.try_head() {
        assert_eq!(head.status(), "503 Service Unavailable");
    }
}

#[test]
fn what_is_no_announcement_is_refused() {
    let registry = registry("1m");
    let long = "1".repeat(1000);
    let too_long = format!("/services/orders/{}", "a".repeat(64));
    for (path, address, answer) in [
        ("/services/orders/a", "10.0.0.1", "no address"),
        ("/services/orders/a", &*long, "no address"),
        ("/services/orders/a%20b", "10.0.0.1:1", "a name has letters"),
        ("/services/or_ders/a", "10.0.0.1:1", "a name has letters"),
        (&*too_long, "10.0.0.1:1", "a name has letters"),
    ] {
        let (status, _, body) = ask(&registry, "PUT", path, "", address);
        assert_eq!(status, "400 Bad Request");
        assert!(body.contains(answer), "{body}");
    }
    let (status, _, why) = ask(&registry, "PUT", "/services", "", "10.0.0.1:1");
    assert_eq!(status, "404 Not Found");
    assert!(why.contains("PUT and DELETE"), "{why}");
    assert_eq!(list(&registry).0, "");
}
