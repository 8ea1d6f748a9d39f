//! Signed tokens, the other way to authenticate: a JWT whose times are milliseconds.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::domain::UnixMs;
use crate::providers::json_web_token;

/// How long a token is good, milliseconds: as long as the provider's own client has it.
const LIFE_MS: i64 = 210_000;

/// The id and the secret of a key; none where it has another form.
pub(super) fn parts(key: &str) -> Option<(&str, &str)> {
    key.split_once('.').filter(|(id, secret)| !id.is_empty() && !secret.is_empty() && !secret.contains('.'))
}

/// A token for a key at a time; none where the key has not the form `id.secret`.
pub(super) fn sign(key: &SecretString, now: UnixMs) -> Option<SecretString> {
    let (id, secret) = parts(key.expose_secret())?;
    let claims = json!({ "api_key": id, "exp": now.0.saturating_add(LIFE_MS), "timestamp": now.0 });
    json_web_token::sign(r#"{"alg":"HS256","sign_type":"SIGN"}"#, &claims, secret)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;

    fn decoded(part: &str) -> String {
        String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn times_are_milliseconds_and_the_signature_is_over_header_and_claims() {
        let token = sign(&SecretString::from("my-id.my-secret"), UnixMs(1_760_000_000_123)).unwrap();
        let parts: Vec<&str> = token.expose_secret().split('.').collect();
        assert_eq!(decoded(parts[0]), r#"{"alg":"HS256","sign_type":"SIGN"}"#);
        let claims: serde_json::Value = serde_json::from_str(&decoded(parts[1])).unwrap();
        assert_eq!(claims, json!({ "api_key": "my-id", "exp": 1_760_000_210_123_i64, "timestamp": 1_760_000_000_123_i64 }));
        let mut hash = Hmac::<Sha256>::new_from_slice(b"my-secret").unwrap();
        hash.update(format!("{}.{}", parts[0], parts[1]).as_bytes());
        hash.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
        assert!(!token.expose_secret().contains("my-secret"));
    }

    #[test]
    fn only_keys_of_two_parts_sign() {
        for key in ["", "id", "id.", ".secret", "id.secret.more"] {
            assert!(sign(&SecretString::from(key), UnixMs(0)).is_none(), "{key}");
        }
    }
}
