//! The book as it is read: built, served, and opened in a browser.
//!
//! Needs `chromium` and `chromedriver`, and npm for axe-core:
//! `cargo test --package xtask --features browser --test book`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod kit;
mod navigation;
mod pages;
