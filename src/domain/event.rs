//! What watchers of a job are told.

use std::fmt;

use super::ids::JobId;
use super::job::{JobError, JobState, Progress};

/// Orders events: the server's boot, then a counter. Written `epoch-n` in SSE ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// The boot this event belongs to (Unix milliseconds of start).
    pub epoch: i64,
    /// Position within the boot.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct JobEvent {
    /// Its place in the order.
    pub id: EventId,
    /// The job.
    pub job: JobId,
    /// What happened.
    pub kind: JobEventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum JobEventKind {
    /// The job changed state; the store already says so.
    State {
        /// The new state.
        state: JobState,
        /// When failed.
        error: Option<JobError>,
    },
    /// An evaluation was done.
    Progress(Progress),
    /// A preview of picture `index`: a small PNG of the predicted result.
    Preview {
        /// Which picture of the job.
        index: u32,
        /// Progress at that moment.
        progress: Progress,
        /// PNG bytes.
        png: bytes::Bytes,
    },
}
