//! The sandbox engine, run with real pods whose containers do what each test says. Nothing here
//! measures time: a test waits for what it wants to see.
//!
//! What a machine or a user cannot do, the tests leave out, and say so on standard error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod escapes;
mod limits;
mod machine;
#[path = "../pods/mod.rs"]
mod pods;
mod single_id;
mod traces;
