//! The durable store of jobs and tasks: one trait, one conformance suite, one file per database.
//!
//! Invariants:
//! - every change of state is one transaction, whose statements name the state that they change from: none but the changes of
//!   [`JobState::may_become`] are written;
//! - a task is claimed by compare-and-swap; the claim's `attempt` is a fencing token, and every later write of the runner names it
//!   ([`Fence`]): a runner that lost its task learns so ([`StoreError::LeaseLost`]) and changes nothing;
//! - which tasks follow a finished one is decided by [`crate::domain::plan`] within the transaction that ends it: every task of a job
//!   exists once, and exactly when all that it needs is there;
//! - a terminal job has no task that waits or runs;
//! - times are integers that come from the caller; no SQL reads a clock.

mod claimed;
mod filter;
mod follow;
mod ledger;
mod new_tasks;
pub mod postgres;
mod rows;
pub mod sqlite;

#[cfg(test)]
mod conformance;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::plan::{Lane, PlannedTask};
use crate::domain::{
    BatchKey, Callback, CounterKey, Job, JobError, JobId, JobKind, JobResult, JobState, ModelId, Progress, ProjectId,
    QuotaRefusal, Reservation, Sha256Digest, Spent, TaskId, UnixMs, UserId,
};

use crate::database::Database;
use crate::ledger::{CallEnding, NewCall};

pub use postgres::PostgresJobStore;
pub use sqlite::SqliteJobStore;

/// Longer than any pause before a retry, milliseconds. A task that shall wait longer than that from now was put back by a clock that
/// ran ahead, and is due.
pub const LONGEST_PAUSE_MS: i64 = 10 * 60 * 1000;

/// A lease that ends later than this from now, milliseconds, was written by a clock that has been put back since, and has ended: none is
/// longer than 600 s, and servers' clocks differ by less than the rest.
pub const FARTHEST_LEASE_END_MS: i64 = 15 * 60 * 1000;

/// The jobs of a database. To be called once for a database: what this returns may keep in memory what it has counted.
pub fn open(database: &Database) -> Arc<dyn JobStore> {
    match database {
        Database::Sqlite(database) => Arc::new(SqliteJobStore::new(database.clone())),
        Database::Postgres(database) => Arc::new(PostgresJobStore::new(database.clone())),
    }
}

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
    /// A quota has not enough left.
    #[error("a quota has not enough left")]
    Quota(Box<QuotaRefusal>),
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

/// A job to insert, with those of its tasks that can run at once and those whose files it takes over from an earlier job.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The job, queued.
    pub job: Job,
    /// At least one of them waits.
    pub tasks: Vec<NewTask>,
    /// Unique per user.
    pub idempotency_key: Option<String>,
    /// What the idempotency key stands for.
    pub request_sha256: Sha256Digest,
    /// What it takes from the quotas, sorted by counter; all of it or the job is refused.
    pub reservations: Vec<Reservation>,
    /// Where it tells what became of it. What it tells is written by the database itself, in the transaction of each change.
    pub callback: Option<Callback>,
}

/// A task to insert.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// The task.
    pub id: TaskId,
    /// Its place in the job's plan.
    pub position: u32,
    /// The rest of what the plan says of it.
    pub planned: PlannedTask,
    /// What it has left already; absent: it waits.
    pub result: Option<JobResult>,
}

/// What became of an insert.
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// The job is stored.
    New,
    /// The user submitted this before, under the same idempotency key.
    Existing(Box<Job>),
}

/// A waiting task, with all that a decision needs and nothing more: there may be a million of them in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedTask {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// Whose.
    pub user: UserId,
    /// For which project.
    pub project: Option<ProjectId>,
    /// Its place in the job's plan.
    pub position: u32,
    /// Who runs it.
    pub lane: Lane,
    /// With whom it can share evaluations. A host's task has the job's model and no size, a provider's the provider's name and no size.
    pub batch: BatchKey,
    /// Rows of its evaluations.
    pub rows: u32,
    /// Evaluations · megapixels.
    pub work: f64,
    /// Higher goes first.
    pub priority: i32,
    /// When the job was accepted: what ageing counts from.
    pub created: UnixMs,
    /// When it last joined the queue: what [`JobStore::queued`] pages by.
    pub queued: UnixMs,
    /// Not before this time (a retry's pause).
    pub run_after: Option<UnixMs>,
    /// It shall not share a worker with other tasks: one of a group that lost its worker. A host's task: not run beside another such one.
    pub alone: bool,
    /// A provider's task: another target of its job's route can be tried where this one does not come to run.
    pub has_next_target: bool,
    /// A provider's task: its provider may work for it already, as the ledger says.
    pub has_open_call: bool,
}

/// Where a look at the queue continues: tasks after this time, and after this task (without one: all) among those of the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueuePosition {
    /// [`QueuedTask::queued`].
    pub queued: UnixMs,
    /// [`QueuedTask::task`].
    pub task: Option<TaskId>,
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
    /// How often the task has been charged for a failure.
    pub failures: u32,
    /// It must have its worker to itself.
    pub alone: bool,
    /// Its place in the job's plan.
    pub position: u32,
    /// What the job's finished tasks have left, by position; for a job of one task, nothing.
    pub finished: BTreeMap<u32, JobResult>,
}

/// A sign of life of a running task.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The task.
    pub fence: Fence,
    /// How far its job is.
    pub progress: Progress,
}

/// The answer to a [`Renewal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The task is still the runner's.
    Held {
        /// Somebody asked the job to stop.
        cancel_requested: bool,
    },
    /// It was not extended, because somebody else is changing the job at this moment. To be asked again soon.
    Busy,
    /// It is not; its output must be discarded.
    Lost,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Its artifacts are stored.
    Completed(JobResult),
    /// It failed.
    Failed(JobError),
    /// It failed, and the next target of its job's route is tried; where there is none, it has failed. What else of it waits or runs ends.
    PassedOn(JobError),
    /// Somebody stopped it.
    Cancelled,
}

impl Outcome {
    /// The state that this outcome leaves.
    pub const fn state(&self) -> JobState {
        match self {
            Self::Completed(_) => JobState::Completed,
            Self::Failed(_) | Self::PassedOn(_) => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
        }
    }
}

/// The end of a claimed task.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The task.
    pub fence: Fence,
    /// How.
    pub outcome: Outcome,
    /// How far its job came.
    pub progress: Progress,
    /// What the task took. When the job ends, the quotas are charged with what all of its tasks took, and the reserved rest goes back.
    pub spent: Spent,
}

/// What followed from the end of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The job as it stands: running, if it has more tasks.
    pub job: Job,
    /// Tasks that wait from now on.
    pub arrived: Vec<QueuedTask>,
}

/// A task of a job as it stands. Those that do not exist yet are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRecord {
    /// The task.
    pub id: TaskId,
    /// Its place in the job's plan.
    pub position: u32,
    /// Where it stands.
    pub state: JobState,
    /// How often it was claimed; 0 when it was taken over from an earlier job.
    pub attempt: i64,
    /// What it has left, when completed.
    pub result: Option<JobResult>,
}

/// How a task goes back to the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The failure was the task's own: it counts.
    pub charged: bool,
    /// It is to run alone next time.
    pub alone: bool,
    /// Not before this time.
    pub run_after: Option<UnixMs>,
}

/// Which jobs a list shows.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only this project's.
    pub project: Option<ProjectId>,
    /// Only those of this kind.
    pub kind: Option<JobKind>,
    /// Only those in one of these states; empty means all.
    pub states: Vec<JobState>,
    /// Only those of one of these models; empty means all.
    pub models: Vec<ModelId>,
    /// Only those of which a task waits that has been run before.
    pub is_waiting_again: bool,
}

/// By what a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOrder {
    /// What was submitted last comes first.
    NewestFirst,
    /// What was submitted first comes first.
    OldestFirst,
}

/// Which part of a list that is read by places.
#[derive(Clone, Copy, Debug)]
pub struct JobWindow {
    /// The list's order.
    pub order: JobOrder,
    /// How many jobs the list goes through, from its beginning: those of [`JobFilter::user`] and [`JobFilter::project`], or, without
    /// them, everybody's. The filter's other parts choose among these, so that what a list costs does not grow with the database.
    pub look_through: u32,
    /// How many of the jobs that the filter lets through come before the part.
    pub skip: u32,
    /// How many the part has at most.
    pub limit: u32,
}

/// A part of a list that is read by places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPage {
    /// The part.
    pub jobs: Vec<Job>,
    /// How many jobs the whole list has.
    pub total: u64,
}

/// Jobs and tasks that survive the process.
#[async_trait]
pub trait JobStore: Send + Sync + std::fmt::Debug {
    /// Stores a job and its first tasks and takes its reservations; durable on return. What it took over from an earlier job are copies,
    /// whose bytes it pays for when it ends. Refuses when `queue_limit` tasks are waiting
    /// ([`StoreError::QueueFull`]), a quota has not enough left ([`StoreError::Quota`]), or the idempotency key stands for another
    /// request ([`StoreError::Duplicate`]); a refused insert changes nothing.
    ///
    /// Where one server has the store to itself, the queue's limit is exact. Where several share it, the number of waiting tasks is not
    /// counted for every job: each server may put at most [`PostgresJobStore::MOST_UNCOUNTED`] tasks above the limit, and as many as it
    /// inserts at the same moment.
    async fn insert(&self, record: &NewRecord, queue_limit: u64) -> Result<Inserted, StoreError>;

    /// A job.
    async fn job(&self, id: JobId) -> Result<Job, StoreError>;

    /// Those of these jobs that are there and can be read, in no order.
    async fn jobs_of(&self, ids: &[JobId]) -> Result<Vec<Job>, StoreError>;

    /// Those of these jobs that are there, whether they can be read or not.
    async fn stored(&self, ids: &[JobId]) -> Result<HashSet<JobId>, StoreError>;

    /// The newest jobs that `filter` lets through, newest first, older than `before` if given. Rows that this version cannot read are
    /// logged and left out.
    async fn jobs(&self, filter: &JobFilter, before: Option<JobId>, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// The part `window` of the list of what `filter` lets through, and the list's length. Rows that this version cannot read are logged
    /// and left out of the part; they count all the same.
    async fn page(&self, filter: &JobFilter, window: &JobWindow) -> Result<JobPage, StoreError>;

    /// The tasks of a job that exist, by position.
    async fn tasks_of(&self, id: JobId) -> Result<Vec<TaskRecord>, StoreError>;

    /// Notes that a job shall stop: one of which no task runs is cancelled (and settled) by this call; of a running one the waiting tasks
    /// are cancelled, and it is marked. A terminal job is left alone. Gives the state before the call, and the job after it.
    async fn request_cancel(&self, id: JobId, now: UnixMs) -> Result<(JobState, Job), StoreError>;

    /// Moves the waiting tasks of a job within the queue, which they join anew ([`QueuedTask::queued`]), so that whoever follows the queue
    /// learns of it; those that follow them have the new priority too. A job of which nothing waits or will wait is left alone. Gives the
    /// job after the call.
    async fn set_priority(&self, id: JobId, priority: i32, now: UnixMs) -> Result<Job, StoreError>;

    /// How many jobs are in each state that is not terminal; states without jobs are left out. Its cost does not grow with the jobs that
    /// have ended.
    async fn counts(&self) -> Result<Vec<(JobState, u64)>, StoreError>;

    /// Waiting tasks that joined the queue after `after`, in the order in which they joined. Tasks that cannot be read fail with their
    /// jobs. Times are those of the callers and writes are concurrent: a task may appear behind one that is already here, so whoever
    /// follows the queue looks back a little.
    async fn queued(&self, after: QueuePosition, limit: u32) -> Result<Vec<QueuedTask>, StoreError>;

    /// Claims those of `tasks` that still wait, in one transaction, and gives what was won: a task is missing when somebody else was
    /// faster, it was cancelled, its time has not come, or its row cannot be read (its job then fails).
    async fn claim(&self, tasks: &[TaskId], owner: &str, now: UnixMs, lease_until: UnixMs) -> Result<Vec<Claim>, StoreError>;

    /// Extends leases and writes progress down, in one transaction; answers in the order of `renewals`.
    async fn renew(&self, renewals: &[Renewal], now: UnixMs, lease_until: UnixMs) -> Result<Vec<Renewed>, StoreError>;

    /// Ends a claimed task. After a completed one the tasks wait whose turn it is by then; after the last one of the plan the job is
    /// completed with that task's result. After a failed or a cancelled one the job ends so, and its other tasks are cancelled: whoever
    /// runs one learns that it is lost. A job of several tasks that has taken, together with this one, all that a counter has left of which
    /// it reserved nothing beforehand (device time) fails with [`crate::domain::ErrorCode::QuotaExceeded`], and one that was asked to stop
    /// meanwhile is cancelled, unless this was its last task. When the job ends, its reservations are settled: one of several tasks that
    /// was not completed pays for its device time and for the files that its completed tasks have left, and for nothing else. The same
    /// ending once more, after a lost answer, changes nothing and gives the job, with its waiting tasks.
    async fn finish(&self, ending: &Ending, now: UnixMs) -> Result<Ended, StoreError>;

    /// Gives a claimed task back to the queue; its job waits again if no other task of it runs. If the job was asked to stop meanwhile,
    /// the task is cancelled, and so is the job when no other task of it runs.
    async fn release(&self, fence: &Fence, release: &Release, now: UnixMs) -> Result<Job, StoreError>;

    /// Gives back, uncharged, every running task whose lease ended before `now` (or, [`FARTHEST_LEASE_END_MS`] says, was given by a clock
    /// that ran ahead) and that is not `owner`'s; with `all`, whatever its lease says (at start, where no other server can be running).
    /// Gives the claims that were cut off, so that their files can be removed, with their jobs as they are now.
    async fn give_back_expired(&self, owner: &str, all: bool, now: UnixMs) -> Result<Vec<Claim>, StoreError>;

    /// Those tasks of these jobs whose calls to providers have not ended, whether they have themselves or not.
    async fn open_calls(&self, jobs: &[JobId]) -> Result<HashSet<TaskId>, StoreError>;

    /// Has a task that has ended cost what its calls to providers cost that have ended: it, its job and, if that has ended, its counters.
    /// The same once more changes nothing; a task that is not there, or has not ended, is left alone.
    async fn charge_late(&self, job: JobId, task: TaskId) -> Result<(), StoreError>;

    /// Ends a call and does as [`Self::charge_late`] with its task, all or nothing. `false` where the call had ended already: the first
    /// ending stays.
    async fn settle_late(&self, call: &NewCall, ending: &CallEnding, now: UnixMs) -> Result<bool, StoreError>;

    /// What these counters hold; counters that nothing was ever added to are left out.
    async fn usage(&self, counters: &[CounterKey]) -> Result<Vec<(CounterKey, i64)>, StoreError>;

    /// At most `limit` terminal jobs that ended before `before`, the oldest first. Those that cannot be read are forgotten: nobody could
    /// ever say what their files are. Those of which a call to a provider is open are left out: what it costs is not known yet.
    async fn ended(&self, before: UnixMs, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// Removes those of these jobs that are terminal and have no open call to a provider, and takes their bytes from the storage counters; gives their number. Their files
    /// are removed before that: once their rows have gone, nobody knows of the files.
    async fn forget(&self, jobs: &[JobId]) -> Result<u64, StoreError>;

    /// Removes counters whose window began before `before`; gives their number.
    async fn forget_counters(&self, before: UnixMs) -> Result<u64, StoreError>;

    /// Completes when another server may have changed the queue; never, where there can be no other.
    async fn changed_elsewhere(&self);

    /// Milliseconds to add to this machine's clock to get the time that all servers of the store share; 0 where there can be no other.
    async fn clock_offset_ms(&self, local_now: UnixMs) -> Result<i64, StoreError>;

    /// Takes the right to do the upkeep of the store, which one server has at a time; `false` when another has it.
    async fn lead_upkeep(&self) -> Result<bool, StoreError>;
}
