//! The service that the APIs call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::JobServiceError;
use super::events::{EventHub, JobEvents, Previews};
use super::feed::{QueueChange, QueueFeed};
use super::progress::JobProgress;
use super::removal;
use super::retry::{self, Retry};
use super::runner::JobRunner;
use super::store::TaskRecord;
use super::store::{JobFilter, JobPage, JobStore, JobWindow};
use super::submission::{self, NewInput, NewJob};
use crate::domain::{Clock, CounterKey, Job, JobEventKind, JobId, JobRequest, JobState, Principal, Reservation};
use crate::storage::ArtifactStorage;

/// Settings of a [`JobService`].
#[derive(Clone, Copy, Debug)]
pub struct JobServiceOptions {
    /// How many jobs may wait.
    pub queue_limit: u64,
}

impl Default for JobServiceOptions {
    fn default() -> Self {
        Self { queue_limit: 10_000 }
    }
}

/// Submit, look, watch, cancel, retry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobService {
    shared: Arc<Shared>,
}

/// A job of which tasks run on this server.
#[derive(Clone, Debug)]
pub(super) struct LiveJob {
    /// Tells all of them to stop.
    pub(super) stop: CancellationToken,
    /// How far they are together.
    pub(super) progress: Arc<JobProgress>,
}

impl LiveJob {
    /// Of a job whose plan has not been looked at.
    pub(super) fn unknown() -> Self {
        Self { stop: CancellationToken::new(), progress: Arc::new(JobProgress::new(0, 0)) }
    }
}

/// What the service and the runner have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) storage: ArtifactStorage,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: EventHub,
    /// What the scheduler is told of the queue.
    pub(super) feed: QueueFeed,
    /// The jobs of which tasks run here.
    pub(super) live: Mutex<HashMap<JobId, LiveJob>>,
    pub(super) options: JobServiceOptions,
    /// Calls that change jobs: each runs to its end even when its client hangs up.
    changes: TaskTracker,
    closed: AtomicBool,
}

impl JobService {
    /// A service over a store and a storage.
    pub fn new(store: Arc<dyn JobStore>, storage: ArtifactStorage, clock: Arc<dyn Clock>, options: JobServiceOptions) -> Self {
        let events = EventHub::new(clock.now());
        Self {
            shared: Arc::new(Shared {
                store,
                storage,
                clock,
                events,
                feed: QueueFeed::default(),
                live: Mutex::default(),
                options,
                changes: TaskTracker::new(),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// The scheduler's door to the same jobs.
    pub fn runner(&self) -> JobRunner {
        JobRunner::new(self.shared.clone())
    }

    /// Accepts no more jobs; the first step of a shutdown.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    /// Completes when every call that was under way has done all that belongs to it, whether or not its client waited for that; the
    /// database may be closed after it.
    pub async fn settled(&self) {
        self.shared.changes.close();
        self.shared.changes.wait().await;
    }

    /// Accepts a job: durable when this returns. The caller owns it, and so does the project that its key is bound to.
    pub async fn submit(&self, principal: &Principal, mut job: NewJob) -> Result<Job, JobServiceError> {
        if let Some(project) = &principal.project {
            job.project = Some(project.clone());
        }
        self.refuse_when_closed()?;
        let (id, user) = (JobId::generate(), principal.user.clone());
        self.to_the_end(submission::accept(self.shared.clone(), id, user, job, Vec::new())).await
    }

    fn refuse_when_closed(&self) -> Result<(), JobServiceError> {
        if self.shared.closed.load(Ordering::Relaxed) { Err(JobServiceError::ShuttingDown) } else { Ok(()) }
    }

    /// Runs a call that must not stop in the middle when whoever waits for it goes away.
    async fn to_the_end<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, JobServiceError>> + Send + 'static,
    ) -> Result<T, JobServiceError> {
        self.shared.changes.spawn(call).await.map_err(|error| JobServiceError::Store(Box::new(error)))?
    }

    /// A job of the caller (any job, for administrators).
    pub async fn get(&self, principal: &Principal, id: JobId) -> Result<Job, JobServiceError> {
        let job = self.shared.store.job(id).await?;
        if !may_see(principal, &job) {
            return Err(JobServiceError::NotFound(id));
        }
        Ok(self.shared.with_live_progress(job))
    }

    /// The newest jobs that the caller may see and `filter` lets through, newest first, before `before` (exclusive) if given.
    pub async fn list(
        &self,
        principal: &Principal,
        filter: JobFilter,
        limit: u32,
        before: Option<JobId>,
    ) -> Result<Vec<Job>, JobServiceError> {
        let Some(filter) = within_sight(principal, filter) else { return Ok(Vec::new()) };
        let jobs = self.shared.store.jobs(&filter, before, limit).await?;
        Ok(jobs.into_iter().map(|job| self.shared.with_live_progress(job)).collect())
    }

    /// The part `window` of the list of what the caller may see and `filter` lets through, and the list's length.
    pub async fn page(&self, principal: &Principal, filter: JobFilter, window: JobWindow) -> Result<JobPage, JobServiceError> {
        let Some(filter) = within_sight(principal, filter) else { return Ok(JobPage::default()) };
        let JobPage { jobs, total } = self.shared.store.page(&filter, &window).await?;
        Ok(JobPage { jobs: jobs.into_iter().map(|job| self.shared.with_live_progress(job)).collect(), total })
    }

    /// Submits the request of an ended job again, with its seeds and its files, as a new job of the same user and project: a failed or
    /// cancelled one as it was, a film also with one scene made anew. What an earlier film has left of the same is taken over.
    /// `reservations` are theirs.
    pub async fn retry(
        &self,
        principal: &Principal,
        id: JobId,
        retry: Retry,
        reservations: Vec<Reservation>,
    ) -> Result<Job, JobServiceError> {
        let earlier = self.get(principal, id).await?;
        let request = retry::request(&earlier, &retry)?;
        self.refuse_when_closed()?;
        self.to_the_end(retry::accept(self.shared.clone(), earlier, request, Vec::new(), reservations)).await
    }

    /// Submits a film that was made from an ended one's request, as [`JobService::retry`] does, with more files.
    pub async fn derive(
        &self,
        principal: &Principal,
        id: JobId,
        request: JobRequest,
        inputs: Vec<NewInput>,
        reservations: Vec<Reservation>,
    ) -> Result<Job, JobServiceError> {
        let earlier = self.get(principal, id).await?;
        if !earlier.state.is_terminal() {
            return Err(JobServiceError::NotEnded { id, state: earlier.state.as_str() });
        }
        self.refuse_when_closed()?;
        self.to_the_end(retry::accept(self.shared.clone(), earlier, request, inputs, reservations)).await
    }

    /// The tasks of a job of the caller that exist, by position.
    pub async fn tasks(&self, principal: &Principal, id: JobId) -> Result<Vec<TaskRecord>, JobServiceError> {
        self.get(principal, id).await?;
        Ok(self.shared.store.tasks_of(id).await?)
    }

    /// Removes an ended job of the caller and its files; gives what it was.
    pub async fn delete(&self, principal: &Principal, id: JobId) -> Result<Job, JobServiceError> {
        let job = self.get(principal, id).await?;
        if !job.state.is_terminal() {
            return Err(JobServiceError::NotEnded { id, state: job.state.as_str() });
        }
        let shared = self.shared.clone();
        self.to_the_end(async move {
            if !shared.store.open_calls(&[id]).await?.is_empty() {
                return Err(JobServiceError::AtProvider { id });
            }
            removal::delete_files(&*shared.store, &shared.storage, &job).await?;
            shared.store.forget(&[id]).await?;
            tracing::info!(job.id = %id, "Deleted job {id}");
            Ok(job)
        })
        .await
    }

    /// Moves a waiting job within the queue; for administrators.
    pub async fn set_priority(&self, id: JobId, priority: i32) -> Result<Job, JobServiceError> {
        let shared = self.shared.clone();
        self.to_the_end(async move {
            let job = shared.store.set_priority(id, priority, shared.clock.now()).await?;
            // Left alone, it keeps its own.
            if !job.state.is_terminal() && job.priority == priority {
                shared.feed.push(QueueChange::Reprioritized(id, job.priority));
            }
            Ok(shared.with_live_progress(job))
        })
        .await
    }

    /// What these counters hold.
    pub async fn usage(&self, counters: &[CounterKey]) -> Result<Vec<(CounterKey, i64)>, JobServiceError> {
        Ok(self.shared.store.usage(counters).await?)
    }

    /// Asks a job to stop: a queued one is cancelled at once, a running one within a block. Gives the job as it then stands.
    /// Cancelling a cancelled job again is fine; one that completed or failed is an error.
    pub async fn cancel(&self, principal: &Principal, id: JobId) -> Result<Job, JobServiceError> {
        self.get(principal, id).await?;
        let shared = self.shared.clone();
        self.to_the_end(async move {
            let (before, job) = shared.store.request_cancel(id, shared.clock.now()).await?;
            match before {
                JobState::Queued => {
                    tracing::info!(job.id = %id, "Cancelled waiting job {id}");
                    shared.feed.push(QueueChange::Left(id));
                    shared.events.publish(id, JobEventKind::State { state: JobState::Cancelled, error: None });
                }
                JobState::Running => {
                    tracing::info!(job.id = %id, "Asked running job {id} to stop");
                    shared.feed.push(QueueChange::Left(id));
                    if let Some(live) = shared.live.lock().get(&id) {
                        live.stop.cancel();
                    }
                    if job.state == JobState::Cancelled {
                        shared.events.publish(id, JobEventKind::State { state: JobState::Cancelled, error: None });
                    }
                }
                JobState::Cancelled => {}
                JobState::Completed | JobState::Failed => {
                    return Err(JobServiceError::AlreadyEnded { id, state: before.as_str() });
                }
            }
            Ok(shared.with_live_progress(job))
        })
        .await
    }

    /// The job as it stands, and every event after that moment; after a terminal state the receiver says `Closed` (at once, when the
    /// job has already ended). Previews cost the device time and are made only while some watcher wants them.
    pub async fn watch(&self, principal: &Principal, id: JobId, previews: Previews) -> Result<(Job, JobEvents), JobServiceError> {
        self.get(principal, id).await?;
        // Subscribe first, then look: whatever happens in between is seen twice rather than never.
        let events = self.shared.events.subscribe(id, previews);
        let job = self.get(principal, id).await?;
        let events = if job.state.is_terminal() { self.shared.events.unsubscribe(id, events) } else { events };
        Ok((job, events))
    }

    /// Jobs by state, for health.
    pub async fn counts(&self) -> Result<Vec<(JobState, u64)>, JobServiceError> {
        Ok(self.shared.store.counts().await?)
    }
}

impl Shared {
    /// The store hears of progress with every renewal of a lease, the watchers at every evaluation; so does who asks.
    pub(super) fn with_live_progress(&self, mut job: Job) -> Job {
        if job.state == JobState::Running
            && let Some(progress) = self.events.progress(job.id)
        {
            job.progress = progress;
        }
        job
    }
}

/// Own jobs, within the project of a project's key; administrators see all.
fn may_see(principal: &Principal, job: &Job) -> bool {
    principal.admin
        || (principal.user == job.user && principal.project.as_ref().is_none_or(|project| job.project.as_ref() == Some(project)))
}

/// The part of a filter that the caller may see; `None` when that is nothing.
fn within_sight(principal: &Principal, mut filter: JobFilter) -> Option<JobFilter> {
    if principal.admin {
        return Some(filter);
    }
    if filter.user.as_ref().is_some_and(|user| *user != principal.user) {
        return None;
    }
    filter.user = Some(principal.user.clone());
    if let Some(own) = &principal.project {
        if filter.project.as_ref().is_some_and(|project| project != own) {
            return None;
        }
        filter.project = Some(own.clone());
    }
    Some(filter)
}
