//! Tries to get in, in the ways that `TRY` names, and prints what it is answered. It can do what
//! anybody can: ask the issuer for tokens in its own name, read the public keys, and write tokens
//! itself.

use std::pin::pin;
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, bail};
use auth::new_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, Method, StatusCode, Url};
use serde::Serialize;
use sidecar_kit::{Setting, cause, optional_setting, setting, told_to_end};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut told_to_end = pin!(told_to_end());
    let Tries(tries) = setting("TRY", "read");
    let mut stranger = Stranger {
        issuer: setting("ISSUER", "http://127.0.0.1:9000"),
        upstream: setting("UPSTREAM", "http://127.0.0.1:8000/orders"),
        around: optional_setting("AROUND"),
        interval: setting("INTERVAL", "50ms"),
        client: client(setting("TIMEOUT", "10s")),
        kept: Vec::new(),
    };
    let tries = async {
        for name in tries {
            if let Err(error) = stranger.attempt(&name).await {
                println!("trouble: {name}: {error:#}");
            }
        }
    };
    tokio::select! {
        () = &mut told_to_end => exit(0),
        () = tries => {}
    }
    told_to_end.await;
}

/// Someone whom the sidecar does not know.
struct Stranger {
    issuer: Url,
    upstream: Url,
    /// Where the app listens, if it can be asked without the sidecar.
    around: Option<Url>,
    interval: Duration,
    client: Client,
    /// Tokens that were put aside, in the order of their keys.
    kept: Vec<String>,
}

/// What is asked of whom.
struct Call {
    url: Url,
    token: Option<String>,
    fields: &'static [(&'static str, &'static str)],
    /// What is ordered; without it, the orders are listed.
    order: Option<&'static str>,
}

impl Stranger {
    async fn attempt(&mut self, name: &str) -> anyhow::Result<()> {
        const BOTH: &str = "orders:read orders:write";
        let mut call = Call {
            url: self.upstream.clone(),
            token: None,
            fields: &[],
            order: None,
        };
        let what = match name {
            "no-token" => "without a token",
            "read" => {
                call.token = Some(self.token("orders:read", "").await?);
                "alice may read"
            }
            "order" => {
                call.token = Some(self.token(BOTH, "").await?);
                call.order = Some("tea");
                "alice orders tea"
            }
            "no-scope" => {
                call.token = Some(self.token("orders:read", "").await?);
                call.order = Some("tea");
                "alice may read, and orders tea"
            }
            "expired" => {
                call.token = Some(self.token(BOTH, "&lifetime=-3600").await?);
                "alice's token of an hour ago"
            }
            "other-audience" => {
                call.token = Some(self.token(BOTH, "&aud=payments").await?);
                "alice's token for another service"
            }
            "unsigned" => {
                call.token = Some(unsigned(&self.claims("boss"))?);
                call.order = Some("everything");
                "a token for boss that nobody has signed"
            }
            "public-key" => {
                call.token = Some(self.signed_with_the_public_key("boss").await?);
                call.order = Some("everything");
                "a token for boss, signed with the public key as if it were a password"
            }
            "own-key" => {
                call.token = Some(self.signed_with_an_own_key("boss", &self.kid().await?)?);
                call.order = Some("everything");
                "a token for boss, signed with a key that calls itself the issuer's"
            }
            "unknown-key" => {
                call.token = Some(self.signed_with_an_own_key("boss", "mine")?);
                call.order = Some("everything");
                "a token for boss, signed with a key that nobody knows"
            }
            "pretend" => {
                call.token = Some(self.token(BOTH, "").await?);
                call.fields = &[("X-User", "boss"), ("x_user", "boss")];
                call.order = Some("everything");
                "alice says that she is boss"
            }
            "hide" => {
                call.token = Some(self.token(BOTH, "").await?);
                call.fields = &[("Connection", "X-User")];
                call.order = Some("everything");
                "alice would rather be nobody"
            }
            "around" => {
                call.url = self.around.clone().context("AROUND is not set")?;
                call.fields = &[("X-User", "boss")];
                call.order = Some("everything");
                "around the sidecar, as boss"
            }
            "next-door" => {
                call.url = Url::parse("http://127.0.0.1:8080/orders")?;
                call.fields = &[("X-User", "boss")];
                call.order = Some("everything");
                "from next door, as boss"
            }
            "kept" => {
                for (key, token) in self.kept.iter().enumerate().rev() {
                    call.token = Some(token.clone());
                    self.call(&format!("alice's token of key {}", key + 1), &call)
                        .await?;
                }
                return Ok(());
            }
            other => return self.prepare(other).await,
        };
        self.call(what, &call).await
    }

    /// What is no call to the app, and changes what the next ones meet.
    async fn prepare(&mut self, name: &str) -> anyhow::Result<()> {
        match name {
            "keep" => {
                let token = self.token("orders:read", "").await?;
                self.kept.push(token);
                println!("alice keeps a token of key {}", self.kept.len());
            }
            "rotate" => {
                let url = self.issuer.join("rotate")?;
                let answer = self.client.post(url).send().await?;
                println!("the issuer: {}", answer.text().await?.trim_end());
            }
            "until-down" => {
                while self.keys().await.is_ok() {
                    sleep(self.interval).await;
                }
                println!("the issuer does not answer");
            }
            "until-up" => {
                while self.keys().await.is_err() {
                    sleep(self.interval).await;
                }
                println!("the issuer answers again");
            }
            other => bail!("{other} is nothing to try"),
        }
        Ok(())
    }

    /// Calls, and prints what comes of it.
    async fn call(&self, what: &str, call: &Call) -> anyhow::Result<()> {
        let method = match call.order {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let answer = loop {
            let mut request = self.client.request(method.clone(), call.url.clone());
            for (name, value) in call.fields {
                request = request.header(*name, *value);
            }
            if let Some(token) = &call.token {
                request = request.bearer_auth(token);
            }
            if let Some(order) = call.order {
                request = request.body(order);
            }
            match request.send().await {
                // The app does not listen yet.
                Ok(answer) if answer.status() == StatusCode::BAD_GATEWAY => {
                    sleep(self.interval).await;
                }
                Ok(answer) => break answer,
                Err(error) => {
                    println!("{what}: {}", cause(&error));
                    return Ok(());
                }
            }
        };

        println!("{what}: {}", answer.status());
        if let Some(challenge) = answer.headers().get(WWW_AUTHENTICATE) {
            println!("  {}", challenge.to_str()?);
        } else if answer.status() != StatusCode::OK {
            println!("  {}", answer.text().await?.trim_end());
        }
        Ok(())
    }

    /// Asks the issuer for a token.
    async fn token(&self, scope: &str, more: &str) -> anyhow::Result<String> {
        let url = self
            .issuer
            .join(&format!("token?sub=alice&scope={scope}{more}"))?;
        let answer = self.client.get(url).send().await?.error_for_status()?;
        Ok(answer.text().await?.trim_end().to_owned())
    }

    // ANCHOR: forge
    /// What a token of the issuer would say.
    fn claims(&self, sub: &'static str) -> Claims {
        Claims {
            iss: self.issuer.as_str().trim_end_matches('/').to_owned(),
            aud: "orders",
            sub,
            scope: "orders:read orders:write",
            exp: get_current_timestamp() + 900,
        }
    }

    /// To one who lets the token choose how it is verified, and has one function for all ways, the
    /// public key is the password of HMAC. Everybody has the public key.
    async fn signed_with_the_public_key(&self, sub: &'static str) -> anyhow::Result<String> {
        let keys = self.keys().await?;
        let key = &keys.keys[0];
        let AlgorithmParameters::OctetKeyPair(public) = &key.algorithm else {
            bail!("the issuer has another kind of key");
        };
        let header = Header {
            kid: key.common.key_id.clone(),
            ..Header::new(Algorithm::HS256)
        };
        let password = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(&public.x)?);
        Ok(encode(&header, &self.claims(sub), &password)?)
    }

    fn signed_with_an_own_key(&self, sub: &'static str, kid: &str) -> anyhow::Result<String> {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        Ok(encode(&header, &self.claims(sub), &new_key())?)
    }
    // ANCHOR_END: forge

    async fn keys(&self) -> anyhow::Result<JwkSet> {
        let answer = self.client.get(self.issuer.join("jwks")?).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// The name of the key that signs.
    async fn kid(&self) -> anyhow::Result<String> {
        let keys = self.keys().await?;
        let key = keys.keys.first().context("the issuer has no key")?;
        key.common.key_id.clone().context("the key has no name")
    }
}

#[derive(Serialize)]
struct Claims {
    iss: String,
    aud: &'static str,
    sub: &'static str,
    scope: &'static str,
    exp: u64,
}

/// A token that says of itself that nobody has signed it.
fn unsigned(claims: &Claims) -> anyhow::Result<String> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
    Ok(format!("{header}.{claims}."))
}

/// What to try, in this order.
struct Tries(Vec<String>);

impl Setting for Tries {
    const EXAMPLE: &'static str = "\"no-token read order\"";

    fn parse(value: &str) -> Result<Self, String> {
        let tries: Vec<String> = value.split_whitespace().map(ToOwned::to_owned).collect();
        match tries.is_empty() {
            true => Err("there is nothing to try".to_owned()),
            false => Ok(Self(tries)),
        }
    }
}

fn client(timeout: Duration) -> Client {
    Client::builder()
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .expect("a client without TLS needs nothing that could be missing")
}
