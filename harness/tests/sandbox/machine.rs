//! The engine that this crate is about.

use std::path::PathBuf;
use std::sync::Arc;

use harness::engine::{Engine, Sandbox};

/// The program that becomes the supervisor of the tests' pods.
pub(crate) const SUPERVISOR: &str = env!("CARGO_BIN_EXE_pod-supervisor");

/// The sandbox of this machine and user.
pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::new(PathBuf::from(SUPERVISOR))
        .await
        .unwrap_or_else(|forbidden| panic!("{forbidden}"))
}

pub(crate) async fn engine() -> Arc<dyn Engine> {
    Arc::new(sandbox().await)
}

/// Whether all users of a pod are one to the kernel here.
pub(crate) async fn has_a_single_id() -> bool {
    sandbox().await.ids().is_single()
}

/// How many processes of a pod are not its containers'. The first one.
pub(crate) const OWN_PROCESSES: usize = 1;
