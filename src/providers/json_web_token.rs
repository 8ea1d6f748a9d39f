//! JSON Web Tokens, signed with HMAC-SHA256. What stands in them is each provider's own.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use serde_json::Value;
use sha2::Sha256;

/// A token of a header, which is JSON, and claims; none where the secret cannot sign.
pub(super) fn sign(header: &str, claims: &Value, secret: &str) -> Option<SecretString> {
    let (header, claims) = (BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signed = format!("{header}.{claims}");
    let mut hash = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    hash.update(signed.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hash.finalize().into_bytes());
    Some(SecretString::from(format!("{signed}.{signature}")))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_header_claims_and_a_signature_over_both() {
        let claims = json!({ "sub": "1234567890", "name": "John Doe", "iat": 1_516_239_022 });
        let token = sign(r#"{"alg":"HS256","typ":"JWT"}"#, &claims, "your-256-bit-secret").unwrap();
        let parts: Vec<&str> = token.expose_secret().split('.').collect();
        assert_eq!(parts[0], "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9");
        let mut hash = Hmac::<Sha256>::new_from_slice(b"your-256-bit-secret").unwrap();
        hash.update(format!("{}.{}", parts[0], parts[1]).as_bytes());
        hash.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
        let read: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(read, claims);
    }
}
