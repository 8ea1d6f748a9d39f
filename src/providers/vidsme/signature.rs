//! The signature of a call: a key of the moment, encrypted with RSA for the application, and a text that names it, encrypted with the key.
//!
//! RSA with PKCS #1 v1.5 and AES-128-CBC with the key as its own initial vector are the interface's choice. The padding oracle that is known
//! of the former is one against private keys; there is none here.

use aes::Aes128;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cbc::Encryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use rsa::pkcs8::DecodePublicKey;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::{Pkcs1v15Encrypt, PublicKey};
use secrecy::{ExposeSecret, SecretString};
use uuid::Builder;

use crate::domain::UnixMs;
use crate::providers::randomness::{NoRandomness, Randomness};

/// Bytes of the key of the moment.
const KEY_BYTES: usize = 16;
/// What it is made of.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Random bytes from here on would prefer the alphabet's beginning.
const FAIR: u8 = 248;
/// Random bytes that are looked at for one character at most; that all of them are unfair has a chance of 2⁻¹⁶⁰.
const MOST_DRAWS: usize = 32;

/// What all signatures of an account have in common.
pub(super) struct Signer<'a> {
    pub(super) app_id: &'a str,
    pub(super) salt: &'a SecretString,
    pub(super) public_key: &'a PublicKey,
}

impl Signer<'_> {
    /// The fields of a call's query. Fails with [`NoRandomness`].
    pub(super) fn sign(&self, randomness: &dyn Randomness, now: UnixMs) -> Result<[(&'static str, String); 5], NoRandomness> {
        let key = momentary_key(randomness)?;
        let mut nonce = [0; 16];
        randomness.fill(&mut nonce)?;
        let nonce = Builder::from_random_bytes(nonce).into_uuid().hyphenated().to_string();
        let seconds = now.0.div_euclid(1000);
        // The smallest key that was accepted has room for many such messages, so that nothing but the random numbers can fail.
        let encrypted = self.public_key.encrypt(&mut Padding(randomness), Pkcs1v15Encrypt, &key).map_err(|_| NoRandomness)?;
        let secret_key = BASE64_STANDARD.encode(encrypted);
        let text = format!("{}:{}:{seconds}:{nonce}:{secret_key}", self.app_id, self.salt.expose_secret());
        let cipher = Encryptor::<Aes128>::new(&key.into(), &key.into());
        let sign = BASE64_STANDARD.encode(cipher.encrypt_padded_vec::<Pkcs7>(text.as_bytes()));
        Ok([
            ("app_id", self.app_id.to_owned()),
            ("t", seconds.to_string()),
            ("nonce", nonce),
            ("secret_key", secret_key),
            ("sign", sign),
        ])
    }
}

/// An RSA key as PEM; none where it is none.
pub(super) fn public_key(pem: &str) -> Option<PublicKey> {
    PublicKey::from_public_key_pem(pem.trim()).ok()
}

fn momentary_key(randomness: &dyn Randomness) -> Result<[u8; KEY_BYTES], NoRandomness> {
    let mut key = [0; KEY_BYTES];
    for character in &mut key {
        let mut drawn = [0; MOST_DRAWS];
        randomness.fill(&mut drawn)?;
        let fair = drawn.into_iter().find(|byte| *byte < FAIR).ok_or(NoRandomness)?;
        *character = ALPHABET[usize::from(fair) % ALPHABET.len()];
    }
    Ok(key)
}

/// Randomness as RSA asks for it.
struct Padding<'a>(&'a dyn Randomness);

impl TryRng for Padding<'_> {
    type Error = NoRandomness;

    fn try_next_u32(&mut self) -> Result<u32, NoRandomness> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandomness> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.fill(bytes)
    }
}

impl TryCryptoRng for Padding<'_> {}
