//! The scheduler's door to jobs: claim, report, finish.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::service::Shared;
use super::speed::work;
use super::store::{Claim, Fence, Outcome, ReadyTask, StoreError};
use crate::domain::{Clock, Job, JobEventKind, JobId, JobState, PreviewDemand, Progress, UnixMs};

/// How long a claim holds without being renewed. One server owns its database, so nobody else takes an expired claim yet.
const LEASE_MS: i64 = 60_000;

/// Claims tasks and reports on them, in the name of this boot of the server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobRunner {
    shared: Arc<Shared>,
    owner: Arc<str>,
}

/// A claimed task.
#[derive(Debug)]
pub struct RunningTask {
    /// Proof for writes.
    pub fence: Fence,
    /// The job.
    pub job: Job,
    /// Cancelled when a user asks the job to stop.
    pub stop: CancellationToken,
    /// Whether anybody wants previews.
    pub previews: PreviewDemand,
}

impl JobRunner {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, owner: Uuid::now_v7().to_string().into() }
    }

    /// The clock that all writes use.
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// How many devices share the queue, for estimates.
    pub fn set_devices(&self, count: usize) {
        self.shared.devices.store(count, Ordering::Relaxed);
    }

    /// Takes a measurement for estimates.
    pub fn observe_speed(&self, job: &Job, seconds: f64) {
        self.shared.speeds.observe(&job.request.model, work(&job.request), seconds);
    }

    /// What an earlier process left running; only at start, while this process alone owns the database.
    pub async fn left_over(&self) -> Result<Vec<Claim>, StoreError> {
        self.shared.store.running().await
    }

    /// Gives all of that back to the queue.
    pub async fn release_left_over(&self) -> Result<u64, StoreError> {
        self.shared.store.release_all(self.shared.clock.now()).await
    }

    /// Completes when a job was submitted after this call, or one permit is left from before.
    pub fn work_arrived(&self) -> Notified<'_> {
        self.shared.work_arrived.notified()
    }

    /// The tasks to run next, best first.
    pub async fn ready(&self, limit: u32) -> Result<Vec<ReadyTask>, StoreError> {
        self.shared.store.ready(limit).await
    }

    /// Claims a task; `None` when it is not to be had any more.
    pub async fn claim(&self, ready: &ReadyTask) -> Result<Option<RunningTask>, StoreError> {
        // Registered before the claim, so that a cancel finds the token as soon as the store says "running".
        let stop = CancellationToken::new();
        self.shared.stops.lock().insert(ready.job, stop.clone());
        let now = self.shared.clock.now();
        let claimed = self.shared.store.claim(ready.task, &self.owner, now, UnixMs(now.0 + LEASE_MS)).await;
        let Ok(Some(Claim { fence, job })) = claimed else {
            self.shared.stops.lock().remove(&ready.job);
            return claimed.map(|_| None);
        };
        let previews = self.shared.events.open(job.id);
        self.shared.events.publish(job.id, JobEventKind::State { state: JobState::Running, error: None });
        Ok(Some(RunningTask { fence, job, stop, previews }))
    }

    /// Tells the watchers of progress; the store is told by [`JobRunner::record_progress`], less often.
    pub fn publish_progress(&self, job: JobId, progress: Progress) {
        self.shared.events.publish(job, JobEventKind::Progress(progress));
    }

    /// Shows the watchers a preview.
    pub fn publish_preview(&self, job: JobId, index: u32, progress: Progress, png: bytes::Bytes) {
        self.shared.events.publish(job, JobEventKind::Preview { index, progress, png });
    }

    /// Writes progress down; says whether somebody has asked the job to stop.
    pub async fn record_progress(&self, fence: &Fence, progress: Progress) -> Result<bool, StoreError> {
        self.shared.store.record_progress(fence, progress, self.shared.clock.now()).await
    }

    /// Ends a task and its job.
    pub async fn finish(&self, fence: &Fence, outcome: &Outcome, progress: Progress) -> Result<Job, StoreError> {
        let job = self.shared.store.finish(fence, outcome, progress, self.shared.clock.now()).await?;
        self.left_running(&job);
        Ok(job)
    }

    /// Gives a task back to the queue, uncharged.
    pub async fn release(&self, fence: &Fence) -> Result<Job, StoreError> {
        let job = self.shared.store.release(fence, self.shared.clock.now()).await?;
        self.left_running(&job);
        Ok(job)
    }

    fn left_running(&self, job: &Job) {
        self.shared.stops.lock().remove(&job.id);
        self.shared.events.publish(job.id, JobEventKind::State { state: job.state, error: job.error.clone() });
    }
}
