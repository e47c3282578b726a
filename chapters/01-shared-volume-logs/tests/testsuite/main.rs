//! What the programs of this chapter promise, asked of the programs themselves: over files,
//! signals and sockets, without any engine.

#![allow(
    clippy::unwrap_used,
    reason = "what is not as it should be ends the test"
)]

mod costs;
mod interleavings;
mod lines;
mod offsets;
mod paths;
mod restarts;
mod rotation;
mod steps;
mod support;
mod truncation;
mod webserver;
