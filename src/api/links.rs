//! Links that open one file without a key, for a while.
//!
//! A link carries `expires` (Unix seconds) and `token`, the URL-safe base64 of an HMAC-SHA256 over the path, the query that changes
//! what is served, and the expiry. The signing key is derived from `SECRET_KEY`, so that no signature made here is ever a token
//! signed with `SECRET_KEY` itself.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::UnixMs;
use crate::net::keyed_hash::keyed_hash;

/// How long links in native answers live, seconds.
pub const NATIVE_LINK_SECONDS: i64 = 24 * 60 * 60;
/// How long links in OpenAI's answers live, seconds.
pub const OPENAI_LINK_SECONDS: i64 = 60 * 60;

/// Why a link was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Its time is over.
    #[error("this link has expired; ask for the task again to get a new one")]
    Expired,
    /// It was not made here, or was changed.
    #[error("this link is not valid")]
    Invalid,
}

/// Signs and checks links. Cheap to clone.
#[derive(Clone)]
pub struct LinkSigner {
    keyed: Hmac<Sha256>,
}

impl LinkSigner {
    /// A signer whose links last over restarts as long as `secret` stays the same.
    pub fn new(secret: &SecretString) -> Self {
        let mut derivation = keyed_hash(secret.expose_secret().as_bytes());
        derivation.update(b"framewright signed links, version 1");
        Self { keyed: keyed_hash(&derivation.finalize().into_bytes()) }
    }

    /// `base` + `path` + `variant` (a query that changes what is served, empty or like `format=jpeg`) with expiry and token.
    pub fn sign(&self, base: &str, path: &str, variant: &str, expires: UnixMs) -> String {
        let expires = expires.seconds();
        let token = BASE64_URL_SAFE_NO_PAD.encode(self.signature(path, variant, expires));
        let separator = if variant.is_empty() { "" } else { "&" };
        format!("{}{path}?{variant}{separator}expires={expires}&token={token}", base.trim_end_matches('/'))
    }

    /// Checks a link's parts at `now`.
    pub fn verify(&self, path: &str, variant: &str, expires: i64, token: &str, now: UnixMs) -> Result<(), LinkError> {
        let given = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| LinkError::Invalid)?;
        let right = self.signature(path, variant, expires);
        if !bool::from(given.as_slice().ct_eq(right.as_slice())) {
            return Err(LinkError::Invalid);
        }
        if expires <= now.seconds() { Err(LinkError::Expired) } else { Ok(()) }
    }

    fn signature(&self, path: &str, variant: &str, expires: i64) -> [u8; 32] {
        let mut hash = self.keyed.clone();
        // Neither a path nor a query contains a line feed, so the parts cannot run into each other.
        hash.update(format!("{path}\n{variant}\n{expires}").as_bytes());
        hash.finalize().into_bytes().into()
    }
}

impl fmt::Debug for LinkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSigner")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000_000_000);
    const PATH: &str = "/api/v1/tasks/job_1/result/0";

    fn signer() -> LinkSigner {
        LinkSigner::new(&SecretString::from("a secret"))
    }

    fn token_of(link: &str) -> String {
        link.rsplit_once("token=").unwrap().1.to_owned()
    }

    #[test]
    fn a_link_opens_until_it_expires() {
        let link = signer().sign("http://host:8000/", PATH, "", UnixMs(NOW.0 + 60_000));
        assert!(link.starts_with("http://host:8000/api/v1/tasks/job_1/result/0?expires=1000000060&token="), "{link}");
        let token = token_of(&link);
        assert_eq!(signer().verify(PATH, "", 1_000_000_060, &token, NOW), Ok(()));
        assert_eq!(signer().verify(PATH, "", 1_000_000_060, &token, UnixMs(NOW.0 + 60_000)), Err(LinkError::Expired));
    }

    #[rstest]
    #[case::other_path("/api/v1/tasks/job_1/result/1", "", 1_000_000_060)]
    #[case::other_variant(PATH, "format=jpeg", 1_000_000_060)]
    #[case::later(PATH, "", 1_000_000_061)]
    #[case::moved_boundary("/api/v1/tasks/job_1/result/0\n", "", 1_000_000_060)]
    fn a_changed_link_is_refused(#[case] path: &str, #[case] variant: &str, #[case] expires: i64) {
        let token = token_of(&signer().sign("", PATH, "", UnixMs(NOW.0 + 60_000)));
        assert_eq!(signer().verify(path, variant, expires, &token, NOW), Err(LinkError::Invalid));
    }

    #[rstest]
    #[case("")]
    #[case("AAAA")]
    #[case("not base64!")]
    fn a_broken_token_is_refused(#[case] token: &str) {
        assert_eq!(signer().verify(PATH, "", i64::MAX, token, NOW), Err(LinkError::Invalid));
    }

    #[test]
    fn another_secret_makes_other_links() {
        let token = token_of(&LinkSigner::new(&SecretString::from("other")).sign("", PATH, "", UnixMs(NOW.0 + 60_000)));
        assert_eq!(signer().verify(PATH, "", 1_000_000_060, &token, NOW), Err(LinkError::Invalid));
    }
}
