//! Why the job service refuses a call.

use super::store::StoreError;
use crate::domain::{JobId, QuotaRefusal};
use crate::storage::StorageError;

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
    /// A quota has not enough left.
    #[error("a quota has not enough left")]
    Quota(Box<QuotaRefusal>),
    /// The job has not ended, so there is nothing to retry; or it completed.
    #[error(
        "task {id} is {state}; only a failed or cancelled task can be retried, or, with scene, one scene of a completed film"
    )]
    NotRetryable {
        /// The job.
        id: JobId,
        /// Its state.
        state: &'static str,
    },
    /// The film has no such scene, or what was asked has no scenes.
    #[error("scene '{scene}' is not in task {id}{known}")]
    NoScene {
        /// The job.
        id: JobId,
        /// What was asked for.
        scene: String,
        /// What there is.
        known: String,
    },
    /// The job has not ended.
    #[error("task {id} is {state}; cancel it first")]
    NotEnded {
        /// The job.
        id: JobId,
        /// Its state.
        state: &'static str,
    },
    /// A provider may still work for the job, which has ended.
    #[error("task {id} is still being stopped at its provider; delete it when what that costs is known, in a few minutes")]
    AtProvider {
        /// The job.
        id: JobId,
    },
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
            StoreError::Quota(refusal) => Self::Quota(refusal),
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
