//! Signatures of callbacks, as Standard Webhooks 1.0 has them, so that receivers can use its libraries: the header `webhook-signature` is
//! `v1,` and the base64 of the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`. Pure.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::domain::UnixMs;

/// The header with the message's id, the same for every try to deliver it.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of this try, seconds since the Unix epoch.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How a secret is written.
const SECRET_PREFIX: &str = "whsec_";
/// The only kind of signature that is made here: symmetric.
const VERSION: &str = "v1";
/// Bytes a secret may have: Standard Webhooks asks for 24 to 64.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How far the time of a message may be from ours, seconds.
const TOLERANCE_SECONDS: u64 = 5 * 60;
/// Signatures of one header that are looked at: one for each of a few secrets that are in force while they are changed.
const MAX_SIGNATURES: usize = 8;

/// What signer and receiver share.
#[derive(Clone, Debug)]
pub struct WebhookSecret(SecretSlice<u8>);

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a webhook secret: write whsec_ and the base64 of 24 to 64 random bytes")]
pub struct InvalidWebhookSecret;

/// Why a message is not taken for the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The id would leave open where it ends: `a.1` at 2 and `a` at 1 with `2.` before the body are signed as one text.
    #[error("webhook-id is empty or holds a full stop")]
    Id,
    /// The time is not a whole number.
    #[error("webhook-timestamp is not a number of seconds")]
    Timestamp,
    /// Too old, or of the future: it may have been recorded and sent again.
    #[error("webhook-timestamp is more than {TOLERANCE_SECONDS} s from the current time")]
    Stale,
    /// No signature of this secret.
    #[error("webhook-signature does not fit the message")]
    Mismatch,
}

impl WebhookSecret {
    /// Reads a secret as it is written: `whsec_` and base64.
    pub fn parse(text: &str) -> Result<Self, InvalidWebhookSecret> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len())).map(|bytes| Self(bytes.into())).ok_or(InvalidWebhookSecret)
    }

    /// The value of [`SIGNATURE_HEADER`] for a message with this id, sent at `timestamp_seconds` since the Unix epoch.
    pub fn sign(&self, id: &str, timestamp_seconds: i64, body: &[u8]) -> Result<String, SignatureError> {
        let hash = self.hash(id, &timestamp_seconds.to_string(), body)?;
        Ok(format!("{VERSION},{}", BASE64_STANDARD.encode(hash.finalize().into_bytes())))
    }

    /// Whether a message with these headers was signed with this secret, not long before or after `now`. `signatures` may hold several,
    /// apart by spaces; those of other kinds are passed over.
    pub fn verify(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8], now: UnixMs) -> Result<(), SignatureError> {
        let seconds: i64 = timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
        if seconds.abs_diff(now.seconds()) > TOLERANCE_SECONDS {
            return Err(SignatureError::Stale);
        }
        let hash = self.hash(id, timestamp, body)?;
        let given = signatures.split(' ').take(MAX_SIGNATURES).filter_map(|signature| signature.split_once(','));
        let mut decoded =
            given.filter(|(version, _)| *version == VERSION).filter_map(|(_, text)| BASE64_STANDARD.decode(text).ok());
        // Compared in constant time.
        let fits = decoded.any(|bytes| hash.clone().verify_slice(&bytes).is_ok());
        if fits { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    fn hash(&self, id: &str, timestamp: &str, body: &[u8]) -> Result<Hmac<Sha256>, SignatureError> {
        if id.is_empty() || id.contains('.') {
            return Err(SignatureError::Id);
        }
        // HMAC takes keys of any length: this never fails.
        let mut hash = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).map_err(|_| SignatureError::Mismatch)?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            hash.update(part);
        }
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Secret, id, seconds, body, signature: the two that Standard Webhooks' libraries publish, and one of Python's `hmac`.
    const VECTORS: [(&str, &str, i64, &str, &str); 3] = [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_1",
            1_700_000_000,
            r#"{"task_id":"x","status":"completed"}"#,
            "v1,8mhKwvzaBeiALZkEpBGD1cmoq1ufwju9h26RnrdWlTw=",
        ),
    ];

    #[test]
    fn published_vectors_are_met() {
        for (secret, id, seconds, body, signature) in VECTORS {
            let secret = WebhookSecret::parse(secret).unwrap();
            assert_eq!(secret.sign(id, seconds, body.as_bytes()).unwrap(), signature);
            let now = UnixMs(seconds * 1000);
            assert_eq!(secret.verify(id, &seconds.to_string(), signature, body.as_bytes(), now), Ok(()));
        }
    }

    #[test]
    fn what_was_changed_or_is_old_is_refused() {
        let (secret, id, seconds, body, signature) = VECTORS[0];
        let (_, _, _, _, other) = VECTORS[1];
        let secret = WebhookSecret::parse(secret).unwrap();
        let (seconds, now) = (seconds.to_string(), UnixMs(seconds * 1000));
        let verify = |id: &str, seconds: &str, signature: &str, body: &str, now: UnixMs| {
            secret.verify(id, seconds, signature, body.as_bytes(), now)
        };
        assert_eq!(verify("msg_2", &seconds, signature, body, now), Err(SignatureError::Mismatch));
        assert_eq!(verify(id, "1614265331", signature, body, now), Err(SignatureError::Mismatch));
        assert_eq!(verify(id, &seconds, signature, r#"{"test": 2432232315}"#, now), Err(SignatureError::Mismatch));
        assert_eq!(verify(id, &seconds, other, body, now), Err(SignatureError::Mismatch));
        for bad in ["", "v1,", "v1", "v1,g0hM9SsE", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,\u{fc}", ",,,"] {
            assert_eq!(verify(id, &seconds, bad, body, now), Err(SignatureError::Mismatch), "{bad}");
        }
        for bad in ["", "now", "1614265330.5", "99999999999999999999"] {
            assert_eq!(verify(id, bad, signature, body, now), Err(SignatureError::Timestamp), "{bad}");
        }
        for (offset_ms, expected) in
            [(300_000, Ok(())), (-300_000, Ok(())), (301_000, Err(SignatureError::Stale)), (-301_000, Err(SignatureError::Stale))]
        {
            assert_eq!(verify(id, &seconds, signature, body, UnixMs(now.0 + offset_ms)), expected, "{offset_ms}");
        }
        assert_eq!(verify(id, &i64::MIN.to_string(), signature, body, now), Err(SignatureError::Stale));
    }

    #[test]
    fn ids_end_where_they_end() {
        let secret = WebhookSecret::parse(VECTORS[0].0).unwrap();
        for bad in ["", ".", "a.1", "msg."] {
            assert_eq!(secret.sign(bad, 1, b"{}"), Err(SignatureError::Id), "{bad}");
            assert_eq!(secret.verify(bad, "1", "v1,", b"{}", UnixMs(1000)), Err(SignatureError::Id), "{bad}");
        }
    }

    #[test]
    fn one_fitting_signature_among_several_is_enough() {
        let (secret, id, seconds, body, signature) = VECTORS[0];
        let secret = WebhookSecret::parse(secret).unwrap();
        let verify =
            |signatures: &str| secret.verify(id, &seconds.to_string(), signatures, body.as_bytes(), UnixMs(seconds * 1000));
        assert_eq!(verify(&format!("v1a,xyz {} {signature}", VECTORS[1].4)), Ok(()));
        let many = ["v1,AAAA"; MAX_SIGNATURES].join(" ");
        assert_eq!(verify(&format!("{many} {signature}")), Err(SignatureError::Mismatch));
    }

    #[test]
    fn secrets_have_one_form() {
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqr",
            "whsec_!!!",
            "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert_eq!(WebhookSecret::parse(bad).unwrap_err(), InvalidWebhookSecret, "{bad}");
        }
        let long = format!("{SECRET_PREFIX}{}", BASE64_STANDARD.encode([7; 65]));
        assert_eq!(WebhookSecret::parse(&long).unwrap_err(), InvalidWebhookSecret);
        let shown = format!("{:?}", WebhookSecret::parse(VECTORS[0].0).unwrap());
        assert!(!shown.contains("MfKQ") && !shown.contains("49"), "{shown}");
    }

    proptest! {
        #[test]
        fn every_message_verifies_and_no_other_text_does(
            key in prop::collection::vec(any::<u8>(), 24..=64), id in "[a-z0-9_]{1,40}", seconds in 0_i64..4_000_000_000,
            body in prop::collection::vec(any::<u8>(), 0..200), other in "\\PC{0,80}",
        ) {
            let secret = WebhookSecret::parse(&format!("{SECRET_PREFIX}{}", BASE64_STANDARD.encode(key))).unwrap();
            let signature = secret.sign(&id, seconds, &body).unwrap();
            let (text, now) = (seconds.to_string(), UnixMs(seconds * 1000));
            prop_assert_eq!(secret.verify(&id, &text, &signature, &body, now), Ok(()));
            prop_assert!(other == signature || secret.verify(&id, &text, &other, &body, now).is_err());
        }
    }
}
