//! The engine that this crate is about.

use std::path::Path;
use std::sync::Arc;

use harness::engine::{Docker, Engine};
use tokio::sync::OnceCell;

/// The engine on the daemon of this machine.
pub(crate) async fn docker() -> Arc<Docker> {
    static ENGINE: OnceCell<Arc<Docker>> = OnceCell::const_new();
    let open = async || {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let engine = Docker::new(workspace, |_| {}).await;
        Arc::new(engine.unwrap_or_else(|error| panic!("{error:#}")))
    };
    ENGINE.get_or_init(open).await.clone()
}

pub(crate) async fn engine() -> Arc<dyn Engine> {
    docker().await
}

/// A daemon is root's.
pub(crate) async fn has_a_single_id() -> bool {
    false
}

/// How many processes of a pod are not its containers'. The pause container's: the first one, and the harness's hand.
pub(crate) const OWN_PROCESSES: usize = 2;
