//! What the programs of chapter 7 promise, tested from outside, with bytes over sockets and
//! without any engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod headers;
mod issuer;
mod keys;
mod kit;
mod memory;
mod naive;
mod settings;
mod tokens;
