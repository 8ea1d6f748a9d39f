//! Jobs in SQLite.
//!
//! Every write is one piece of work for [`SqliteDatabase::write`]. Statements that follow from each other are sent in one text: a
//! round trip to the connection's thread costs as much as the statement.

mod calls;
mod claims;
mod endings;
mod insert;
mod quotas;
mod reads;
mod retention;
mod waiting;

use std::collections::HashSet;

use async_trait::async_trait;

use super::{
    Claim, Ended, Ending, Fence, Inserted, JobFilter, JobPage, JobStore, JobWindow, NewRecord, QueuePosition, QueuedTask,
    Release, Renewal, Renewed, StoreError, TaskRecord,
};
use crate::database::SqliteDatabase;
use crate::domain::{CounterKey, Job, JobId, JobState, TaskId, UnixMs};
use crate::jobs::store::rows::{EndRow, NewRow, to_json};
use crate::ledger::{CallEnding, NewCall};
use waiting::Waiting;

/// [`JobStore`] over a [`SqliteDatabase`]. Clones share what they know; a database has one store and its clones.
#[derive(Clone, Debug)]
pub struct SqliteJobStore {
    database: SqliteDatabase,
    waiting: Waiting,
}

impl SqliteJobStore {
    /// The jobs of this database.
    pub fn new(database: SqliteDatabase) -> Self {
        let waiting = Waiting::new(database.clone());
        Self { database, waiting }
    }
}

#[async_trait]
impl JobStore for SqliteJobStore {
    async fn insert(&self, record: &NewRecord, queue_limit: u64) -> Result<Inserted, StoreError> {
        let (row, reservations, waiting) = (NewRow::of(record)?, record.reservations.clone(), self.waiting.clone());
        self.database
            .write(async move |connection| insert::insert(connection, &row, &reservations, queue_limit, &waiting).await)
            .await
    }

    async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        reads::job(&mut connection, id).await
    }

    async fn jobs_of(&self, ids: &[JobId]) -> Result<Vec<Job>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        reads::jobs_of(&mut connection, ids).await
    }

    async fn stored(&self, ids: &[JobId]) -> Result<HashSet<JobId>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        reads::stored(&mut connection, ids).await
    }

    async fn jobs(&self, filter: &JobFilter, before: Option<JobId>, limit: u32) -> Result<Vec<Job>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        reads::jobs(&mut connection, filter, before, limit).await
    }

    async fn page(&self, filter: &JobFilter, window: &JobWindow) -> Result<JobPage, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        reads::page(&mut connection, filter, window).await
    }

    async fn tasks_of(&self, id: JobId) -> Result<Vec<TaskRecord>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        reads::tasks_of(&mut connection, id).await
    }

    async fn request_cancel(&self, id: JobId, now: UnixMs) -> Result<(JobState, Job), StoreError> {
        let waiting = self.waiting.clone();
        self.database.write(async move |connection| endings::request_cancel(connection, id, now, &waiting).await).await
    }

    async fn set_priority(&self, id: JobId, priority: i32, now: UnixMs) -> Result<Job, StoreError> {
        self.database.write(async move |connection| insert::set_priority(connection, id, priority, now).await).await
    }

    async fn counts(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        reads::counts(&mut connection).await
    }

    async fn queued(&self, after: QueuePosition, limit: u32) -> Result<Vec<QueuedTask>, StoreError> {
        loop {
            let mut connection = self.database.read().acquire().await?;
            let (tasks, unreadable) = reads::queued(&mut connection, after, limit).await?;
            drop(connection);
            if unreadable.is_empty() {
                return Ok(tasks);
            }
            // They would wait for ever. Without them the page is another.
            let waiting = self.waiting.clone();
            self.database.write(async move |connection| claims::fail_waiting(connection, &unreadable, &waiting).await).await?;
        }
    }

    async fn claim(&self, tasks: &[TaskId], owner: &str, now: UnixMs, lease_until: UnixMs) -> Result<Vec<Claim>, StoreError> {
        let (tasks, owner, waiting) = (to_json(&tasks)?, owner.to_owned(), self.waiting.clone());
        self.database
            .write(async move |connection| claims::claim(connection, &tasks, &owner, now, lease_until, &waiting).await)
            .await
    }

    async fn renew(&self, renewals: &[Renewal], now: UnixMs, lease_until: UnixMs) -> Result<Vec<Renewed>, StoreError> {
        if renewals.is_empty() {
            return Ok(Vec::new());
        }
        let renewals = renewals.to_vec();
        self.database.write(async move |connection| claims::renew(connection, &renewals, now, lease_until).await).await
    }

    async fn finish(&self, ending: &Ending, now: UnixMs) -> Result<Ended, StoreError> {
        let (row, ending, waiting) = (EndRow::of(&ending.outcome)?, ending.clone(), self.waiting.clone());
        self.database.write(async move |connection| endings::finish(connection, &ending, &row, now, &waiting).await).await
    }

    async fn release(&self, fence: &Fence, release: &Release, now: UnixMs) -> Result<Job, StoreError> {
        let (fence, release, waiting) = (fence.clone(), *release, self.waiting.clone());
        self.database.write(async move |connection| endings::release(connection, &fence, &release, now, &waiting).await).await
    }

    async fn give_back_expired(&self, owner: &str, all: bool, now: UnixMs) -> Result<Vec<Claim>, StoreError> {
        let (owner, waiting) = (owner.to_owned(), self.waiting.clone());
        self.database
            .write(async move |connection| endings::give_back_expired(connection, &owner, all, now, &waiting).await)
            .await
    }

    async fn open_calls(&self, jobs: &[JobId]) -> Result<HashSet<TaskId>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        calls::open(&mut connection, jobs).await
    }

    async fn charge_late(&self, job: JobId, task: TaskId) -> Result<(), StoreError> {
        self.database.write(async move |connection| calls::charge_late(connection, job, task).await).await
    }

    async fn settle_late(&self, call: &NewCall, ending: &CallEnding, now: UnixMs) -> Result<bool, StoreError> {
        let (call, ending) = (call.clone(), ending.clone());
        self.database.write(async move |connection| calls::settle_late(connection, &call, &ending, now).await).await
    }

    async fn usage(&self, counters: &[CounterKey]) -> Result<Vec<(CounterKey, i64)>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        quotas::usage(&mut connection, counters).await
    }

    async fn ended(&self, before: UnixMs, limit: u32) -> Result<Vec<Job>, StoreError> {
        loop {
            let mut connection = self.database.read().acquire().await?;
            let (jobs, unreadable) = retention::ended(&mut connection, before, limit).await?;
            drop(connection);
            if unreadable.is_empty() {
                return Ok(jobs);
            }
            self.database.write(async move |connection| retention::forget(connection, &unreadable).await).await?;
        }
    }

    async fn forget(&self, jobs: &[JobId]) -> Result<u64, StoreError> {
        let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        self.database.write(async move |connection| retention::forget(connection, &jobs).await).await
    }

    async fn forget_counters(&self, before: UnixMs) -> Result<u64, StoreError> {
        self.database.write(async move |connection| quotas::forget(connection, before).await).await
    }

    /// Never completes: the file is one server's own.
    async fn changed_elsewhere(&self) {
        std::future::pending::<()>().await;
    }

    async fn clock_offset_ms(&self, _local_now: UnixMs) -> Result<i64, StoreError> {
        Ok(0)
    }

    async fn lead_upkeep(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}
