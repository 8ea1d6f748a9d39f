//! What the errors of other modules are to clients.

use super::{ApiError, ErrorKind};
use crate::domain::{ErrorCode, JobError, QuotaRefusal, UnixMs};
use crate::jobs::JobServiceError;
use crate::models::ModelError;
use crate::models::parameters::ParameterError;
use crate::quota::{self, Forbidden};
use crate::scheduler::DeviceOrderError;
use crate::storage::StorageError;
use crate::tenants::AuthenticationError;
use crate::webhooks::WebhookError;

/// After this many seconds a queue has moved on, or a server is back.
const SOON_SECONDS: u32 = 10;
/// After this many seconds somebody may have removed results, where nothing else makes room.
const LATER_SECONDS: u64 = 60 * 60;

impl ApiError {
    /// A quota that has not enough left at `now`; days begin in `zone`.
    pub fn quota(refusal: &QuotaRefusal, zone: &jiff::tz::TimeZone, now: UnixMs) -> Self {
        let seconds = quota::wait_seconds(refusal, now).unwrap_or(LATER_SECONDS);
        Self::new(ErrorKind::QuotaExceeded, quota::explain(refusal, zone))
            .with_retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

impl From<Forbidden> for ApiError {
    fn from(error: Forbidden) -> Self {
        let message = error.to_string();
        match error {
            Forbidden::Limit { field, .. } => Self::new(ErrorKind::Forbidden, message).with_field(field),
        }
    }
}

impl From<DeviceOrderError> for ApiError {
    fn from(error: DeviceOrderError) -> Self {
        let message = error.to_string();
        match error {
            DeviceOrderError::NoDevice { .. } => Self::new(ErrorKind::DeviceNotFound, message).with_field("device"),
            DeviceOrderError::Model(_) => Self::new(ErrorKind::ModelNotFound, message).with_field("model"),
            DeviceOrderError::Refused(_) => Self::new(ErrorKind::DeviceRefused, message),
        }
    }
}

impl From<JobServiceError> for ApiError {
    fn from(error: JobServiceError) -> Self {
        let message = error.to_string();
        match error {
            JobServiceError::NotFound(_) => Self::new(ErrorKind::TaskNotFound, message),
            JobServiceError::AlreadyEnded { .. } => Self::new(ErrorKind::AlreadyEnded, message),
            JobServiceError::IdempotencyConflict => Self::new(ErrorKind::IdempotencyConflict, message),
            JobServiceError::NotRetryable { .. } => Self::new(ErrorKind::NotRetryable, message),
            JobServiceError::NotEnded { .. } | JobServiceError::AtProvider { .. } => Self::new(ErrorKind::NotReady, message),
            JobServiceError::NoScene { .. } => Self::new(ErrorKind::InvalidValue, message).with_field("scene"),
            // `submission` says more, because it knows the clock and the time zone.
            JobServiceError::Quota(_) => Self::new(ErrorKind::QuotaExceeded, message),
            JobServiceError::QueueFull { .. } => Self::new(ErrorKind::RateLimited, message).with_retry_after(SOON_SECONDS),
            JobServiceError::ShuttingDown => Self::new(ErrorKind::Unavailable, message).with_retry_after(SOON_SECONDS),
            JobServiceError::Store(_) => Self::internal(error),
        }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound(_) => Self::new(ErrorKind::OutputNotFound, "the file is no longer stored"),
            other => Self::internal(other),
        }
    }
}

impl From<AuthenticationError> for ApiError {
    fn from(error: AuthenticationError) -> Self {
        let message = error.to_string();
        match error {
            AuthenticationError::Missing => Self::new(ErrorKind::MissingKey, message),
            AuthenticationError::Invalid => Self::new(ErrorKind::InvalidKey, message),
            AuthenticationError::Store(_) => Self::internal(error),
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::NotFound(_) => Self::new(ErrorKind::DeliveryNotFound, error.to_string()),
            WebhookError::BoundKey(_) => Self::new(ErrorKind::Forbidden, error.to_string()),
            WebhookError::Store(_) => Self::internal(error),
        }
    }
}

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        let message = error.to_string();
        match error {
            ModelError::NotFound { .. } => Self::new(ErrorKind::ModelNotFound, message).with_field("model"),
            ModelError::Broken { ref name, .. } => {
                let message =
                    format!("model '{name}' cannot be used: its files are missing or broken; the server's log says which");
                Self::new(ErrorKind::InvalidValue, message).with_field("model").with_cause(error)
            }
        }
    }
}

impl From<ParameterError> for ApiError {
    fn from(error: ParameterError) -> Self {
        Self::invalid(error.field, error.problem)
    }
}

impl From<JobError> for ApiError {
    /// How a failed job looks to a client that waited for it.
    fn from(error: JobError) -> Self {
        let kind = match error.code {
            ErrorCode::InvalidRequest => ErrorKind::InvalidValue,
            ErrorCode::QuotaExceeded => ErrorKind::QuotaExceeded,
            ErrorCode::ModelUnavailable => ErrorKind::Unavailable,
            ErrorCode::ProviderRefused => ErrorKind::ProviderRefused,
            ErrorCode::ModerationBlocked => ErrorKind::ModerationBlocked,
            ErrorCode::ProviderUnavailable => ErrorKind::ProviderUnavailable,
            ErrorCode::OutcomeUnknown => ErrorKind::OutcomeUnknown,
            ErrorCode::ProviderFailed => ErrorKind::ProviderFailed,
            ErrorCode::TimedOut => ErrorKind::TimedOut,
            ErrorCode::OutOfMemory
            | ErrorCode::WorkerLost
            | ErrorCode::Stalled
            | ErrorCode::DeviceFailed
            | ErrorCode::StorageFailed
            | ErrorCode::Internal => ErrorKind::TaskFailed,
        };
        Self::new(kind, error.message)
    }
}
