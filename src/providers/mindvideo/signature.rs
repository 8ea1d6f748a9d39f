//! The signature of a call: an MD5 over a nonce, the time and the application's key.

use std::fmt::Write as _;

use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};

use crate::domain::UnixMs;

/// The value of `i-sign`: compact JSON whose keys have an order.
pub(super) fn sign(app_key: &SecretString, nonce: [u8; 8], now: UnixMs) -> SecretString {
    let (nonce, timestamp) = (hexadecimal(&nonce), now.0);
    let signed = format!("nonce={nonce}&timestamp={timestamp}&app_key={}", app_key.expose_secret());
    let sign = hexadecimal(&Md5::digest(signed));
    SecretString::from(format!(r#"{{"nonce":"{nonce}","timestamp":{timestamp},"sign":"{sign}"}}"#))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_vector() {
        let nonce = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        let signature = sign(&SecretString::from("test"), nonce, UnixMs(1_700_000_000_000));
        assert_eq!(
            signature.expose_secret(),
            r#"{"nonce":"0123456789abcdef","timestamp":1700000000000,"sign":"28c46540b406471d773c5f89d80666d3"}"#
        );
        let other = sign(&SecretString::from("other"), nonce, UnixMs(1_700_000_000_000));
        assert_ne!(other.expose_secret(), signature.expose_secret());
    }
}
