//! A small issuer: whoever asks it for a token gets one, whatever it is to say. A real one would
//! first want to know who asks, which is another story.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context;
use auth::{Name, new_key};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde::{Deserialize, Serialize};
use sidecar_kit::{asked_to_probe, exit_code, probe, setting, told_to_end};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let listen: SocketAddr = setting("LISTEN", "127.0.0.1:9000");
    if asked_to_probe() {
        return probe(listen, "/ready");
    }
    exit_code(serve(listen).await)
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let told_to_end = told_to_end();
    let issuer: Name = setting("ISSUER", "http://127.0.0.1:9000");
    let issuer = Issuer {
        name: issuer.0,
        keys: Mutex::new(VecDeque::from([Key::new()?])),
    };
    let app = Router::new()
        .route("/jwks", get(jwks))
        .route("/token", get(token))
        .route("/rotate", post(rotate))
        .route("/ready", get(|| async { "ready\n" }))
        .with_state(Arc::new(issuer));
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; set LISTEN to a free address"))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(told_to_end)
        .await?;
    Ok(())
}

struct Issuer {
    /// What it is called in `iss`.
    name: String,
    /// The key that signs, and then the one before it.
    keys: Mutex<VecDeque<Key>>,
}

impl Issuer {
    fn keys(&self) -> MutexGuard<'_, VecDeque<Key>> {
        self.keys
            .lock()
            .expect("nothing panics while it holds a lock")
    }
}

// ANCHOR: key
struct Key {
    private: EncodingKey,
    public: Jwk,
    /// The key's name is made from the key, so that another key never has the same.
    kid: String,
}

impl Key {
    fn new() -> anyhow::Result<Self> {
        let private = new_key();
        let mut public = Jwk::from_encoding_key(&private, Algorithm::EdDSA)?;
        let kid = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            private,
            public,
            kid,
        })
    }
}
// ANCHOR_END: key

// ANCHOR: rotate
/// `POST /rotate`: from now on a new key signs. The one before it stays in the set, for the tokens
/// that it has signed; the one before that is gone, and its tokens with it.
async fn rotate(State(issuer): State<Arc<Issuer>>) -> Result<&'static str, Failure> {
    let mut keys = issuer.keys();
    keys.push_front(Key::new()?);
    keys.truncate(2);
    println!("a new key signs");
    Ok("a new key signs\n")
}

/// `GET /jwks`: the public keys (RFC 7517).
async fn jwks(State(issuer): State<Arc<Issuer>>) -> Result<String, Failure> {
    let keys = issuer.keys().iter().map(|key| key.public.clone()).collect();
    Ok(serde_json::to_string(&JwkSet { keys })?)
}
// ANCHOR_END: rotate

/// What a token is to say.
#[derive(Deserialize)]
struct Wish {
    sub: String,
    #[serde(default)]
    scope: String,
    #[serde(default = "orders")]
    aud: String,
    /// In seconds. One of less than nothing makes a token that has expired already.
    #[serde(default = "a_quarter_of_an_hour")]
    lifetime: i64,
}

fn orders() -> String {
    "orders".to_owned()
}

fn a_quarter_of_an_hour() -> i64 {
    15 * 60
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    scope: &'a str,
    iat: u64,
    exp: u64,
}

/// `GET /token?sub=alice&scope=orders:read`: a token.
async fn token(
    State(issuer): State<Arc<Issuer>>,
    Query(wish): Query<Wish>,
) -> Result<String, Failure> {
    let now = get_current_timestamp();
    let claims = Claims {
        iss: &issuer.name,
        sub: &wish.sub,
        aud: &wish.aud,
        scope: &wish.scope,
        iat: now,
        exp: now.saturating_add_signed(wish.lifetime),
    };
    let keys = issuer.keys();
    let header = Header {
        kid: Some(keys[0].kid.clone()),
        ..Header::new(Algorithm::EdDSA)
    };
    Ok(encode(&header, &claims, &keys[0].private)? + "\n")
}

/// What should not happen, as the answer to whoever met with it.
struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        println!("trouble: {:#}", self.0);
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}\n", self.0)).into_response()
    }
}
