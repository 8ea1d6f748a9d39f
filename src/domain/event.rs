//! What watchers of a job are told.

use std::fmt;

use super::ids::JobId;
use super::job::{JobError, JobState, Progress};
use super::plan::TaskRole;

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

/// What became of a task of a film.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStep {
    /// What it makes.
    pub role: TaskRole,
    /// Its place in the plan.
    pub position: u32,
    /// Which claim of the task this is.
    pub attempt: i64,
    /// Running, or how it ended.
    pub state: JobState,
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
    /// A task of a film began or ended; the store already says so.
    Task(TaskStep),
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
