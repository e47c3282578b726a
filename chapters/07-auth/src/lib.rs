//! Who may ask: the parts of a sidecar that lets only requests with a valid token through.
//!
//! A request passes them in this order: [`bearer`] finds its token, [`Tokens`] verifies it with
//! one of the [`Keys`] of the issuer, [`Scopes`] says what it must be good for, and [`introduce`]
//! tells the app who asks. Each of them can end in a [`Denial`].

mod bearer;
mod denial;
mod keys;
mod scopes;
mod signing;
mod tokens;
mod user;

pub use bearer::bearer;
pub use denial::Denial;
pub use keys::{Keys, Source};
pub use scopes::Scopes;
pub use signing::new_key;
pub use tokens::{Algorithm, Leeway, Name, Policy, Tokens, Verified};
pub use user::{X_USER, introduce};
