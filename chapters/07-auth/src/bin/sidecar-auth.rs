//! The sidecar: forwards requests that have a valid token to `UPSTREAM`, and tells the app in
//! `X-User` who asks. All others end here.

use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use auth::{Denial, Keys, Policy, Scopes, Source, Tokens, bearer, introduce};
use hyper::Request;
use hyper::body::Incoming;
use output_interceptor::{Answer, Client, Pseudonym, Refusal, Sidecar, Upstream, forward, serve};
use sidecar_kit::setting;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let policy = Policy {
        issuer: setting("ISSUER", "http://127.0.0.1:9000"),
        audience: setting("AUDIENCE", "orders"),
        algorithm: setting("ALGORITHM", "EdDSA"),
        leeway: setting("LEEWAY", "30s"),
    };
    let source = Source {
        url: setting("JWKS_URL", "http://127.0.0.1:9000/jwks"),
        algorithm: policy.algorithm,
        timeout: setting("JWKS_TIMEOUT", "2s"),
        interval: setting("INTERVAL", "5m"),
        pause: setting("PAUSE", "10s"),
    };
    // How long the app may take to accept a connection, and to begin its answer.
    let timeout: Duration = setting("TIMEOUT", "30s");
    let sidecar = Auth {
        realm: policy.audience.0.clone(),
        scopes: setting(
            "SCOPES",
            "GET /orders orders:read\nPOST /orders orders:write",
        ),
        upstream: Upstream::new(setting("UPSTREAM", "http://127.0.0.1:8080"), timeout),
        tokens: Tokens::new(policy, Keys::fetch(source)),
        pseudonym: Pseudonym::new("sidecar-auth"),
    };
    let ended = serve("127.0.0.1:8000", Arc::new(sidecar)).await;
    if let Err(error) = &ended {
        println!("{error:#}");
    }
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(i32::from(ended.is_err()));
}

/// Stands before the app.
struct Auth {
    /// What a client without a token is told that it needs one for.
    realm: String,
    tokens: Tokens,
    scopes: Scopes,
    upstream: Upstream,
    pseudonym: Pseudonym,
}

// ANCHOR: answer
impl Sidecar for Auth {
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: &Client,
    ) -> Result<Answer, Refusal> {
        match self.let_through(&mut request).await {
            Ok(()) => forward(request, client, &self.upstream, &self.pseudonym).await,
            Err(denial) => Err(denial.refusal(&self.realm).of(request.into_body())),
        }
    }
}

impl Auth {
    /// Decides about a request, and puts into it who asks.
    async fn let_through(&self, request: &mut Request<Incoming>) -> Result<(), Denial> {
        let verified = self.tokens.verify(bearer(request.headers())?).await?;
        let (method, path) = (request.method(), request.uri().path());
        self.scopes.allow(method, path, &verified.scope)?;
        introduce(request.headers_mut(), verified.user.clone())
    }
}
// ANCHOR_END: answer
