//! What every sidecar that takes requests is made of: connections that are served side by side,
//! and requests that are passed on by the rules of HTTP. What a sidecar does with a request is
//! its own affair, and is what it implements [`Sidecar`] for.
//!
//! The chapters after this one that stand between an app and those who call it are built on the
//! same pieces.

mod answer;
mod forward;
mod headers;
mod serve;
mod upstream;

pub use answer::{Answer, Refusal, answer};
pub use forward::{Failed, Outgoing, forward};
pub use headers::Pseudonym;
pub use serve::{Client, Sidecar, serve};
pub use upstream::{Address, Upstream};

/// The longest head of a message in bytes, and the most that is buffered of a body.
const BUFFER: usize = 64 * 1024;
