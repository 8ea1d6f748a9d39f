//! What a user's receivers tell our callbacks by.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::UserId;
use crate::net::webhook_signature::{InvalidWebhookSecret, WebhookSecret};

/// Makes each user's secret from `SECRET_KEY`: none is stored, and as long as that key stays the same so do they.
#[derive(Clone)]
pub struct WebhookSecrets {
    keyed: Hmac<Sha256>,
}

impl WebhookSecrets {
    /// The secrets of a server, and of all servers with the same `SECRET_KEY`.
    pub fn new(secret_key: &SecretString) -> Self {
        let mut derivation = keyed_hash(&Sha256::digest(secret_key.expose_secret().as_bytes()).into());
        derivation.update(b"framewright webhook secrets, version 1");
        Self { keyed: keyed_hash(&derivation.finalize().into_bytes().into()) }
    }

    /// A user's secret as receivers' libraries take it: `whsec_` and base64.
    pub fn text_of(&self, user: &UserId) -> SecretString {
        let mut hash = self.keyed.clone();
        hash.update(user.as_str().as_bytes());
        format!("whsec_{}", BASE64_STANDARD.encode(hash.finalize().into_bytes())).into()
    }

    /// A user's secret, to sign with.
    pub(super) fn of(&self, user: &UserId) -> Result<WebhookSecret, InvalidWebhookSecret> {
        WebhookSecret::parse(self.text_of(user).expose_secret())
    }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecrets")
    }
}

/// HMAC-SHA256 with a key of half a block, padded as RFC 2104 has it.
fn keyed_hash(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = Key::<Hmac<Sha256>>::default();
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_one_secret() {
        let text = |secret_key: &str, user: &str| {
            WebhookSecrets::new(&SecretString::from(secret_key)).text_of(&user.parse().unwrap()).expose_secret().to_owned()
        };
        let anna = text("a key", "anna");
        assert_eq!(anna, text("a key", "anna"));
        assert!(anna.starts_with("whsec_") && anna.len() == 50, "{anna}");
        for other in [text("a key", "bob"), text("another key", "anna"), text("a key", "anna2")] {
            assert_ne!(anna, other);
        }
        assert!(WebhookSecrets::new(&SecretString::from("a key")).of(&"anna".parse().unwrap()).is_ok());
        assert_eq!(format!("{:?}", WebhookSecrets::new(&SecretString::from("a key"))), "WebhookSecrets");
    }
}
