//! The text of a key: `fw_` and 43 characters of URL-safe base64, which are 32 random bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

const START: &str = "fw_";
/// 32 bytes in base64 without padding.
const ENCODED_LENGTH: usize = 43;
/// Enough to tell keys apart, far too little to guess one.
const PREFIX_LENGTH: usize = START.len() + 6;

/// A new key from the system's random numbers.
pub(super) fn generate() -> Result<SecretString, getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(SecretString::from(format!("{START}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// The characters that lists show. `key` must be well formed.
pub(super) fn prefix(key: &str) -> String {
    key.chars().take(PREFIX_LENGTH).collect()
}

/// What is stored instead of the key.
pub(super) fn sha256(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Whether a text has a key's form.
pub(super) fn is_well_formed(key: &str) -> bool {
    key.strip_prefix(START).is_some_and(|encoded| {
        encoded.len() == ENCODED_LENGTH && encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn keys_are_well_formed_and_differ() {
        let (first, second) = (generate().unwrap(), generate().unwrap());
        assert!(is_well_formed(first.expose_secret()) && is_well_formed(second.expose_secret()));
        assert_ne!(first.expose_secret(), second.expose_secret());
        assert_eq!(prefix(first.expose_secret()).len(), 9);
    }

    #[test]
    fn other_texts_are_not_keys() {
        let good = format!("fw_{}", "a".repeat(43));
        assert!(is_well_formed(&good));
        for text in
            ["", "fw_", &good[1..], &good[..45], &format!("{good}a"), &good.replacen('a', " ", 1), &good.replacen('a', "é", 1)]
        {
            assert!(!is_well_formed(text), "{text:?}");
        }
    }
}
