//! From a checked request to a stored job.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::JobServiceError;
use super::feed::QueueChange;
use super::service::Shared;
use super::speed::work;
use super::store::{Inserted, NewRecord, QueuedTask, StoreError};
use crate::domain::{
    BatchKey, ImageRequest, Job, JobEventKind, JobId, JobState, Progress, ProjectId, Reservation, Sha256Digest, TaskId, UserId,
    rows,
};

/// Pictures longer than this are hashed off the async threads.
const INLINE_HASH_BYTES: usize = 64 << 10;

/// A job to accept.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The checked request; `init_image` is not yet set when `init_image_png` is given.
    pub request: ImageRequest,
    /// The picture to start from, as PNG bytes; the service stores it and sets the request's key.
    pub init_image_png: Option<bytes::Bytes>,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// The project that it is for.
    pub project: Option<ProjectId>,
    /// What it takes from the quotas, as `quota::reserve` says.
    pub reservations: Vec<Reservation>,
    /// The ended job that this one tries again.
    pub retry_of: Option<JobId>,
    /// `Idempotency-Key` header: the same key with the same request gives the same job.
    pub idempotency_key: Option<String>,
}

/// Where the picture that a job starts from lies in the storage.
pub(super) fn input_key(job: JobId) -> String {
    format!("inputs/{job}.png")
}

/// The job of a key made by `input_key`.
pub fn job_of_input(key: &str) -> Option<JobId> {
    key.strip_prefix("inputs/")?.strip_suffix(".png")?.parse().ok()
}

/// Stores a job of `user`, durable on return, and tells the scheduler. An idempotent answer takes nothing from any quota.
pub(super) async fn accept(shared: Arc<Shared>, user: UserId, job: NewJob) -> Result<Job, JobServiceError> {
    let (request_sha256, job) = if job.init_image_png.as_ref().is_none_or(|png| png.len() <= INLINE_HASH_BYTES) {
        (submission_digest(&job), job)
    } else {
        let hashing = tokio::task::spawn_blocking(move || (submission_digest(&job), job));
        hashing.await.map_err(|error| JobServiceError::Store(Box::new(error)))?
    };
    let id = JobId::generate();
    let mut request = job.request;
    let mut input = None;
    if let Some(png) = job.init_image_png {
        let key = input_key(id);
        shared.storage.put(&key, png).await?;
        request.init_image = Some(key.clone());
        input = Some(key);
    }
    let now = shared.clock.now();
    let record = NewRecord {
        task: TaskId::generate(),
        task_key: request_digest(&request),
        work: work(&request),
        idempotency_key: job.idempotency_key,
        request_sha256,
        reservations: job.reservations,
        job: Job {
            id,
            user,
            project: job.project,
            retry_of: job.retry_of,
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
    let inserted = shared.store.insert(&record, shared.options.queue_limit).await;
    // After any other error the job may be there after all.
    let is_refused = matches!(
        &inserted,
        Ok(Inserted::Existing(_)) | Err(StoreError::Duplicate | StoreError::QueueFull(_) | StoreError::Quota(_))
    );
    if let (Some(key), true) = (&input, is_refused)
        && let Err(error) = shared.storage.delete(key).await
    {
        tracing::warn!(%key, %error, "Cannot delete {key}, the input of a job that was not accepted");
    }
    match inserted? {
        Inserted::Existing(job) => Ok(shared.with_live_progress(*job)),
        Inserted::New => {
            let job = record.job;
            tracing::info!(job.id = %id, user.id = %job.user, model.id = %job.request.model, "Accepted job {id}");
            shared.events.publish(id, JobEventKind::State { state: JobState::Queued, error: None });
            shared.feed.push(QueueChange::Arrived(waiting_task(record.task, &job)));
            Ok(job)
        }
    }
}

/// How a job's only task waits, as of the job's last change.
pub(super) fn waiting_task(task: TaskId, job: &Job) -> QueuedTask {
    QueuedTask {
        task,
        job: job.id,
        user: job.user.clone(),
        project: job.project.clone(),
        batch: BatchKey::of(&job.request),
        rows: rows(&job.request),
        work: work(&job.request),
        priority: job.priority,
        created: job.created,
        queued: job.updated,
        run_after: None,
        alone: false,
    }
}

/// Hash of a request with its inputs named by key.
fn request_digest(request: &ImageRequest) -> Sha256Digest {
    // A plain struct of texts and numbers always serialises; an empty text would only make two keys of one job equal.
    Sha256Digest::of(&serde_json::to_vec(request).unwrap_or_default())
}

/// What an idempotency key stands for: the whole request, the picture it starts from, its project and its priority. Whoever fills in
/// an absent seed must choose the same one for the same key.
fn submission_digest(job: &NewJob) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update(request_digest(&job.request).0);
    if let Some(png) = &job.init_image_png {
        hasher.update(Sha256Digest::of(png).0);
    }
    hasher.update(job.priority.to_le_bytes());
    if let Some(project) = &job.project {
        hasher.update(project.as_str());
    }
    Sha256Digest(hasher.finalize().into())
}
