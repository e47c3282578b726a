//! The limiter of chapter 6 as an SDK: what an app links and calls, to have its requests limited
//! before they reach it.
//!
//! An SDK has versions, and an app is built with one of them. Where two of them had two crates'
//! worth of code, here they are two modules: [`v1`] and [`v2`].

mod policy;
mod sdk;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
pub use policy::{RATELIMIT_POLICY, policy};

/// What axum serves: an app, which is told who opened each connection.
pub type Limited = IntoMakeServiceWithConnectInfo<Router, SocketAddr>;

/// The first version: does what the sidecar `rate-limiter` does.
pub mod v1 {
    use axum::Router;

    use crate::Limited;

    /// The app, behind a limiter: what is in the file `LIMITS` is what clients may ask of it.
    ///
    /// # Errors
    ///
    /// If the limits cannot be read. Says so in one line.
    pub fn limited(app: Router) -> anyhow::Result<Limited> {
        crate::sdk::limited(app, false)
    }
}

/// The second version: each answer also tells what the limit is, before anyone meets it.
pub mod v2 {
    use axum::Router;

    use crate::Limited;

    /// As [`v1::limited`](crate::v1::limited), and each answer has the field `RateLimit-Policy`.
    ///
    /// # Errors
    ///
    /// If the limits cannot be read. Says so in one line.
    pub fn limited(app: Router) -> anyhow::Result<Limited> {
        crate::sdk::limited(app, true)
    }
}
