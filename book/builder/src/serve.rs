//! Serves the book on this machine, builds it again when a file of it changes, and has the
//! browser load it again.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::routing::get;
use harness::workspace::Workspace;
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tower_http::services::ServeDir;

use crate::{CommandLine, build_with};

/// What the book is made from.
const SOURCES: [&str; 7] = [
    "book",
    "chapters",
    "exercises",
    "faults",
    "harness",
    "kit",
    "manifests",
];

/// Where a page learns that it was built again.
const RELOAD: &str = "built-again";

/// A file that was written is often written again at once.
const SETTLED: Duration = Duration::from_millis(100);

/// Serves the book from `folder` on 127.0.0.1 until it is told to stop. `port` 0 takes a free
/// one. `built` is told of each build: the book's address, and how the build went.
///
/// # Errors
///
/// If the port is taken, or files cannot be watched.
pub async fn serve(
    workspace: &Workspace,
    program: &dyn CommandLine,
    folder: &Path,
    port: u16,
    mut built: impl FnMut(&str, anyhow::Result<usize>),
) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| {
        format!("cannot listen on 127.0.0.1:{port}; `--port 0` takes a port that is free")
    })?;
    let address = format!("http://{}/", listener.local_addr()?);

    let (changed, mut changes) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // To build it is to read it, which is no change.
        let is_change = event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_)));
        if is_change {
            let _ = changed.send(());
        }
    })
    .context("cannot watch files")?;
    for source in SOURCES {
        watcher
            .watch(&workspace.root().join(source), RecursiveMode::Recursive)
            .with_context(|| format!("cannot watch {source}"))?;
    }

    let (rebuilt, rebuilds) = watch::channel(());
    let reload = async move |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(move |page| tell_to_reload(page, rebuilds))
    };
    let app = Router::new()
        .route(&format!("/{RELOAD}"), get(reload))
        .fallback_service(ServeDir::new(folder));
    tokio::spawn(axum::serve(listener, app).into_future());

    loop {
        built(
            &address,
            build_with(workspace, program, folder, Some(RELOAD)),
        );
        rebuilt.send_replace(());
        changes
            .recv()
            .await
            .context("files are no longer watched")?;
        while let Ok(Some(())) = tokio::time::timeout(SETTLED, changes.recv()).await {}
    }
}

/// Has a page load itself again when the book was built again.
async fn tell_to_reload(mut page: WebSocket, mut rebuilds: watch::Receiver<()>) {
    rebuilds.mark_unchanged(); // The page is of the last build.
    tokio::select! {
        Ok(()) = rebuilds.changed() => {
            // A page that has been left need not be told.
            let _ = page.send("reload".into()).await;
        }
        _ = page.recv() => {}
    }
}
