//! An answer's body, read in parts within its limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::error::FetchError;
use super::limits::Limits;

/// A body of which no more than its limit is read. It is never unpacked: a few bytes could become many.
#[derive(Debug)]
pub(super) struct BoundedBody {
    response: Response,
    host: String,
    max_bytes: u64,
    /// Bytes that may still come.
    room: u64,
    idle: Duration,
}

impl BoundedBody {
    /// Refuses at once what says itself that it is too large, or compressed.
    pub(super) fn new(response: Response, host: &str, limits: &Limits) -> Result<Self, FetchError> {
        let host = host.to_owned();
        let is_plain = |value: &[u8]| value.trim_ascii().is_empty() || value.trim_ascii().eq_ignore_ascii_case(b"identity");
        if response.headers().get_all(CONTENT_ENCODING).iter().any(|value| !is_plain(value.as_bytes())) {
            return Err(FetchError::Encoded { host });
        }
        if response.content_length().is_some_and(|stated| stated > limits.max_bytes) {
            return Err(FetchError::TooLarge { host, max_bytes: limits.max_bytes });
        }
        Ok(Self { response, host, max_bytes: limits.max_bytes, room: limits.max_bytes, idle: limits.idle })
    }

    /// The next part; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let next = tokio::time::timeout(self.idle, self.response.chunk()).await;
        let next = next.map_err(|_| FetchError::Stalled { host: self.host.clone(), limit: self.idle })?;
        let Some(part) = next.map_err(|error| FetchError::of_transport(&self.host, error))? else { return Ok(None) };
        let too_large = || FetchError::TooLarge { host: self.host.clone(), max_bytes: self.max_bytes };
        self.room = self.room.checked_sub(part.len() as u64).ok_or_else(too_large)?;
        Ok(Some(part))
    }

    /// What has come by the end, by `deadline` or until something goes wrong, and whether it is the whole.
    pub(super) async fn read_what_comes(self, deadline: Deadline) -> (Bytes, bool) {
        let (come, is_whole, _) = self.read_in_turn(deadline, usize::MAX, std::future::ready(())).await;
        (come, is_whole)
    }

    /// The same; before it takes more than `small_bytes`, `turn` is waited for, outside of the deadline, and what that gave is handed on.
    pub(super) async fn read_in_turn<T>(
        mut self,
        mut deadline: Deadline,
        small_bytes: usize,
        turn: impl Future<Output = T>,
    ) -> (Bytes, bool, Option<T>) {
        let mut come = BytesMut::new();
        let (host, mut turn, mut taken) = (self.host.clone(), Some(turn), None);
        loop {
            match deadline.bound(&host, self.next()).await {
                Ok(Some(part)) => {
                    if come.len().saturating_add(part.len()) > small_bytes
                        && let Some(turn) = turn.take()
                    {
                        let begun = Instant::now();
                        taken = Some(turn.await);
                        deadline = deadline.later_by(begun.elapsed());
                    }
                    come.extend_from_slice(&part);
                }
                Ok(None) => return (come.freeze(), true, taken),
                Err(_) => return (come.freeze(), false, taken),
            }
        }
    }

    /// The whole. Memory grows with what has come, not with what was stated.
    pub(super) async fn read(mut self) -> Result<Bytes, FetchError> {
        let mut whole = BytesMut::new();
        while let Some(part) = self.next().await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }
}
