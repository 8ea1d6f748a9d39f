//! JSON web tokens (RFC 7519) signed with `SECRET_KEY`: how another system lets its users in without a key for each.
//!
//! One algorithm, HS256, and no choice: a token that announces another one, `none` included, is refused before its signature is
//! looked at. `exp` is needed.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::{Principal, ProjectId, UnixMs, UserId};
use crate::net::keyed_hash::keyed_hash;

/// Longest token, bytes.
const MAX_TOKEN_BYTES: usize = 8192;

/// Why a token was refused. Callers are told only that their key is not valid; this is for tests and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64 with JSON inside, or without `sub` and `exp`.
    #[error("the token is malformed")]
    Malformed,
    /// Not HS256.
    #[error("the token is not signed with HS256")]
    Algorithm,
    /// Signed with another key, or changed.
    #[error("the token's signature is wrong")]
    Signature,
    /// Over.
    #[error("the token has expired")]
    Expired,
}

/// Checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenVerifier {
    keyed: Hmac<Sha256>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood; none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    sub: UserId,
    project: Option<ProjectId>,
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    scope: String,
}

impl TokenVerifier {
    /// A verifier of tokens signed with `secret`.
    pub fn new(secret: &SecretString) -> Self {
        Self { keyed: keyed_hash(secret.expose_secret().as_bytes()) }
    }

    /// Whether `text` has a token's three parts at all; keys of this server never have.
    pub fn looks_like_token(text: &str) -> bool {
        text.len() <= MAX_TOKEN_BYTES && text.bytes().filter(|&byte| byte == b'.').count() == 2
    }

    /// Who `token` speaks for at `now`. The scope `admin` (one of the words of `scope`) makes an administrator, unless the token is
    /// bound to a project.
    pub fn verify(&self, token: &str, now: UnixMs) -> Result<Principal, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = part(header)?;
        if header.alg != "HS256" || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let given = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        let mut hash = self.keyed.clone();
        hash.update(signed.as_bytes());
        if !bool::from(given.as_slice().ct_eq(hash.finalize().into_bytes().as_slice())) {
            return Err(TokenError::Signature);
        }
        let claims: Claims = part(claims)?;
        let now_seconds = now.0 as f64 / 1000.0;
        // Written so that a NaN is over, too.
        let lives = now_seconds < claims.exp && claims.nbf.is_none_or(|begin| begin <= now_seconds);
        if !lives {
            return Err(TokenError::Expired);
        }
        let admin = claims.project.is_none() && claims.scope.split_whitespace().any(|word| word == "admin");
        Ok(Principal { user: claims.sub, project: claims.project, admin, key: None })
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenVerifier")
    }
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, TokenError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000_000_000);

    fn token(header: &Value, claims: &Value, secret: &str) -> String {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut hash = keyed_hash(secret.as_bytes());
        hash.update(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(hash.finalize().into_bytes()))
    }

    fn verify(token: &str) -> Result<Principal, TokenError> {
        TokenVerifier::new(&SecretString::from("secret")).verify(token, NOW)
    }

    #[test]
    fn a_token_made_elsewhere_is_accepted() {
        // Made with PyJWT 2: jwt.encode({"sub": "anna", "exp": 4102444800}, "secret", algorithm="HS256").
        let signed = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm5hIiwiZXhwIjo0MTAyNDQ0ODAwfQ";
        let mut hash = keyed_hash(b"secret");
        hash.update(signed.as_bytes());
        let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(hash.finalize().into_bytes()));
        assert_eq!(verify(&token), Ok(Principal { user: "anna".parse().unwrap(), project: None, admin: false, key: None }));
    }

    #[rstest]
    #[case(json!({"sub": "root", "scope": "images admin", "exp": 1_000_000_001}), true)]
    #[case(json!({"sub": "root", "scope": "administrator", "exp": 1_000_000_001}), false)]
    #[case(json!({"sub": "root", "project": "film", "exp": 1_000_000_000.5}), false)]
    fn scope_decides_who_administrates(#[case] claims: Value, #[case] admin: bool) {
        assert_eq!(verify(&token(&json!({"alg": "HS256"}), &claims, "secret")).unwrap().admin, admin);
    }

    #[test]
    fn a_project_binds() {
        let claims = json!({"sub": "anna", "project": "film", "scope": "admin", "exp": 2e9});
        let principal = verify(&token(&json!({"alg": "HS256"}), &claims, "secret")).unwrap();
        assert_eq!((principal.project, principal.admin), (Some("film".parse().unwrap()), false));
    }

    #[rstest]
    #[case::none(json!({"alg": "none"}), json!({"sub": "a", "exp": 2e9}), "secret", TokenError::Algorithm)]
    #[case::other(json!({"alg": "HS512"}), json!({"sub": "a", "exp": 2e9}), "secret", TokenError::Algorithm)]
    #[case::critical(json!({"alg": "HS256", "crit": ["b64"]}), json!({"sub": "a", "exp": 2e9}), "secret", TokenError::Algorithm)]
    #[case::other_key(json!({"alg": "HS256"}), json!({"sub": "a", "exp": 2e9}), "guess", TokenError::Signature)]
    #[case::expired(json!({"alg": "HS256"}), json!({"sub": "a", "exp": 1_000_000_000}), "secret", TokenError::Expired)]
    #[case::not_yet(json!({"alg": "HS256"}), json!({"sub": "a", "exp": 2e9, "nbf": 1.5e9}), "secret", TokenError::Expired)]
    #[case::for_ever(json!({"alg": "HS256"}), json!({"sub": "a"}), "secret", TokenError::Malformed)]
    #[case::nobody(json!({"alg": "HS256"}), json!({"exp": 2e9}), "secret", TokenError::Malformed)]
    #[case::no_project_name(json!({"alg": "HS256"}), json!({"sub": "a", "project": "../x", "exp": 2e9}), "secret", TokenError::Malformed)]
    #[case::no_user_name(json!({"alg": "HS256"}), json!({"sub": "../etc", "exp": 2e9}), "secret", TokenError::Malformed)]
    fn refusals(#[case] header: Value, #[case] claims: Value, #[case] secret: &str, #[case] error: TokenError) {
        assert_eq!(verify(&token(&header, &claims, secret)), Err(error));
    }

    #[test]
    fn an_unsigned_or_cut_token_is_refused() {
        let good = token(&json!({"alg": "HS256"}), &json!({"sub": "a", "exp": 2e9}), "secret");
        let (signed, _) = good.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{signed}.")), Err(TokenError::Signature));
        assert_eq!(verify(signed), Err(TokenError::Malformed));
        assert_eq!(verify(&good[..good.len() - 4]), Err(TokenError::Signature));
        assert_eq!(verify("..."), Err(TokenError::Malformed));
    }
}
