//! The limiter as a middleware of axum.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use rate_limit::{Client, ClientHeader, Limiter, LimitsFile, Log, Wait};
use sidecar_kit::{optional_setting, setting};

use crate::{Limited, RATELIMIT_POLICY, policy};

/// What all requests share.
struct Shared {
    limiter: Limiter,
    /// The header field that says who asks, if one is to be believed.
    client_header: Option<ClientHeader>,
    /// Whether answers tell the limits.
    tells: bool,
    log: Log,
}

// ANCHOR: limited
/// Puts the limiter before an app. The settings are those of the sidecar: `LIMITS`, and
/// `CLIENT_HEADER`.
pub(crate) fn limited(app: Router, tells: bool) -> anyhow::Result<Limited> {
    let limits: PathBuf = setting("LIMITS", "/etc/rate-limiter/limits.toml");
    let (file, limits) = LimitsFile::open(&limits)?;
    let shared = Arc::new(Shared {
        limiter: Limiter::new(limits),
        client_header: optional_setting("CLIENT_HEADER"),
        tells,
        log: Log::default(),
    });
    let followed = shared.clone();
    tokio::spawn(async move { file.follow(&followed.limiter).await });
    let app = app.layer(from_fn_with_state(shared, limit));
    Ok(app.into_make_service_with_connect_info())
}

/// Lets a request go on to the app if its client has a token left for it, and answers it with 429
/// otherwise.
async fn limit(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let client = Client::of(peer.ip(), request.headers(), shared.client_header.as_ref());
    let path = request.uri().path();
    let checked = shared.limiter.check(client, path);
    let told = shared
        .tells
        .then(|| policy(&shared.limiter, path))
        .flatten();
    let mut answer = match checked {
        Ok(()) => next.run(request).await,
        Err(wait) => shared.refuse(&wait),
    };
    if let Some(policy) = told {
        answer.headers_mut().insert(RATELIMIT_POLICY, policy);
    }
    answer
}
// ANCHOR_END: limited

impl Shared {
    /// Refuses a request that came too early, and says when another would be in time
    /// (RFC 6585, section 4).
    fn refuse(&self, wait: &Wait) -> Response {
        self.log.refused(wait);
        let fields = [(RETRY_AFTER, wait.retry_after().to_string())];
        let why = format!("too many requests: {wait}\n");
        (StatusCode::TOO_MANY_REQUESTS, fields, why).into_response()
    }
}
