//! Whether a receiver wants to be called: MiniMax's handshake.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::net::egress::{Egress, UserUrl};
use crate::net::{FetchError, HeaderMap, Limits};

/// What a receiver has for its answer: 3 s, and a few bytes.
const LIMITS: Limits = Limits { max_bytes: 4096, total: Duration::from_secs(3), idle: Duration::from_secs(3) };

/// Why a receiver is not called.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// Nothing came of the request.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Another status than success.
    #[error("'{host}' answered the challenge with {status}; answer 200 and {{\"challenge\": the same text}}")]
    Status {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// Something else than the challenge.
    #[error("'{host}' did not give back the challenge; answer 200 and {{\"challenge\": the same text}}")]
    Mismatch {
        /// The host.
        host: String,
    },
    /// This machine has no randomness.
    #[error("no challenge can be made")]
    Randomness(#[source] getrandom::Error),
}

#[derive(Deserialize)]
struct Echo {
    challenge: String,
}

/// Sends `{"challenge": …}` with a text that nobody can guess, and requires the same text back within 3 s. To be called before a job with
/// such a callback is accepted; `url` is the callback's link once the egress policy let it through.
pub async fn challenge(egress: &Egress, url: &UserUrl) -> Result<(), ChallengeError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(ChallengeError::Randomness)?;
    let challenge = format!("{:032x}", u128::from_be_bytes(random));
    let body = Bytes::from(serde_json::json!({ "challenge": challenge }).to_string());
    let answer = egress.post_json(url, HeaderMap::new(), body, &LIMITS).await?;
    let host = url.host().to_owned();
    if !answer.is_success() {
        return Err(ChallengeError::Status { host, status: answer.status });
    }
    match answer.json::<Echo>() {
        Ok(echo) if echo.challenge == challenge => Ok(()),
        _ => Err(ChallengeError::Mismatch { host }),
    }
}
