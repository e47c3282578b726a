//! What the programs of chapter 9 promise, tested from outside, with bytes over sockets and
//! without any engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
mod limiting;
