//! Jobs in PostgreSQL, for several servers at once.
//!
//! Every call is given up after a while ([`in_time`]): a database that vanished says nothing, and whoever calls goes on trying.
//!
//! Locks are taken in one order, so that nobody waits in a circle: a job's row, then its tasks', then counters as they sort. A job's
//! row is the lock of all that belongs to the job. Who wants many jobs either skips the locked ones or takes them as they sort.

mod calls;
mod claims;
mod endings;
mod insert;
mod quotas;
mod reads;
mod retention;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    Claim, Ended, Ending, Fence, Inserted, JobFilter, JobPage, JobStore, JobWindow, NewRecord, QueuePosition, QueuedTask,
    Release, Renewal, Renewed, StoreError, TaskRecord,
};
use crate::database::{PostgresDatabase, in_time};
use crate::domain::{CounterKey, Job, JobId, JobState, TaskId, UnixMs};
use crate::ledger::{CallEnding, NewCall};

/// [`JobStore`] over a [`PostgresDatabase`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PostgresJobStore {
    database: PostgresDatabase,
    uncounted: Arc<Mutex<insert::Uncounted>>,
}

impl PostgresJobStore {
    /// Tasks that a server inserts at most between two looks at the length of the queue.
    pub const MOST_UNCOUNTED: u64 = 64;

    /// The jobs of this database.
    pub fn new(database: PostgresDatabase) -> Self {
        Self { database, uncounted: Arc::default() }
    }
}

#[async_trait]
impl JobStore for PostgresJobStore {
    async fn insert(&self, record: &NewRecord, queue_limit: u64) -> Result<Inserted, StoreError> {
        in_time(insert::insert(&self.database, record, queue_limit, &self.uncounted)).await
    }

    async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        in_time(async { reads::job(&mut *self.database.pool().acquire().await?, id).await }).await
    }

    async fn jobs_of(&self, ids: &[JobId]) -> Result<Vec<Job>, StoreError> {
        in_time(async { reads::jobs_of(&mut *self.database.pool().acquire().await?, ids).await }).await
    }

    async fn stored(&self, ids: &[JobId]) -> Result<HashSet<JobId>, StoreError> {
        in_time(async { reads::stored(&mut *self.database.pool().acquire().await?, ids).await }).await
    }

    async fn jobs(&self, filter: &JobFilter, before: Option<JobId>, limit: u32) -> Result<Vec<Job>, StoreError> {
        in_time(async { reads::jobs(&mut *self.database.pool().acquire().await?, filter, before, limit).await }).await
    }

    async fn page(&self, filter: &JobFilter, window: &JobWindow) -> Result<JobPage, StoreError> {
        in_time(async { reads::page(&mut *self.database.pool().acquire().await?, filter, window).await }).await
    }

    async fn tasks_of(&self, id: JobId) -> Result<Vec<TaskRecord>, StoreError> {
        in_time(async { reads::tasks_of(&mut *self.database.pool().acquire().await?, id).await }).await
    }

    async fn request_cancel(&self, id: JobId, now: UnixMs) -> Result<(JobState, Job), StoreError> {
        in_time(endings::request_cancel(&self.database, id, now)).await
    }

    async fn set_priority(&self, id: JobId, priority: i32, now: UnixMs) -> Result<Job, StoreError> {
        in_time(insert::set_priority(&self.database, id, priority, now)).await
    }

    async fn counts(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        in_time(async { reads::counts(&mut *self.database.pool().acquire().await?).await }).await
    }

    async fn queued(&self, after: QueuePosition, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        loop {
            let read = async { reads::queued(&mut *self.database.pool().acquire().await?, after, limit).await };
            let (tasks, unreadable) = in_time(read).await?;
            if unreadable.is_empty() {
                return Ok(tasks);
            }
            // They would wait for ever. Without them the page is another.
            in_time(claims::fail_waiting(&self.database, &unreadable)).await?;
        }
    }

    async fn claim(&self, tasks: &[TaskId], owner: &str, now: UnixMs, lease_until: UnixMs) -> Result<Vec<Claim>, StoreError> {
        in_time(claims::claim(&self.database, tasks, owner, now, lease_until)).await
    }

    async fn renew(&self, renewals: &[Renewal], now: UnixMs, lease_until: UnixMs) -> Result<Vec<Renewed>, StoreError> {
        if renewals.is_empty() {
            return Ok(Vec::new());
        }
        in_time(claims::renew(&self.database, renewals, now, lease_until)).await
    }

    async fn finish(&self, ending: &Ending, now: UnixMs) -> Result<Ended, StoreError> {
        in_time(endings::finish(&self.database, ending, now)).await
    }

    async fn release(&self, fence: &Fence, release: &Release, now: UnixMs) -> Result<Job, StoreError> {
        in_time(endings::release(&self.database, fence, release, now)).await
    }

    async fn give_back_expired(&self, owner: &str, all: bool, now: UnixMs) -> Result<Vec<Claim>, StoreError> {
        in_time(endings::give_back_expired(&self.database, owner, all, now)).await
    }

    async fn open_calls(&self, jobs: &[JobId]) -> Result<HashSet<TaskId>, StoreError> {
        in_time(async { calls::open(&mut *self.database.pool().acquire().await?, jobs).await }).await
    }

    async fn charge_late(&self, job: JobId, task: TaskId) -> Result<(), StoreError> {
        in_time(calls::charge_late(&self.database, job, task)).await
    }

    async fn settle_late(&self, call: &NewCall, ending: &CallEnding, now: UnixMs) -> Result<bool, StoreError> {
        in_time(calls::settle_late(&self.database, call, ending, now)).await
    }

    async fn usage(&self, counters: &[CounterKey]) -> Result<Vec<(CounterKey, i64)>, StoreError> {
        in_time(async { quotas::usage(&mut *self.database.pool().acquire().await?, counters).await }).await
    }

    async fn ended(&self, before: UnixMs, limit: u32) -> Result<Vec<Job>, StoreError> {
        loop {
            let read = async { retention::ended(&mut *self.database.pool().acquire().await?, before, limit).await };
            let (jobs, unreadable) = in_time(read).await?;
            // Those that somebody has locked are for the next time.
            if unreadable.is_empty() || in_time(retention::forget(&self.database, &unreadable)).await? == 0 {
                return Ok(jobs);
            }
        }
    }

    async fn forget(&self, jobs: &[JobId]) -> Result<u64, StoreError> {
        let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        in_time(retention::forget(&self.database, &jobs)).await
    }

    async fn forget_counters(&self, before: UnixMs) -> Result<u64, StoreError> {
        in_time(async { quotas::forget(&mut *self.database.pool().acquire().await?, before).await }).await
    }

    async fn changed_elsewhere(&self) {
        self.database.changed_elsewhere().await;
    }

    async fn clock_offset_ms(&self, local_now: UnixMs) -> Result<i64, StoreError> {
        Ok(in_time(self.database.clock_offset_ms(local_now)).await?)
    }

    async fn lead_upkeep(&self) -> Result<bool, StoreError> {
        Ok(in_time(self.database.lead()).await?)
    }
}
