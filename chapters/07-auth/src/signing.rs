//! A new key to sign tokens with.

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes};
use jsonwebtoken::EncodingKey;
use rand_core::OsRng;

/// Makes a new private key for Ed25519.
///
/// # Panics
///
/// If the system has no randomness to give.
#[must_use]
pub fn new_key() -> EncodingKey {
    let private = KeypairBytes {
        secret_key: SigningKey::generate(&mut OsRng).to_bytes(),
        public_key: None,
    };
    let der = private
        .to_pkcs8_der()
        .expect("32 bytes can be written as PKCS #8");
    EncodingKey::from_ed_der(der.as_bytes())
}
