//! What can go wrong, and how each kind looks on the native surface and on OpenAI's.

use axum::http::StatusCode;

/// What went wrong, in classes that clients can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The body is not JSON.
    MalformedBody,
    /// A value is of the wrong type or out of its range.
    InvalidValue,
    /// A field that nobody knows.
    UnknownField,
    /// A field that is needed.
    MissingField,
    /// A field that is known but cannot be honoured.
    UnsupportedField,
    /// The body is longer than allowed.
    BodyTooLarge,
    /// The body is not announced as JSON.
    UnsupportedMediaType,
    /// No key.
    MissingKey,
    /// A wrong key.
    InvalidKey,
    /// A link that was tampered with.
    InvalidLink,
    /// A link whose time is over.
    ExpiredLink,
    /// A right that the key lacks.
    Forbidden,
    /// No such route.
    RouteNotFound,
    /// No such task, or not the caller's.
    TaskNotFound,
    /// The task has no such output.
    OutputNotFound,
    /// No such model.
    ModelNotFound,
    /// No such sampler, on the surface that says so of the name.
    SamplerNotFound,
    /// No such project.
    ProjectNotFound,
    /// No such key.
    KeyNotFound,
    /// No such callback, or not the caller's.
    DeliveryNotFound,
    /// No such device.
    DeviceNotFound,
    /// No such provider, or no such key of it.
    ProviderNotFound,
    /// The route does not know the method.
    MethodNotAllowed,
    /// The task has not (successfully) ended.
    NotReady,
    /// The task has already ended.
    AlreadyEnded,
    /// The task has not failed and was not cancelled, so there is nothing to try again.
    NotRetryable,
    /// The task does not wait, so it has no place in the queue.
    NotWaiting,
    /// The device could not do what it was told.
    DeviceRefused,
    /// The idempotency key belongs to another request.
    IdempotencyConflict,
    /// Somebody cancelled the task that this request waited for.
    TaskCancelled,
    /// The task that this request waited for failed.
    TaskFailed,
    /// Too many requests, or too much waits already.
    RateLimited,
    /// A quota has not enough left.
    QuotaExceeded,
    /// The server stops, or the model's files are broken.
    Unavailable,
    /// A provider does not take the request.
    ProviderRefused,
    /// A provider's moderation refused the request.
    ModerationBlocked,
    /// A provider cannot be reached, or takes nothing from this server.
    ProviderUnavailable,
    /// A provider may have taken the request, and did not say so.
    OutcomeUnknown,
    /// A provider took the request and could not fulfil it.
    ProviderFailed,
    /// A provider took too long.
    TimedOut,
    /// A fault of the server; the log has the cause.
    Internal,
}

/// A row of the map: how a kind looks on each surface.
pub(super) struct Rendering {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) openai_status: StatusCode,
    pub(super) openai_type: &'static str,
    pub(super) openai_code: &'static str,
}

impl ErrorKind {
    /// The map.
    pub(super) fn rendering(self) -> Rendering {
        const REQUEST: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        use StatusCode as S;
        let (status, code, openai_status, openai_type, openai_code) = match self {
            Self::MalformedBody => (S::BAD_REQUEST, "malformed_body", S::BAD_REQUEST, REQUEST, "invalid_json"),
            Self::InvalidValue => (S::UNPROCESSABLE_ENTITY, "invalid_value", S::BAD_REQUEST, REQUEST, "invalid_value"),
            Self::UnknownField => (S::UNPROCESSABLE_ENTITY, "unknown_field", S::BAD_REQUEST, REQUEST, "unknown_parameter"),
            Self::MissingField => {
                (S::UNPROCESSABLE_ENTITY, "missing_field", S::BAD_REQUEST, REQUEST, "missing_required_parameter")
            }
            Self::UnsupportedField => {
                (S::UNPROCESSABLE_ENTITY, "unsupported_field", S::BAD_REQUEST, REQUEST, "unsupported_parameter")
            }
            Self::BodyTooLarge => same(S::PAYLOAD_TOO_LARGE, "body_too_large", REQUEST),
            Self::UnsupportedMediaType => same(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", REQUEST),
            Self::MissingKey => (S::UNAUTHORIZED, "missing_api_key", S::UNAUTHORIZED, REQUEST, "invalid_api_key"),
            Self::InvalidKey => same(S::UNAUTHORIZED, "invalid_api_key", REQUEST),
            Self::InvalidLink => same(S::FORBIDDEN, "invalid_link", REQUEST),
            Self::ExpiredLink => same(S::FORBIDDEN, "expired_link", REQUEST),
            Self::Forbidden => same(S::FORBIDDEN, "forbidden", REQUEST),
            Self::RouteNotFound => same(S::NOT_FOUND, "route_not_found", REQUEST),
            Self::TaskNotFound => same(S::NOT_FOUND, "task_not_found", REQUEST),
            Self::OutputNotFound => same(S::NOT_FOUND, "output_not_found", REQUEST),
            Self::ModelNotFound => same(S::NOT_FOUND, "model_not_found", REQUEST),
            Self::SamplerNotFound => same(S::NOT_FOUND, "sampler_not_found", REQUEST),
            Self::ProjectNotFound => same(S::NOT_FOUND, "project_not_found", REQUEST),
            Self::KeyNotFound => same(S::NOT_FOUND, "key_not_found", REQUEST),
            Self::DeliveryNotFound => same(S::NOT_FOUND, "delivery_not_found", REQUEST),
            Self::DeviceNotFound => same(S::NOT_FOUND, "device_not_found", REQUEST),
            Self::ProviderNotFound => same(S::NOT_FOUND, "provider_not_found", REQUEST),
            Self::MethodNotAllowed => same(S::METHOD_NOT_ALLOWED, "method_not_allowed", REQUEST),
            Self::NotReady => same(S::CONFLICT, "not_ready", REQUEST),
            Self::AlreadyEnded => same(S::CONFLICT, "already_ended", REQUEST),
            Self::NotRetryable => same(S::CONFLICT, "not_retryable", REQUEST),
            Self::NotWaiting => same(S::CONFLICT, "not_waiting", REQUEST),
            Self::DeviceRefused => same(S::CONFLICT, "device_refused", REQUEST),
            Self::IdempotencyConflict => same(S::CONFLICT, "idempotency_conflict", REQUEST),
            Self::TaskCancelled => same(S::CONFLICT, "task_cancelled", REQUEST),
            Self::TaskFailed => same(S::INTERNAL_SERVER_ERROR, "task_failed", SERVER),
            Self::RateLimited => same(S::TOO_MANY_REQUESTS, "rate_limit_exceeded", "rate_limit_error"),
            Self::QuotaExceeded => {
                (S::TOO_MANY_REQUESTS, "quota_exceeded", S::TOO_MANY_REQUESTS, "insufficient_quota", "insufficient_quota")
            }
            Self::Unavailable => same(S::SERVICE_UNAVAILABLE, "unavailable", SERVER),
            Self::ProviderRefused => (S::BAD_REQUEST, "provider_refused", S::BAD_REQUEST, REQUEST, "invalid_value"),
            Self::ModerationBlocked => (S::BAD_REQUEST, "moderation_blocked", S::BAD_REQUEST, REQUEST, "moderation_blocked"),
            Self::ProviderUnavailable => same(S::SERVICE_UNAVAILABLE, "provider_unavailable", SERVER),
            Self::OutcomeUnknown => same(S::BAD_GATEWAY, "outcome_unknown", SERVER),
            Self::ProviderFailed => same(S::BAD_GATEWAY, "provider_failed", SERVER),
            Self::TimedOut => same(S::GATEWAY_TIMEOUT, "timed_out", SERVER),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", S::INTERNAL_SERVER_ERROR, SERVER, SERVER),
        };
        Rendering { status, code, openai_status, openai_type, openai_code }
    }
}

/// A row that looks the same on both surfaces.
const fn same(
    status: StatusCode,
    code: &'static str,
    openai_type: &'static str,
) -> (StatusCode, &'static str, StatusCode, &'static str, &'static str) {
    (status, code, status, openai_type, code)
}
