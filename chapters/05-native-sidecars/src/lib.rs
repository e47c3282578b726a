//! What the apps of this chapter share: they keep no log of their own, and send each line of it to
//! the sidecar beside them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use axum::Router;
use reqwest::{Client, Url};
use sidecar_kit::cause;
use tokio::net::TcpListener;

/// Longer than this no app waits for the sidecar to take a line.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The way to the sidecar that keeps the log.
#[derive(Clone, Debug)]
pub struct Log {
    client: Client,
    /// Where the sidecar takes lines.
    lines: Url,
}

impl Log {
    /// A log that the collector at this URL keeps.
    ///
    /// # Errors
    ///
    /// If the URL can have no path.
    pub fn new(collector: &Url) -> anyhow::Result<Self> {
        Ok(Self {
            client: client()?,
            lines: collector.join("/lines")?,
        })
    }

    // ANCHOR: line
    /// Has the sidecar keep a line, and returns when it has it. There is no second attempt: what
    /// these apps say of their sidecars is told by the first one that fails.
    ///
    /// # Errors
    ///
    /// If the sidecar cannot be reached, or does not take the line.
    pub async fn line(&self, line: String) -> anyhow::Result<()> {
        let request = self.client.post(self.lines.clone()).body(line.clone());
        let answer = request
            .send()
            .await
            .map_err(|error| anyhow!("{}", cause(&error)));
        let answer = answer.with_context(|| format!("cannot log \"{line}\""))?;
        let status = answer.status();
        ensure!(status.is_success(), "cannot log \"{line}\": {status}");
        Ok(())
    }
    // ANCHOR_END: line
}

/// A client that opens a connection for each request: one that is kept would tell that the other
/// side has ended, and not that nobody listens there.
///
/// # Errors
///
/// If the system gives it no sockets.
pub fn client() -> anyhow::Result<Client> {
    let client = Client::builder()
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(0)
        .no_proxy();
    Ok(client.build()?)
}

/// Answers requests at an address until `end`; then it answers what has begun.
///
/// # Errors
///
/// If the address is taken.
pub async fn serve(
    listen: SocketAddr,
    routes: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set LISTEN to a free address"))?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(end)
        .await?;
    Ok(())
}
