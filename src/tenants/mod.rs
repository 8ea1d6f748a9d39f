//! Users' API keys (made, hashed, looked up, revoked), and what users and projects may do.
//!
//! Invariants: only a key's SHA-256 is stored, and a key is shown once, when it is made. A revoked or expired key is refused by the
//! next request, whichever process revoked it, because every look-up asks the database: an indexed read costs far less than a request.
//! A fast hash is enough: keys are 256 random bits, which no dictionary holds. Policies are replaced as a whole; nobody sees half of
//! a change.

mod key;
mod keys;
pub mod policies;
mod rates;
pub mod store;

pub use keys::{AuthenticationError, KeyService, MOST_KEY_DAYS, NewKey, NewKeyError};
pub use policies::Tenants;
pub use rates::RateDecision;
pub use store::{KeyRecord, KeyScope, KeyStore, KeyStoreError};

#[cfg(test)]
mod tests;
