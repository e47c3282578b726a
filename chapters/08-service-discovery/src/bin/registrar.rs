//! The sidecar that announces its app: once the app is ready, again before each lease runs out, and no
//! more from when the pod is told to end.
//!
//! `registrar withdraw`, in the `preStop` hook of the container, tells the one that runs to do that.

use std::net::SocketAddr;
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use output_interceptor::{Answer, Refusal, Sidecar, answer, serve};
use reqwest::{Client, Url};
use service_discovery::leases::until_renewed;
use service_discovery::text_of;
use sidecar_kit::{Setting, exit_code, probe, setting};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const LISTEN: &str = "127.0.0.1:7071";
/// How long the registry or the app may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An app that is announced is no longer ready once it has not said so so often in a row.
const LOOKS: u32 = 3;
/// How often a withdrawal is tried. After that, the lease will run out.
const ATTEMPTS: u32 = 3;
/// So many bytes of what the registry answers are read.
const LONGEST_ANSWER: usize = 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        None => run().await,
        Some("probe") => return probe(setting("LISTEN", LISTEN), "/ready"),
        Some("withdraw") => withdraw(setting("LISTEN", LISTEN)).await,
        Some(other) => {
            println!("{other:?} is no command of this program; `probe` and `withdraw` are");
            exit(2);
        }
    };
    exit_code(done)
}

/// Where a registration is on its way to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The instance is announced, as long as its app is ready.
    Stays,
    /// It is to be withdrawn.
    Leaves,
    /// It has been withdrawn, or that has been given up.
    Gone,
}

async fn run() -> anyhow::Result<()> {
    let registration = Arc::new(Registration::new()?);
    let kept = registration.clone();
    tokio::spawn(async move { kept.keep().await });
    serve(LISTEN, registration).await
}

// ANCHOR: withdraw
/// What the hook and the probe ask for.
impl Sidecar for Registration {
    async fn answer(
        &self,
        request: Request<Incoming>,
        _: &output_interceptor::Client,
    ) -> Result<Answer, Refusal> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/withdraw") => {
                self.stage.send_if_modified(|stage| {
                    let stays = *stage == Stage::Stays;
                    if stays {
                        *stage = Stage::Leaves;
                    }
                    stays
                });
                let mut stage = self.stage.subscribe();
                let _ = stage.wait_for(|stage| *stage == Stage::Gone).await;
                Ok(answer(StatusCode::OK, "text/plain", "withdrawn\n"))
            }
            (&Method::GET, "/ready") => Ok(answer(StatusCode::OK, "text/plain", "ready\n")),
            _ => {
                let why = "there is POST /withdraw, and GET /ready";
                Err(Refusal::new(StatusCode::NOT_FOUND, why).of(request.into_body()))
            }
        }
    }
}
// ANCHOR_END: withdraw

/// Has the one that runs in this container withdraw its app.
async fn withdraw(listen: SocketAddr) -> anyhow::Result<()> {
    let answer = Client::new()
        .post(format!("http://{listen}/withdraw"))
        .send();
    answer.await?.error_for_status()?;
    Ok(())
}

/// What is announced, and where.
struct Registration {
    client: Client,
    /// The app's own word on whether it is ready.
    ready: Url,
    /// The instance in the registry.
    entry: Url,
    name: String,
    address: SocketAddr,
    interval: Duration,
    stage: watch::Sender<Stage>,
}

impl Registration {
    fn new() -> anyhow::Result<Self> {
        let app: Url = setting("UPSTREAM", "http://127.0.0.1:8080");
        let registry: Url = setting("REGISTRY", "http://registry:7070");
        let service = std::env::var("SERVICE").unwrap_or_else(|_| "orders".to_owned());
        let name = std::env::var("INSTANCE").context("set INSTANCE to the name of the pod")?;
        Ok(Self {
            client: Client::builder()
                .timeout(PATIENCE)
                // Between two announcements, a connection would take a place at the registry.
                .pool_max_idle_per_host(0)
                .build()?,
            ready: app.join("/ready")?,
            entry: registry.join(&format!("/services/{service}/{name}"))?,
            name,
            // Where others reach the app: at the pod's address, not at `localhost`.
            address: setting("ADDRESS", "127.0.0.1:8080"),
            interval: setting("INTERVAL", "100ms"),
            stage: watch::Sender::new(Stage::Stays),
        })
    }

    // ANCHOR: keep
    /// Announces the app as long as it is ready, until it is to be withdrawn.
    async fn keep(&self) {
        let mut orders = self.stage.subscribe();
        let mut is_announced = false;
        let mut is_in_trouble = false;
        let mut looks = 0;
        loop {
            let mut pause = self.interval;
            if self.app_is_ready().await {
                looks = 0;
                match self.announce().await {
                    Ok(lease) => {
                        if !is_announced {
                            println!("{} is announced", self.name);
                        }
                        (is_announced, is_in_trouble) = (true, false);
                        // Two announcements may be lost before the lease runs out.
                        pause = until_renewed(lease);
                    }
                    // The next one may help. Meanwhile the lease of the last one holds.
                    Err(error) => {
                        if !is_in_trouble {
                            println!("trouble: {error:#}");
                        }
                        is_in_trouble = true;
                    }
                }
            } else if is_announced {
                looks += 1;
                if looks == LOOKS {
                    is_announced = false;
                    self.withdraw("its app is not ready").await;
                }
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = orders.wait_for(|stage| *stage != Stage::Stays) => break,
            }
        }
        self.withdraw("the pod is told to end").await;
        // The pod's end will be this one's: until then it answers hooks and probes.
        self.stage.send_replace(Stage::Gone);
    }
    // ANCHOR_END: keep

    async fn app_is_ready(&self) -> bool {
        let answer = self.client.get(self.ready.clone()).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Announces the instance, and returns for how long.
    async fn announce(&self) -> anyhow::Result<Duration> {
        let request = self
            .client
            .put(self.entry.clone())
            .body(self.address.to_string());
        let answer = request
            .send()
            .await
            .context("the registry does not answer")?;
        let status = answer.status();
        let text = text_of(answer, LONGEST_ANSWER).await?;
        ensure!(status.is_success(), "the registry answers {status}: {text}");
        Duration::parse(text.trim()).map_err(|why| anyhow::anyhow!("`{text}` is no lease: {why}"))
    }

    async fn withdraw(&self, why: &str) {
        for _ in 0..ATTEMPTS {
            let answer = timeout(PATIENCE, self.client.delete(self.entry.clone()).send()).await;
            if let Ok(Ok(answer)) = answer
                && answer.status().is_success()
            {
                println!("{} is withdrawn: {why}", self.name);
                return;
            }
            sleep(self.interval).await;
        }
        println!(
            "trouble: {} cannot be withdrawn, and its lease will run out",
            self.name
        );
    }
}
