//! What the programs of chapter 2 promise, tested from outside, without any engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod naive;
mod sidecar;
