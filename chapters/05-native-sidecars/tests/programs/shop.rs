//! `shop`: it does not open without its log, and its last line is the one of its end.

use sidecar_testing::http::Server;
use sidecar_testing::{Program, ReservedAddress, Signal};

use super::{ask, collector};

const SHOP: &str = env!("CARGO_BIN_EXE_shop");

#[test]
fn without_a_collector_it_dies() {
    let nobody = ReservedAddress::new();
    let url = format!("http://{}", nobody.address);
    let (status, printed) = Program::start(SHOP, &[("UPSTREAM", &url)]).ended();
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        printed,
        [r#"cannot log "open": Connection refused (os error 111)"#]
    );
}

#[test]
fn it_logs_its_opening_each_sale_and_its_end() {
    let collector = collector();
    let shop = Server::start(SHOP, &[("UPSTREAM", &collector.url()), ("CLOSING", "1ms")]);
    assert_eq!(ask(&shop, "GET", "/", ""), "200 OK: open");
    for _ in 0..2 {
        assert_eq!(ask(&shop, "POST", "/sales", ""), "200 OK: sold");
    }
    let (status, printed) = shop.program.end();
    assert_eq!((status.code(), printed), (Some(0), Vec::new()));
    for line in ["open", "sale 1", "sale 2", "closed, 2 sold"] {
        assert_eq!(collector.program.line(), line);
    }
}

#[test]
fn a_collector_that_ends_first_costs_it_its_last_line() {
    let collector = collector();
    let shop = Server::start(SHOP, &[("UPSTREAM", &collector.url())]);
    assert_eq!(ask(&shop, "POST", "/sales", ""), "200 OK: sold");
    collector.program.end();
    assert_eq!(
        ask(&shop, "POST", "/sales", ""),
        "503 Service Unavailable: "
    );
    let (status, printed) = shop.program.end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        printed,
        [
            r#"cannot log "sale 2": Connection refused (os error 111)"#,
            r#"cannot log "closed, 2 sold": Connection refused (os error 111)"#
        ]
    );
}

/// However late the sidecar's hook comes, the shop's waits for it.
#[test]
fn its_hook_returns_when_that_of_the_collector_has_run() {
    let collector = collector();
    let address = collector.address.to_string();
    let settings = [("UPSTREAM", collector.url())];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let hook = Program::start_with(SHOP, &["pre-stop"], &settings);
    // It waits for something, and there is nothing else that it could wait for.
    hook.freeze();
    hook.signal(Signal::CONT);

    let of_collector = Program::start_with(
        env!("CARGO_BIN_EXE_log-collector"),
        &["pre-stop"],
        &[("LISTEN", &address)],
    );
    assert_eq!(of_collector.ended().0.code(), Some(0));
    assert_eq!(hook.ended().0.code(), Some(0));
    assert_eq!(collector.program.line(), "preStop of the sidecar");
    assert_eq!(
        collector.program.line(),
        "preStop of the shop: the sidecar's has run"
    );
}
