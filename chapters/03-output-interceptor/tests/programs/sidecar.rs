//! The sidecar under test.

use sidecar_testing::http::{Server, Upstream};

/// Starts `sidecar-output`.
pub(crate) struct Sidecar;

impl Sidecar {
    /// How it signs what it forwards.
    pub(crate) const VIA: &str = "1.1 sidecar-output";

    /// With these settings and an address to listen on.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Server {
        Server::start(env!("CARGO_BIN_EXE_sidecar-output"), settings)
    }

    /// Before an upstream that is played by the test.
    pub(crate) fn before(upstream: &Upstream) -> Server {
        Self::start(&[("UPSTREAM", &upstream.url()), ("TIMEOUT", "1h")])
    }
}
