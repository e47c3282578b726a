//! The customers, and what they get with a limiter and without one.

use sidecar_testing::Program;
use sidecar_testing::http::Server;

use crate::sidecar::text;

fn customers(upstream: &str) -> Vec<String> {
    let settings = [("UPSTREAM", upstream), ("ORDERS", "20")];
    let program = Program::start(env!("CARGO_BIN_EXE_customers"), &settings);
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.starts_with("greedy: "))
    {
        lines.push(program.line());
    }
    let (status, more) = program.end();
    assert!(status.success());
    lines.extend(more);
    lines
}

fn app() -> Server {
    let settings = [("WORKERS", "1"), ("WORK", "20ms")];
    Server::start(env!("CARGO_BIN_EXE_order-service"), &settings)
}

const BEGIN: [&str; 2] = [
    "the greedy customer places 20 orders at once",
    "the patient customer places one order",
];

#[test]
fn without_a_limiter_one_makes_the_other_wait() {
    let app = app();
    let lines = customers(&app.url());
    assert_eq!(lines[..2], BEGIN);
    assert_eq!(
        lines[2..],
        [
            "patient: 201 Created, order 21 for somebody: tea",
            "greedy: 20 times 201 Created"
        ]
    );
}

#[test]
fn with_one_the_other_does_not_notice() {
    let app = app();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.toml");
    std::fs::write(&file, text(&[("/orders", "1/h", 3)])).unwrap();
    let url = app.url();
    let limits = file.display().to_string();
    let settings = [
        ("UPSTREAM", &*url),
        ("LIMITS", &*limits),
        ("CLIENT_HEADER", "X-Forwarded-For"),
    ];
    let limiter = Server::start(env!("CARGO_BIN_EXE_rate-limiter"), &settings);
    let lines = customers(&limiter.url());
    assert_eq!(lines[..2], BEGIN);
    assert_eq!(
        lines[2..],
        [
            "patient: 201 Created, order 4 for somebody: tea",
            "greedy: 3 times 201 Created",
            "greedy: 17 times 429 Too Many Requests, Retry-After: 3600"
        ]
    );
    // Two limiters in turn let through twice as much.
    let limiters = [0, 1].map(|_| Server::start(env!("CARGO_BIN_EXE_rate-limiter"), &settings));
    let urls = limiters.each_ref().map(Server::url).join(",");
    let lines = customers(&urls);
    assert_eq!(lines[3], "greedy: 6 times 201 Created");
}
