//! Where providers may call this server: an address that nobody can guess, and that stays the same over restarts.
//!
//! Providers do not sign their calls. Whoever knows the address is believed that something happened to a task, and no more.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use url::Url;

use crate::domain::{ProviderId, ProviderKind};
use crate::net::keyed_hash::keyed_hash;

/// Makes the addresses, and knows them again. Cheap to clone.
#[derive(Clone)]
pub struct CallbackAddresses {
    base: Url,
    keyed: Hmac<Sha256>,
}

impl CallbackAddresses {
    /// Addresses below `base`, the server's public URL, that last as long as `secret` stays the same. None where `base` is not `https`: a
    /// token is not sent in the open, and providers that cannot reach an address may refuse what names it.
    pub fn new(base: &Url, secret: &SecretString) -> Option<Self> {
        let mut derivation = keyed_hash(secret.expose_secret().as_bytes());
        derivation.update(b"framewright callbacks of providers, version 1");
        let keyed = keyed_hash(&derivation.finalize().into_bytes());
        (base.scheme() == "https").then(|| Self { base: base.clone(), keyed })
    }

    /// Where a provider may call; none where nothing reads what providers of its kind say.
    pub(super) fn url(&self, kind: ProviderKind, provider: &ProviderId) -> Option<String> {
        let is_read = kind == ProviderKind::Minimax;
        let base = self.base.as_str().trim_end_matches('/');
        is_read.then(|| format!("{base}/callbacks/{}/{}", kind.as_str(), self.token(provider)))
    }

    /// Whether a token is that of a provider's address.
    pub(super) fn is_token_of(&self, provider: &ProviderId, token: &str) -> bool {
        self.token(provider).as_bytes().ct_eq(token.as_bytes()).into()
    }

    fn token(&self, provider: &ProviderId) -> String {
        let mut hash = self.keyed.clone();
        hash.update(provider.as_str().as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(hash.finalize().into_bytes())
    }
}

impl fmt::Debug for CallbackAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackAddresses").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(base: &str, secret: &str) -> Option<CallbackAddresses> {
        CallbackAddresses::new(&base.parse().unwrap(), &SecretString::from(secret))
    }

    fn provider(name: &str) -> ProviderId {
        name.parse().unwrap()
    }

    #[test]
    fn each_provider_has_an_address_of_its_own_that_lasts() {
        let ours = addresses("https://films.example/base/", "secret").unwrap();
        let address = ours.url(ProviderKind::Minimax, &provider("minimax")).unwrap();
        let token = address.strip_prefix("https://films.example/base/callbacks/minimax/").unwrap();
        assert_eq!(token.len(), 43);
        let later = addresses("https://films.example/base/", "secret").unwrap();
        assert!(later.is_token_of(&provider("minimax"), token));
        assert!(!later.is_token_of(&provider("minimax-2"), token) && !later.is_token_of(&provider("minimax"), ""));
        let others = addresses("https://films.example/base/", "another").unwrap();
        assert!(!others.is_token_of(&provider("minimax"), token));
        assert!(!format!("{ours:?}").contains(token));
    }

    #[test]
    fn there_is_none_in_the_open_or_where_nobody_reads_it() {
        assert!(addresses("http://films.example", "secret").is_none());
        let ours = addresses("https://films.example", "secret").unwrap();
        assert_eq!(ours.url(ProviderKind::Aliyun, &provider("aliyun")), None);
    }
}
