//! The next version of the sidecar: `rate-limiter.rs` of chapter 6, which also tells its limits in
//! each answer.

use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use output_interceptor::{Answer, Pseudonym, Refusal, Sidecar, Upstream, forward, serve};
use rate_limit::{Client, ClientHeader, Limiter, LimitsFile, Log, Wait};
use sdk_or_sidecar::{RATELIMIT_POLICY, policy};
use sidecar_kit::{optional_setting, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ended = run().await;
    if let Err(error) = &ended {
        println!("{error:#}");
    }
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(i32::from(ended.is_err()));
}

async fn run() -> anyhow::Result<()> {
    let limits: PathBuf = setting("LIMITS", "/etc/rate-limiter/limits.toml");
    // How long the app may take to accept a connection, and to begin its answer.
    let timeout: Duration = setting("TIMEOUT", "30s");
    let upstream = setting("UPSTREAM", "http://127.0.0.1:8080");

    let (file, limits) = LimitsFile::open(&limits)?;
    let sidecar = Arc::new(RateLimiter {
        limiter: Limiter::new(limits),
        client_header: optional_setting("CLIENT_HEADER"),
        upstream: Upstream::new(upstream, timeout),
        pseudonym: Pseudonym::new("rate-limiter"),
        log: Log::default(),
    });
    let followed = async {
        file.follow(&sidecar.limiter).await;
        // Without a file that can be watched, the limits that there are still hold.
        std::future::pending().await
    };
    tokio::select! {
        served = serve("0.0.0.0:8000", sidecar.clone()) => served,
        () = followed => Ok(()),
    }
}

/// Stands before an app.
struct RateLimiter {
    limiter: Limiter,
    /// The header field that says who asks, if one is to be believed.
    client_header: Option<ClientHeader>,
    upstream: Upstream,
    pseudonym: Pseudonym,
    log: Log,
}

// ANCHOR: answer
impl Sidecar for RateLimiter {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &output_interceptor::Client,
    ) -> Result<Answer, Refusal> {
        let headers = request.headers();
        let client = Client::of(connection.ip, headers, self.client_header.as_ref());
        let checked = self.limiter.check(client, request.uri().path());
        self.log.crowded(self.limiter.is_crowded());
        let policy = policy(&self.limiter, request.uri().path());
        match checked {
            Ok(()) => {
                let answer = forward(request, connection, &self.upstream, &self.pseudonym);
                let mut answer = answer.await?;
                let told = policy.map(|policy| (RATELIMIT_POLICY, policy));
                answer.headers_mut().extend(told);
                Ok(answer)
            }
            Err(wait) => {
                let refusal = self.refuse(&wait).of(request.into_body());
                Err(match policy {
                    Some(policy) => refusal.with(RATELIMIT_POLICY, policy),
                    None => refusal,
                })
            }
        }
    }
}

impl RateLimiter {
    /// Refuses a request that came too early, and says when another would be in time
    /// (RFC 6585, section 4).
    fn refuse(&self, wait: &Wait) -> Refusal {
        self.log.refused(wait);
        let why = format!("too many requests: {wait}");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, why)
            .with(RETRY_AFTER, HeaderValue::from(wait.retry_after()))
            .unlogged()
    }
    // ANCHOR_END: answer
}
