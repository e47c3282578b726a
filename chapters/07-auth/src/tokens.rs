//! Which tokens are believed.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, get_current_timestamp};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sidecar_kit::Setting;

use crate::denial::Denial;
use crate::keys::Keys;
use crate::user;

/// What a token must say.
pub struct Policy {
    /// Who has made it (`iss`).
    pub issuer: Name,
    /// For whom it was made (`aud`): for us, and not for another service of the same issuer.
    pub audience: Name,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// By how much the clocks may differ.
    pub leeway: Leeway,
}

/// Verifies tokens.
pub struct Tokens {
    validation: Validation,
    algorithm: Algorithm,
    keys: Keys,
}

/// What a token that was verified says.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who asks, from `sub`.
    pub user: HeaderValue,
    /// What the token is good for, from `scope`: words with spaces between them.
    pub scope: Box<str>,
    /// Until when, in seconds since 1970, from `exp`.
    expires: u64,
}

/// Those claims that are used here. `iss` is one word (RFC 7519, section 4.1.1), and a list of
/// issuers is no claim of any of them.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    #[expect(dead_code, reason = "that it is a string is what is wanted of it here")]
    iss: String,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    exp: f64,
}

impl Tokens {
    /// Verifies tokens by this policy, with these keys.
    #[must_use]
    pub fn new(policy: Policy, keys: Keys) -> Self {
        // ANCHOR: policy
        let mut validation = Validation::new(policy.algorithm.name());
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[policy.issuer.0]);
        validation.set_audience(&[policy.audience.0]);
        validation.validate_nbf = true;
        validation.leeway = policy.leeway.0.as_secs();
        // ANCHOR_END: policy
        Self {
            validation,
            algorithm: policy.algorithm,
            keys,
        }
    }

    // ANCHOR: verify
    /// Verifies a token, or remembers that it was verified.
    ///
    /// # Errors
    ///
    /// If the token is not one to believe, or the key to tell by is not to be had.
    pub async fn verify(&self, token: &str) -> Result<Arc<Verified>, Denial> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(verified) = self.keys.now().verified.get(&digest) {
            return self.still_good(verified);
        }

        let header = decode_header(token)
            .map_err(|_| Denial::invalid("the token cannot be read, or is not signed"))?;
        if header.alg != self.algorithm.name() {
            return Err(self.another_algorithm());
        }
        // It lists what a reader must understand to read the token at all (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return Err(Denial::invalid("the token has critical extensions"));
        }
        let kid = header
            .kid
            .ok_or_else(|| Denial::invalid("the token does not name its key"))?;

        let keys = self.keys.find(&kid).await?;
        let key = keys.get(&kid).expect("it was found by this name");
        let verified = Arc::new(self.verify_with(key, token)?);
        keys.verified.insert(digest, verified.clone());
        Ok(verified)
    }
    // ANCHOR_END: verify

    /// What was verified once is good until it expires.
    fn still_good(&self, verified: Arc<Verified>) -> Result<Arc<Verified>, Denial> {
        let until = verified.expires.saturating_add(self.validation.leeway);
        if get_current_timestamp() <= until {
            Ok(verified)
        } else {
            Err(self.why(&ErrorKind::ExpiredSignature))
        }
    }

    fn verify_with(&self, key: &DecodingKey, token: &str) -> Result<Verified, Denial> {
        let claims = decode::<Claims>(token, key, &self.validation)
            .map_err(|error| self.why(error.kind()))?
            .claims;
        let user = user::name(&claims.sub)
            .ok_or_else(|| Denial::invalid("the token's sub is no name for a header"))?;
        Ok(Verified {
            user,
            scope: claims.scope.into(),
            expires: claims.exp as u64,
        })
    }

    fn another_algorithm(&self) -> Denial {
        Denial::invalid(format!("the token is not signed with {:?}", self.algorithm))
    }

    /// Why a token is not believed, for its owner.
    fn why(&self, error: &ErrorKind) -> Denial {
        Denial::invalid(match error {
            ErrorKind::ExpiredSignature => "the token has expired",
            ErrorKind::ImmatureSignature => "the token is not valid yet",
            ErrorKind::InvalidIssuer => "the token is from another issuer",
            ErrorKind::InvalidAudience => "the token is for another audience",
            ErrorKind::InvalidAlgorithm => return self.another_algorithm(),
            ErrorKind::MissingRequiredClaim(claim) => {
                return Denial::invalid(format!("the token lacks {claim}"));
            }
            ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => {
                "the token's claims cannot be read"
            }
            _ => "the token's signature is wrong",
        })
    }
}

// ANCHOR: algorithm
/// The algorithms that tokens can be signed with. The settings name one of them, and a token does
/// not choose. All have a private key, which the issuer alone has, and a public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDSA,
    /// ECDSA on the curve P-256 (RFC 7518, section 3.4).
    ES256,
    /// RSA with PKCS #1 v1.5 (RFC 7518, section 3.3).
    RS256,
}
// ANCHOR_END: algorithm

impl Algorithm {
    /// What the library calls it.
    pub(crate) fn name(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

impl Setting for Algorithm {
    const EXAMPLE: &'static str = "EdDSA, ES256 or RS256";

    fn parse(value: &str) -> Result<Self, String> {
        match value {
            "EdDSA" => Ok(Self::EdDSA),
            "ES256" => Ok(Self::ES256),
            "RS256" => Ok(Self::RS256),
            _ => Err("it is no algorithm with a public key that is known here".to_owned()),
        }
    }
}

/// A name of letters, digits and signs, as that of an issuer or an audience.
#[derive(Clone, Debug)]
pub struct Name(pub String);

impl Setting for Name {
    const EXAMPLE: &'static str = "https://issuer.example or orders";

    fn parse(value: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        match value {
            "" => Err("it is empty".to_owned()),
            _ if value.bytes().all(is_plain) => Ok(Self(value.to_owned())),
            _ => Err("it has other signs than letters, digits and those of URLs".to_owned()),
        }
    }
}

/// By how much the clocks of issuer and sidecar may differ: whole seconds.
#[derive(Clone, Copy, Debug)]
pub struct Leeway(pub Duration);

impl Setting for Leeway {
    const EXAMPLE: &'static str = "30s";

    fn parse(value: &str) -> Result<Self, String> {
        // RFC 7519, section 4.1.4: "usually no more than a few minutes".
        let leeway = Duration::parse(value)?;
        if leeway > Duration::from_secs(300) {
            return Err("it is longer than 5m, by which tokens would outlive their end".to_owned());
        }
        if leeway.subsec_nanos() > 0 {
            return Err("tokens count in whole seconds".to_owned());
        }
        Ok(Self(leeway))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_would_let_everybody_in_are_refused() {
        for algorithm in [
            "",
            "none",
            "None",
            "HS256",
            "HS384",
            "eddsa",
            "RS1",
            "EdDSA,HS256",
        ] {
            assert!(Algorithm::parse(algorithm).is_err(), "{algorithm}");
        }
        for leeway in ["6m", "100y", "0s", "1ms", "soon"] {
            assert!(Leeway::parse(leeway).is_err(), "{leeway}");
        }
        for name in ["", "a b", "a\"", "a\nb", "\u{e9}"] {
            assert!(Name::parse(name).is_err(), "{name}");
        }
    }
}
