//! The durable store of jobs and tasks: one trait, one conformance suite, one file per database.
//!
//! Invariants:
//! - every change of state is one transaction, and goes only where [`JobState::may_become`] allows;
//! - a task is claimed by compare-and-swap; the claim's `attempt` is a fencing token, and every later write of the runner names it
//!   ([`Fence`]): a runner that lost its task learns so ([`StoreError::LeaseLost`]) and changes nothing;
//! - times are integers that come from the caller; no SQL reads a clock.

pub mod database;
pub mod sqlite;

#[cfg(test)]
mod conformance;

use async_trait::async_trait;

use crate::domain::{Job, JobError, JobId, JobResult, JobState, ModelId, Progress, Sha256Digest, TaskId, UnixMs, UserId};

pub use database::{Database, DatabaseError};
pub use sqlite::SqliteJobStore;

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such job.
    #[error("no job {0}")]
    NotFound(JobId),
    /// The task is not this runner's any more; its output must be discarded.
    #[error("the task is no longer this runner's")]
    LeaseLost,
    /// The user's idempotency key belongs to another request.
    #[error("the idempotency key belongs to another request")]
    Duplicate,
    /// As many jobs wait as may.
    #[error("{0} jobs are waiting already")]
    QueueFull(u64),
    /// The database holds something that this version cannot read.
    #[error("the database holds a value that cannot be read: {0}")]
    Corrupt(String),
    /// The database failed; the same call may succeed later.
    #[error("the database failed")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A job to insert, with its only task.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The job, queued.
    pub job: Job,
    /// Its task.
    pub task: TaskId,
    /// Hash of the task's inputs.
    pub task_key: Sha256Digest,
    /// Evaluations · megapixels.
    pub work: f64,
    /// Unique per user.
    pub idempotency_key: Option<String>,
    /// What the idempotency key stands for.
    pub request_sha256: Sha256Digest,
}

/// What became of an insert.
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// The job is stored.
    New,
    /// The user submitted this before, under the same idempotency key.
    Existing(Box<Job>),
}

/// A task that may be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyTask {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// What it needs loaded.
    pub model: ModelId,
}

/// A runner's hold on a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// Which claim of the task this is.
    pub attempt: i64,
    /// Who claimed it.
    pub owner: String,
}

/// A claimed task and its job, which now runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Proof for later writes.
    pub fence: Fence,
    /// The job.
    pub job: Job,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Its artifacts are stored.
    Completed(JobResult),
    /// It failed.
    Failed(JobError),
    /// Somebody stopped it.
    Cancelled,
}

impl Outcome {
    /// The state that this outcome leaves.
    pub const fn state(&self) -> JobState {
        match self {
            Self::Completed(_) => JobState::Completed,
            Self::Failed(_) => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
        }
    }
}

/// Jobs and tasks that survive the process.
#[async_trait]
pub trait JobStore: Send + Sync + std::fmt::Debug {
    /// Stores a job and its task; durable on return. Refuses when `queue_limit` tasks are waiting ([`StoreError::QueueFull`]), or the
    /// idempotency key stands for another request ([`StoreError::Duplicate`]).
    async fn insert(&self, record: &NewRecord, queue_limit: u64) -> Result<Inserted, StoreError>;

    /// A job.
    async fn job(&self, id: JobId) -> Result<Job, StoreError>;

    /// The newest jobs (of one user, if given), newest first, older than `before` if given.
    async fn jobs(&self, user: Option<&UserId>, before: Option<JobId>, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// Notes that a job shall stop: a queued one is cancelled by this call, a running one is marked. A terminal job is left alone. Gives
    /// the state before the call, and the job after it.
    async fn request_cancel(&self, id: JobId, now: UnixMs) -> Result<(JobState, Job), StoreError>;

    /// How many jobs are in each state; states without jobs are left out.
    async fn counts(&self) -> Result<Vec<(JobState, u64)>, StoreError>;

    /// Work of all queued and running tasks, by model.
    async fn unfinished_work(&self) -> Result<Vec<(ModelId, f64)>, StoreError>;

    /// The tasks to run next: by priority, then by age.
    async fn ready(&self, limit: u32) -> Result<Vec<ReadyTask>, StoreError>;

    /// Claims a queued task; `None` when somebody else was faster or it was cancelled.
    async fn claim(&self, task: TaskId, owner: &str, now: UnixMs, lease_until: UnixMs) -> Result<Option<Claim>, StoreError>;

    /// Writes down how far a claimed task is; says whether its job shall stop ([`JobStore::request_cancel`]).
    async fn record_progress(&self, fence: &Fence, progress: Progress, now: UnixMs) -> Result<bool, StoreError>;

    /// Ends a claimed task and its job; `progress` is how far it came.
    async fn finish(&self, fence: &Fence, outcome: &Outcome, progress: Progress, now: UnixMs) -> Result<Job, StoreError>;

    /// Gives a claimed task back to the queue without charging it (cancels it if that was asked for meanwhile).
    async fn release(&self, fence: &Fence, now: UnixMs) -> Result<Job, StoreError>;

    /// At start, when no other server can be running: what the last one left running.
    async fn running(&self) -> Result<Vec<Claim>, StoreError>;

    /// At start, when no other server can be running: gives every running task back, as [`JobStore::release`] does. Gives their number.
    async fn release_all(&self, now: UnixMs) -> Result<u64, StoreError>;
}
