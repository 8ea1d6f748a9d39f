//! The service that the APIs call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::events::{EventHub, JobEvents, Previews};
use super::runner::JobRunner;
use super::speed::{SpeedEstimates, work};
use super::store::{Inserted, JobStore, NewRecord, StoreError};
use crate::domain::{Clock, ImageRequest, Job, JobEventKind, JobId, JobState, Principal, Progress, Sha256Digest, TaskId};
use crate::storage::{ArtifactStorage, StorageError};

/// A job to accept.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The checked request; `init_image` is not yet set when `init_image_png` is given.
    pub request: ImageRequest,
    /// The picture to start from, as PNG bytes; the service stores it and sets the request's key.
    pub init_image_png: Option<bytes::Bytes>,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// `Idempotency-Key` header: the same key with the same request gives the same job.
    pub idempotency_key: Option<String>,
}

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum JobServiceError {
    /// No such job, or not the caller's.
    #[error("no task {0}")]
    NotFound(JobId),
    /// The job has already ended.
    #[error("task {id} is already {state}")]
    AlreadyEnded {
        /// The job.
        id: JobId,
        /// Its state.
        state: &'static str,
    },
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for a different request")]
    IdempotencyConflict,
    /// The queue is full.
    #[error("the queue is full ({limit} waiting jobs); try again later")]
    QueueFull {
        /// Its bound.
        limit: u64,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The database or the storage failed.
    #[error("the job store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for JobServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(id) => Self::NotFound(id),
            StoreError::Duplicate => Self::IdempotencyConflict,
            StoreError::QueueFull(limit) => Self::QueueFull { limit },
            error @ (StoreError::LeaseLost | StoreError::Corrupt(_) | StoreError::Unavailable(_)) => Self::Store(Box::new(error)),
        }
    }
}

impl From<StorageError> for JobServiceError {
    fn from(error: StorageError) -> Self {
        Self::Store(Box::new(error))
    }
}

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

/// Submit, look, watch, cancel. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobService {
    shared: Arc<Shared>,
}

/// What the service and the runner have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) storage: ArtifactStorage,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: EventHub,
    pub(super) speeds: SpeedEstimates,
    /// Devices that can run jobs, for estimates.
    pub(super) devices: AtomicUsize,
    /// Wakes the scheduler.
    pub(super) work_arrived: Notify,
    /// How running jobs are told to stop.
    pub(super) stops: Mutex<HashMap<JobId, CancellationToken>>,
    options: JobServiceOptions,
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
                speeds: SpeedEstimates::default(),
                devices: AtomicUsize::new(1),
                work_arrived: Notify::new(),
                stops: Mutex::default(),
                options,
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

    /// Accepts a job: durable when this returns. The caller owns it.
    pub async fn submit(&self, principal: &Principal, job: NewJob) -> Result<Job, JobServiceError> {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(JobServiceError::ShuttingDown);
        }
        let request_sha256 = {
            let job = job.clone();
            // A picture is megabytes to hash.
            tokio::task::spawn_blocking(move || submission_digest(&job))
                .await
                .map_err(|error| JobServiceError::Store(Box::new(error)))?
        };
        let id = JobId::generate();
        let now = self.shared.clock.now();
        let mut request = job.request;
        let mut input_key = None;
        if let Some(png) = job.init_image_png {
            let key = format!("inputs/{id}.png");
            self.shared.storage.put(&key, png).await?;
            request.init_image = Some(key.clone());
            input_key = Some(key);
        }
        let record = NewRecord {
            task: TaskId::generate(),
            task_key: request_digest(&request),
            work: work(&request),
            idempotency_key: job.idempotency_key,
            request_sha256,
            job: Job {
                id,
                user: principal.user.clone(),
                state: JobState::Queued,
                request,
                priority: job.priority,
                progress: Progress::default(),
                created: now,
                started: None,
                finished: None,
                updated: now,
                result: None,
                error: None,
            },
        };
        let inserted = self.shared.store.insert(&record, self.shared.options.queue_limit).await;
        // After any other error the job may be there after all.
        let is_refused = matches!(&inserted, Ok(Inserted::Existing(_)) | Err(StoreError::Duplicate | StoreError::QueueFull(_)));
        if let (Some(key), true) = (&input_key, is_refused)
            && let Err(error) = self.shared.storage.delete(key).await
        {
            tracing::warn!(%key, error = %error, "cannot delete the input of a job that was not accepted");
        }
        match inserted? {
            Inserted::Existing(job) => Ok(self.with_live_progress(*job)),
            Inserted::New => {
                tracing::info!(job.id = %id, user.id = %principal.user, model.id = %record.job.request.model, "Accepted job {id}");
                self.shared.events.publish(id, JobEventKind::State { state: JobState::Queued, error: None });
                self.shared.work_arrived.notify_one();
                Ok(record.job)
            }
        }
    }

    /// A job of the caller (any job, for administrators).
    pub async fn get(&self, principal: &Principal, id: JobId) -> Result<Job, JobServiceError> {
        let job = self.shared.store.job(id).await?;
        if !may_see(principal, &job) {
            return Err(JobServiceError::NotFound(id));
        }
        Ok(self.with_live_progress(job))
    }

    /// The caller's newest jobs (everybody's, for administrators), newest first, before `before` (exclusive) if given.
    pub async fn list(&self, principal: &Principal, limit: u32, before: Option<JobId>) -> Result<Vec<Job>, JobServiceError> {
        let user = if principal.admin { None } else { Some(&principal.user) };
        let jobs = self.shared.store.jobs(user, before, limit).await?;
        Ok(jobs.into_iter().map(|job| self.with_live_progress(job)).collect())
    }

    /// Asks a job to stop: a queued one is cancelled at once, a running one within a block. Gives the job as it then stands.
    /// Cancelling a cancelled job again is fine; one that completed or failed is an error.
    pub async fn cancel(&self, principal: &Principal, id: JobId) -> Result<Job, JobServiceError> {
        self.get(principal, id).await?;
        let (before, job) = self.shared.store.request_cancel(id, self.shared.clock.now()).await?;
        match before {
            JobState::Queued => {
                tracing::info!(job.id = %id, "Cancelled waiting job {id}");
                self.shared.events.publish(id, JobEventKind::State { state: JobState::Cancelled, error: None });
            }
            JobState::Running => {
                tracing::info!(job.id = %id, "Asked running job {id} to stop");
                if let Some(stop) = self.shared.stops.lock().get(&id) {
                    stop.cancel();
                }
            }
            JobState::Cancelled => {}
            JobState::Completed | JobState::Failed => return Err(JobServiceError::AlreadyEnded { id, state: before.as_str() }),
        }
        Ok(self.with_live_progress(job))
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

    /// The estimated seconds until a job submitted now would be done, the queue included (None when nothing is known yet).
    pub async fn estimate_seconds(&self, request: &ImageRequest) -> Option<f64> {
        let waiting = match self.shared.store.unfinished_work().await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot estimate: {error}");
                return None;
            }
        };
        let devices = self.shared.devices.load(Ordering::Relaxed);
        self.shared.speeds.estimate(&request.model, work(request), &waiting, devices)
    }

    /// Jobs by state, for metrics and health.
    pub async fn counts(&self) -> Result<Vec<(JobState, u64)>, JobServiceError> {
        Ok(self.shared.store.counts().await?)
    }

    /// The store hears of progress once a second, the watchers at every evaluation; so does who asks.
    fn with_live_progress(&self, mut job: Job) -> Job {
        if job.state == JobState::Running
            && let Some(progress) = self.shared.events.progress(job.id)
        {
            job.progress = progress;
        }
        job
    }
}

/// Own jobs; administrators see all.
fn may_see(principal: &Principal, job: &Job) -> bool {
    principal.admin || principal.user == job.user
}

/// Hash of a request with its inputs named by key.
fn request_digest(request: &ImageRequest) -> Sha256Digest {
    // A plain struct of texts and numbers always serialises; an empty text would only make two keys of one job equal.
    Sha256Digest::of(&serde_json::to_vec(request).unwrap_or_default())
}

/// What an idempotency key stands for: the whole request, the picture it starts from, and its priority. Whoever fills in an absent
/// seed must choose the same one for the same key.
fn submission_digest(job: &NewJob) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update(request_digest(&job.request).0);
    if let Some(png) = &job.init_image_png {
        hasher.update(Sha256Digest::of(png).0);
    }
    hasher.update(job.priority.to_le_bytes());
    Sha256Digest(hasher.finalize().into())
}
