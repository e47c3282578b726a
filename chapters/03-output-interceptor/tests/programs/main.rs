//! What the programs of chapter 3 promise, tested from outside, with bytes over sockets and
//! without any engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ending;
mod failures;
mod forwarding;
mod hello;
mod naive;
mod sidecar;
mod smuggling;
mod workload;
