//! What a server answered to a request of ours.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::body::BoundedBody;
use super::error::{FetchError, retry_after_of};
use super::limits::Limits;
use super::retry::{self, Failure};
use crate::domain::UnixMs;

/// An answer of any status but a redirect's.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
    host: String,
    retry_after: Option<String>,
}

impl Answer {
    /// Reads an answer whole. Redirects are refused.
    pub(super) async fn read(response: Response, host: &str, limits: &Limits) -> Result<Self, FetchError> {
        let status = response.status();
        if status.is_redirection() {
            return Err(FetchError::UnexpectedRedirect { host: host.to_owned(), status: status.as_u16() });
        }
        let retry_after = retry_after_of(&response);
        let body = BoundedBody::new(response, host, limits)?.read().await?;
        Ok(Self { status: status.as_u16(), body, host: host.to_owned(), retry_after })
    }

    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The pause that the server asked for.
    pub fn retry_after(&self, now: UnixMs) -> Option<Duration> {
        self.retry_after.as_deref().and_then(|value| retry::retry_after(value, now))
    }

    /// How the request failed, of which this is the answer; `None`: it did not.
    pub fn failure(&self) -> Option<Failure> {
        (!self.is_success()).then_some(Failure::Answered { status: self.status })
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        serde_json::from_slice(&self.body).map_err(|source| FetchError::NotJson { host: self.host.clone(), source })
    }
}
