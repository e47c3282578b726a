//! The docker engine: what every engine does, and what this one leaves on its daemon.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod by_hand;
mod machine;
#[path = "../pods/mod.rs"]
mod pods;
mod remains;
#[path = "../typed/mod.rs"]
mod typed;
