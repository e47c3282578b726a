//! The sidecar as one writes it on the first day: a token says for whom it is and how long it is
//! good, so it is read and believed.

use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use auth::X_USER;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, Request, StatusCode};
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::get_current_timestamp;
use output_interceptor::{Answer, Client, Pseudonym, Refusal, Sidecar, Upstream, forward, serve};
use serde::Deserialize;
use sidecar_kit::setting;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let timeout: Duration = setting("TIMEOUT", "30s");
    let sidecar = Naive {
        upstream: Upstream::new(setting("UPSTREAM", "http://127.0.0.1:8080"), timeout),
        pseudonym: Pseudonym::new("sidecar-auth"),
    };
    let ended = serve("127.0.0.1:8000", Arc::new(sidecar)).await;
    if let Err(error) = &ended {
        println!("{error:#}");
    }
    exit(i32::from(ended.is_err()));
}

struct Naive {
    upstream: Upstream,
    pseudonym: Pseudonym,
}

// ANCHOR: answer
impl Sidecar for Naive {
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: &Client,
    ) -> Result<Answer, Refusal> {
        let Some(user) = user(request.headers()) else {
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "the request has no good token");
            return Err(refusal.of(request.into_body()));
        };
        request.headers_mut().append(X_USER, user);
        forward(request, client, &self.upstream, &self.pseudonym).await
    }
}

/// Reads in the token who asks, unless it has expired.
fn user(headers: &HeaderMap) -> Option<HeaderValue> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let token = authorization.strip_prefix("Bearer ")?;
    let claims: Claims = insecure_decode_claims(token).ok()?;
    let is_good = claims.exp > get_current_timestamp();
    is_good.then(|| HeaderValue::from_str(&claims.sub).ok())?
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
}
// ANCHOR_END: answer
