//! The kubelet, over a runtime that only plays its part, in a time that passes as the tests say:
//! what would take a node ten minutes is judged to the tenth of a second, at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod ends;
mod hooks;
mod kit;
mod objects;
mod probes;
mod restarts;
mod starts;
