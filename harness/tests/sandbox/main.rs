//! The sandbox engine, run with real pods whose containers do what each test says. Nothing here
//! measures time: a test waits for what it wants to see.
//!
//! What a machine or a user cannot do, the tests leave out, and say so on standard error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod containers;
mod endings;
mod escapes;
mod identities;
mod kit;
mod lifecycle;
mod limits;
mod network;
mod traces;
mod volumes;
