//! The sidecar that announces.

use std::process::Command;

use sidecar_testing::http::Server;
use sidecar_testing::{Program, eventually};

use crate::{app, list, order_service, registry};

pub(crate) fn registrar(app: &str, registry: &str, more: &[(&str, &str)]) -> Server {
    let settings = [
        ("UPSTREAM", app),
        ("REGISTRY", registry),
        ("INSTANCE", "orders-1"),
        ("ADDRESS", "10.0.0.1:8080"),
        ("INTERVAL", "20ms"),
    ];
    Server::start(env!("CARGO_BIN_EXE_registrar"), &[&settings, more].concat())
}

const ENTRY: &str = "orders-1 10.0.0.1:8080\n";

#[test]
fn an_app_is_announced_once_it_is_ready_and_withdrawn_when_the_hook_says_so() {
    let registry = registry("1m");
    // Nobody listens there yet.
    let reserved = sidecar_testing::ReservedAddress::new();
    let url = format!("http://{}", reserved.address);
    let registrar = registrar(&url, &registry.url(), &[]);
    drop(registrar.connect());
    assert_eq!(list(&registry).0, "");
    let listen = reserved.address.to_string();
    let _app = Program::start(&order_service(), &[("LISTEN", &listen)]);
    assert_eq!(registrar.program.line(), "orders-1 is announced");
    assert_eq!(list(&registry).0, ENTRY);
    let hook = Command::new(env!("CARGO_BIN_EXE_registrar"))
        .arg("withdraw")
        .env("LISTEN", registrar.address.to_string())
        .status();
    assert!(hook.unwrap().success());
    assert_eq!(list(&registry).0, "", "it is gone when the hook returns");
    let line = registrar.program.line();
    assert_eq!(line, "orders-1 is withdrawn: the pod is told to end");
    let (status, printed) = registrar.program.end();
    assert!(status.success());
    assert_eq!(printed, [""; 0], "it is not announced again");
    let (_, printed) = registry.program.end();
    assert_eq!(printed, ["orders-1 is announced", "orders-1 is withdrawn"]);
}

#[test]
fn an_app_that_is_no_longer_ready_is_withdrawn() {
    let (registry, app) = (registry("300ms"), app());
    let registrar = registrar(&app.url(), &registry.url(), &[]);
    assert_eq!(registrar.program.line(), "orders-1 is announced");
    app.program.end();
    let line = registrar.program.line();
    assert_eq!(line, "orders-1 is withdrawn: its app is not ready");
    assert_eq!(list(&registry).0, "");
}

#[test]
fn a_registry_that_is_started_again_hears_of_the_app_again() {
    let (first, app) = (registry("300ms"), app());
    let registrar = registrar(&app.url(), &first.url(), &[]);
    assert_eq!(registrar.program.line(), "orders-1 is announced");
    let listen = first.address.to_string();
    let Server { program, .. } = first;
    program.end();
    assert!(
        registrar
            .program
            .line()
            .starts_with("trouble: the registry does not answer")
    );
    let settings = [("LISTEN", &*listen), ("LEASE", "300ms")];
    let second = eventually("the address is free", || {
        let second = Program::start(env!("CARGO_BIN_EXE_registry"), &settings);
        (second.line() == "orders-1 is announced").then_some(second)
    });
    drop(second);
}

#[test]
fn what_is_missing_is_named() {
    let (status, printed) = Program::start(env!("CARGO_BIN_EXE_registrar"), &[]).ended();
    assert_eq!(status.code(), Some(1));
    assert_eq!(
        printed,
        ["set INSTANCE to the name of the pod: environment variable not found"]
    );
}
