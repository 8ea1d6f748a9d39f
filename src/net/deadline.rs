//! When a request must be done.

use std::time::Duration;

use tokio::time::Instant;

use super::error::FetchError;
use super::limits::Limits;

/// The end of the time that a request may take in all. Its parts share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// `None`: later than clocks can tell.
    at: Option<Instant>,
    total: Duration,
}

impl Deadline {
    /// The end of a request that begins now.
    pub(super) fn of(limits: &Limits) -> Self {
        Self { at: Instant::now().checked_add(limits.total), total: limits.total }
    }

    /// The same with a pause taken out, which is nobody's fault who is asked.
    pub(super) fn later_by(self, pause: Duration) -> Self {
        Self { at: self.at.and_then(|at| at.checked_add(pause)), ..self }
    }

    /// What `work` comes to, if it does in time. `host` is who is asked.
    pub(super) async fn bound<T>(self, host: &str, work: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
        let Some(at) = self.at else { return work.await };
        let slow = |_| FetchError::Slow { host: host.to_owned(), limit: self.total };
        tokio::time::timeout_at(at, work).await.map_err(slow)?
    }
}
