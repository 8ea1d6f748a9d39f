//! What a server answered to a request of ours.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::body::BoundedBody;
use super::deadline::Deadline;
use super::error::{FetchError, retry_after_of};
use super::limits::Limits;
use super::retry::{self, Failure};
use crate::domain::UnixMs;

/// An answer of any status but a redirect's.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as much of it as came.
    pub body: Bytes,
    /// Whether the body is the whole one. It is not if it was too large, compressed, too slow or cut off.
    pub is_whole: bool,
    host: String,
    retry_after: Option<String>,
}

/// Which bodies the caller cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeededBody {
    /// That of a success, such as the id of a job that was made.
    OfSuccess,
    /// None: the status says what became of the request.
    Never,
}

impl Answer {
    /// Reads an answer. Redirects are refused, and needed bodies that do not come whole. Without another body, the status still counts.
    pub(super) async fn read(
        response: Response,
        host: &str,
        limits: &Limits,
        deadline: Deadline,
        needed: NeededBody,
    ) -> Result<Self, FetchError> {
        let status = response.status();
        if status.is_redirection() {
            return Err(FetchError::UnexpectedRedirect { host: host.to_owned(), status: status.as_u16() });
        }
        let retry_after = retry_after_of(&response);
        let body = BoundedBody::new(response, host, limits);
        let (body, is_whole) = if needed == NeededBody::OfSuccess && status.is_success() {
            (deadline.bound(host, body?.read()).await?, true)
        } else {
            match body {
                Ok(body) => body.read_what_comes(deadline).await,
                Err(_) => (Bytes::new(), false),
            }
        };
        Ok(Self { status: status.as_u16(), body, is_whole, host: host.to_owned(), retry_after })
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

    /// The body as JSON, if it is whole.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        if !self.is_whole {
            return Err(FetchError::NotWhole { host: self.host.clone() });
        }
        serde_json::from_slice(&self.body).map_err(|source| FetchError::NotJson { host: self.host.clone(), source })
    }
}

impl fmt::Debug for Answer {
    /// Without the body: it may hold links with signatures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} of {}, {} bytes)", self.status, self.host, self.body.len())
    }
}
