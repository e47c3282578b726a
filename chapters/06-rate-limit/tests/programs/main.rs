//! What the programs of chapter 6 promise, tested from outside, with bytes over sockets and
//! without any engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod customers;
mod limiting;
mod order_service;
mod sidecar;

// What holds for each sidecar that forwards, tried on this one.
#[path = "../../../03-output-interceptor/tests/programs/failures.rs"]
mod failures;
#[path = "../../../03-output-interceptor/tests/programs/forwarding.rs"]
mod forwarding;
#[path = "../../../03-output-interceptor/tests/programs/smuggling.rs"]
mod smuggling;
