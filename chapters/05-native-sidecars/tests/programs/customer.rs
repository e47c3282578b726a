//! `customer`: each visit begins from the beginning, and only news is told.

use sidecar_testing::http::Upstream;
use sidecar_testing::{Program, ReservedAddress};

use super::collector;

const OPEN: &str = "127.0.0.1: 200 OK, open";

fn customer(shop: &str) -> Program {
    let settings = [("UPSTREAM", shop), ("INTERVAL", "1ms")];
    Program::start(env!("CARGO_BIN_EXE_customer"), &settings)
}

#[test]
fn each_visit_has_a_connection_of_its_own_and_only_news_is_told() {
    let shop = Upstream::new();
    let customer = customer(&shop.url());
    let visits = ["200 OK", "200 OK", "503 Busy", "503 Busy", "200 OK"].map(|status| {
        let mut connection = shop.accept();
        connection.message();
        connection.send(format!(
            "HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nopen"
        ));
        // It is left open, for whoever would use it again.
        connection
    });
    assert_eq!(customer.line(), OPEN);
    assert_eq!(customer.line(), "127.0.0.1: 503 Service Unavailable, open");
    assert_eq!(customer.line(), OPEN);
    drop(visits);
}

#[test]
fn a_shop_that_does_not_listen_is_news() {
    let reserved = ReservedAddress::new();
    let listen = reserved.address.to_string();
    let customer = customer(&format!("http://{listen}"));
    let refused = "127.0.0.1: Connection refused (os error 111)";
    assert_eq!(customer.line(), refused);
    let collector = collector();
    let settings = [("UPSTREAM", &*collector.url()), ("LISTEN", &*listen)];
    let shop = Program::start(env!("CARGO_BIN_EXE_shop"), &settings);
    assert_eq!(customer.line(), OPEN);
    shop.end();
    customer.wait_for(refused);
}

#[test]
fn told_to_end_in_the_middle_of_a_visit_it_leaves() {
    let shop = Upstream::new();
    let customer = customer(&shop.url());
    let mut visit = shop.accept();
    visit.message();
    let (status, printed) = customer.end();
    assert_eq!((status.code(), printed), (Some(0), Vec::new()));
}
