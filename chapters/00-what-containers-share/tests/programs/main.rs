//! What the programs of chapter 0 promise, tested from outside, without any engine. On one machine
//! everything is shared; that containers do not share it is for the engines to show.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod neighbour;
mod pair;
