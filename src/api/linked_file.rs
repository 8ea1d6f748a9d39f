//! Files that users name by a link instead of sending them: fetched once, when the request comes, and then treated like sent ones.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::error::{ApiError, ErrorKind};
use crate::net::egress::Egress;
use crate::net::{FetchError, Limits};

/// Largest file that is fetched, bytes: as much as a request may carry itself.
pub(super) const MOST_LINKED_BYTES: u64 = 32 << 20;
/// How long a file may take in all, redirects included. Its client waits for it.
const FETCH_TIME: Duration = Duration::from_secs(30);
/// How long nothing may come of it.
const FETCH_SILENCE: Duration = Duration::from_secs(10);
/// Files that are fetched at a time: each may take [`MOST_LINKED_BYTES`].
const FETCHED_AT_A_TIME: usize = 16;
/// How long a file may wait for its turn.
const TURN_TIME: Duration = Duration::from_secs(30);
/// After this many seconds those before it have had their time.
const RETRY_SECONDS: u32 = 10;

/// Fetches users' links, a few at a time. Cheap to clone; clones share the bound.
#[derive(Clone, Debug)]
pub struct LinkedFiles {
    egress: Egress,
    permits: Arc<Semaphore>,
}

/// Whether a text is a link to be fetched. Base64 holds no colon.
pub(super) fn is_link(text: &str) -> bool {
    let lower = text.trim_start().chars().take(8).collect::<String>().to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

impl LinkedFiles {
    /// Files that `egress` lets through.
    pub fn new(egress: Egress) -> Self {
        Self { egress, permits: Arc::new(Semaphore::new(FETCHED_AT_A_TIME)) }
    }

    /// The bytes that the link in `field` leads to, at most `max_bytes` of them. What is refused or fails is told in one line that says
    /// no more of networks than the user has written; the causes are in the log.
    pub(super) async fn fetch(&self, field: &str, link: &str, max_bytes: u64) -> Result<Bytes, ApiError> {
        let not_fetched = |error: &FetchError| {
            log(field, error);
            ApiError::invalid(field.to_owned(), format!("is a link that was not fetched: {error}"))
        };
        let url = self.egress.policy().check(link.trim()).map_err(|refusal| not_fetched(&refusal.into()))?;
        let busy = || {
            ApiError::new(ErrorKind::Unavailable, "too many files are being fetched; send the request again, or the file itself")
                .with_field(field.to_owned())
                .with_retry_after(RETRY_SECONDS)
        };
        let turn = tokio::time::timeout(TURN_TIME, self.permits.acquire()).await.map_err(|_| busy())?;
        let _turn = turn.map_err(ApiError::internal)?;
        let limits = Limits { max_bytes, total: FETCH_TIME, idle: FETCH_SILENCE };
        Ok(self.egress.get(&url, &limits).await.map_err(|error| not_fetched(&error))?.bytes)
    }
}

/// What the operator can see and the user cannot.
fn log(field: &str, error: &FetchError) {
    let first: &dyn Error = error;
    let causes = std::iter::successors(Some(first), |error| (*error).source()).map(ToString::to_string).collect::<Vec<_>>();
    tracing::info!(field, "A link of a user is not fetched: {}", causes.join(": "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::egress::EgressPolicy;

    #[test]
    fn links_are_told_from_base64() {
        for link in ["https://example.com/a.png", "HTTP://169.254.169.254/", " https://x"] {
            assert!(is_link(link), "{link}");
        }
        for other in ["", "data:image/png;base64,AAAA", "https", "aGVsbG8=", "httpsAAAA", "ftp://x", "file:///etc/passwd"] {
            assert!(!is_link(other), "{other}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_is_said_of_its_field() {
        let files = LinkedFiles::new(Egress::new(EgressPolicy::default()).unwrap());
        for (link, words) in [
            ("http://169.254.169.254/latest/meta-data/secret", "'169.254.169.254' is not called"),
            ("https://127.0.0.1/secret", "because it is a loopback address"),
            ("http://example.com/secret", "without TLS"),
            ("https://me:secret@example.com/", "user name or a password"),
        ] {
            let error = files.fetch("scenes[3].image", link, 10).await.unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidValue, Some("scenes[3].image")));
            let message = error.message();
            assert!(message.contains(words) && !message.contains("secret"), "{message}");
        }
    }
}
