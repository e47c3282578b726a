//! A rate limiter: for each client and each path that is limited, a bucket of tokens. It fills at
//! the limit's rate and holds as many as its burst; a request takes a token, or is told how long
//! to wait for the next one.
//!
//! It is a library because the same limiter is used in two ways: by the sidecar of this chapter,
//! and as an SDK in the app itself (chapter 9).

mod bucket;
mod client;
mod file;
mod limiter;
mod limits;
mod log;

pub use client::{Client, ClientHeader};
pub use file::LimitsFile;
pub use limiter::{Limiter, Wait};
pub use limits::{Limit, Limits};
pub use log::Log;
