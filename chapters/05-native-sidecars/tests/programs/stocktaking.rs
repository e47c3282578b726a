//! `stocktaking`: counts, and has done its work.

use std::io::Read;
use std::net::TcpListener;

use sidecar_testing::{Program, ReservedAddress};

use super::collector;

const STOCKTAKING: &str = env!("CARGO_BIN_EXE_stocktaking");

#[test]
fn counts_and_ends() {
    let collector = collector();
    let (status, printed) = Program::start(STOCKTAKING, &[("UPSTREAM", &collector.url())]).ended();
    assert_eq!((status.code(), printed), (Some(0), Vec::new()));
    for line in [
        "bread counted",
        "milk counted",
        "tea counted",
        "all counted",
    ] {
        assert_eq!(collector.program.line(), line);
    }
}

#[test]
fn without_a_collector_it_fails() {
    let nobody = ReservedAddress::new();
    let url = format!("http://{}", nobody.address);
    let (status, printed) = Program::start(STOCKTAKING, &[("UPSTREAM", &url)]).ended();
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        printed,
        [r#"cannot log "bread counted": Connection refused (os error 111)"#]
    );
}

#[test]
fn told_to_end_before_all_is_counted_it_fails() {
    // A collector that takes a line and does not answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let program = Program::start(STOCKTAKING, &[("UPSTREAM", &url)]);
    let (mut connection, _) = silent.accept().unwrap();
    connection.read_exact(&mut [0; 4]).unwrap();
    let (status, printed) = program.end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(printed, ["told to end before all was counted"]);
}
