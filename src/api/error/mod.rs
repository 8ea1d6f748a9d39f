//! One map from what went wrong to status, code and field, rendered in each surface's envelope.
//!
//! Handlers return [`ApiError`]; as a response it is only a status with the error attached, and `observe` renders it for the
//! surface that the path belongs to and logs its cause. So the extractors' refusals, unknown routes and panics all look alike.

mod a1111;
mod causes;
mod minimax;
mod unified;

pub use a1111::{A1111Error, A1111ValidationError};
pub use minimax::{BaseResp, MinimaxError};
pub use unified::{UnifiedError, UnifiedProblem};

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Longest part of a user's own text that an error quotes, characters.
const MAX_MESSAGE_CHARACTERS: usize = 500;

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
struct Rendering {
    status: StatusCode,
    code: &'static str,
    openai_status: StatusCode,
    openai_type: &'static str,
    openai_code: &'static str,
}

impl ErrorKind {
    /// The map.
    fn rendering(self) -> Rendering {
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

/// Whose envelope an error is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// RFC 9457.
    Native,
    /// `{"error": {…}}`.
    OpenAi,
    /// `{"error", "detail", "body", "errors"}` and, of a field, `{"detail": […]}`.
    A1111,
    /// `{"base_resp": {…}}`, with HTTP 200.
    MiniMax,
    /// `{"success": false, …}`.
    Unified,
    /// RFC 9457 and `{"success": false, …}` in one document.
    NativeAndUnified,
}

impl Surface {
    /// The surface that a request speaks to.
    pub fn of_request(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        if unified::is_asked(method, uri, headers) { Self::Unified } else { Self::of_path(uri.path()) }
    }

    /// The surface that a path belongs to.
    pub fn of_path(path: &str) -> Self {
        if minimax::has_path(path) {
            return Self::MiniMax;
        }
        if unified::is_shared(path) {
            return Self::NativeAndUnified;
        }
        let is_below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_below("/v1") {
            Self::OpenAi
        } else if is_below("/sdapi/v1") || is_below("/internal") {
            Self::A1111
        } else {
            Self::Native
        }
    }
}

/// A failure as clients see it, and its cause for the log.
#[derive(Clone)]
pub struct ApiError {
    kind: ErrorKind,
    message: String,
    field: Option<Cow<'static, str>>,
    retry_after_seconds: Option<u32>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// A failure with its one line for users.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARACTERS) {
            message.truncate(end);
            message.push('…');
        }
        Self { kind, message, field: None, retry_after_seconds: None, cause: None }
    }

    /// A field's value that cannot be used; the message is put behind the field's name.
    pub fn invalid(field: impl Into<Cow<'static, str>>, problem: impl fmt::Display) -> Self {
        Self::about(ErrorKind::InvalidValue, field, problem)
    }

    /// A failure of kind `kind` of one field; the message is put behind the field's name.
    pub fn about(kind: ErrorKind, field: impl Into<Cow<'static, str>>, problem: impl fmt::Display) -> Self {
        let field = field.into();
        Self::new(kind, format!("{field} {problem}")).with_field(field)
    }

    /// A fault of the server: users learn nothing of `cause`, the log everything.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Internal, "the server failed; its log has the cause").with_cause(cause)
    }

    /// Names the field.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        let field = field.into();
        self.field = Some(field.chars().take(64).collect::<String>().into());
        self
    }

    /// Gives the field another surface's name, in the message too where that begins with it.
    #[must_use]
    pub fn renamed(mut self, field: &'static str) -> Self {
        let rest = self.field.as_deref().and_then(|old| self.message.strip_prefix(old)).filter(|rest| rest.starts_with(' '));
        if let Some(rest) = rest {
            self.message = format!("{field}{rest}");
        }
        self.with_field(field)
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Attaches what the log shall have.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The field it is about.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// One line for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The native code, for programs.
    pub fn code(&self) -> &'static str {
        self.kind.rendering().code
    }

    /// The native status.
    pub fn status(&self) -> StatusCode {
        self.kind.rendering().status
    }

    /// Seconds after which the same request may succeed, where that is known.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after_seconds
    }

    /// The response for `surface`.
    pub fn render(&self, surface: Surface) -> Response {
        let rendering = self.kind.rendering();
        let mut response = match surface {
            Surface::Native => self.problem_response(self.problem()),
            Surface::NativeAndUnified => self.native_and_unified_response(),
            Surface::OpenAi => (rendering.openai_status, Json(self.openai_envelope())).into_response(),
            Surface::A1111 => self.a1111_response(),
            Surface::MiniMax => self.minimax_response(),
            Surface::Unified => self.unified_response(),
        };
        if matches!(
            self.kind,
            ErrorKind::TaskCancelled | ErrorKind::QuotaExceeded | ErrorKind::OutcomeUnknown | ErrorKind::ProviderFailed
        ) {
            // OpenAI's clients send a 409 and a 429 again by themselves: they would start anew what somebody has just stopped, and
            // knock at a quota that has hours to go. What a provider may have begun is billed a second time.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            let scheme = if surface == Surface::A1111 { "Basic" } else { "Bearer" };
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        response
    }

    fn problem(&self) -> Problem<'_> {
        let rendering = self.kind.rendering();
        Problem {
            r#type: "about:blank",
            title: rendering.status.canonical_reason().unwrap_or_default(),
            status: rendering.status.as_u16(),
            code: rendering.code,
            detail: &self.message,
            field: self.field(),
        }
    }

    /// The response with such a document, or with one that has more fields.
    fn problem_response(&self, document: impl Serialize) -> Response {
        let mut response = (self.status(), Json(document)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }

    /// OpenAI's envelope, also sent as an event when a stream has already begun.
    pub fn openai_envelope(&self) -> OpenAiErrorEnvelope<'_> {
        let rendering = self.kind.rendering();
        OpenAiErrorEnvelope {
            error: OpenAiError {
                message: &self.message,
                r#type: rendering.openai_type,
                param: self.field(),
                code: Some(rendering.openai_code),
            },
        }
    }

    /// Writes the cause to the log, if there is one. Called once, by whoever sends the error.
    pub fn log(&self) {
        if let Some(cause) = &self.cause {
            let mut chain = cause.to_string();
            let mut source = cause.source();
            while let Some(inner) = source {
                chain = format!("{chain}: {inner}");
                source = inner.source();
            }
            tracing::error!(code = self.kind.rendering().code, cause = chain, "Request failed: {}", self.message);
        }
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?}, field {:?}, cause {:?})", self.kind, self.message, self.field, self.cause)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.kind.rendering().status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// RFC 9457 with `code` and `field`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'a> {
    /// Always `about:blank`: `code` tells kinds apart.
    #[schema(value_type = String, example = "about:blank")]
    r#type: &'static str,
    /// The status in words.
    #[schema(value_type = String, example = "Unprocessable Entity")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What went wrong, for programs.
    #[schema(value_type = String, example = "invalid_value")]
    code: &'static str,
    /// What went wrong, for people.
    #[schema(value_type = String, example = "width is 100; allowed: 64 to 1024 in multiples of 8")]
    detail: &'a str,
    /// The field it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "width")]
    field: Option<&'a str>,
}

/// OpenAI's error envelope.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiErrorEnvelope<'a> {
    error: OpenAiError<'a>,
}

/// All four keys are always there.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiError<'a> {
    /// What went wrong, for people.
    #[schema(value_type = String)]
    message: &'a str,
    /// `invalid_request_error`, `rate_limit_error`, `insufficient_quota` or `server_error`.
    #[schema(value_type = String)]
    r#type: &'static str,
    /// The field it is about.
    #[schema(value_type = Option<String>)]
    param: Option<&'a str>,
    /// What went wrong, for programs.
    #[schema(value_type = Option<String>)]
    code: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(response: Response) -> String {
        String::from_utf8(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn causes_are_for_the_log_alone() {
        let error = ApiError::internal("password=hunter2");
        for surface in [Surface::Native, Surface::OpenAi, Surface::A1111, Surface::Unified] {
            let response = error.render(surface);
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(!body(response).await.contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn openai_envelopes_have_all_four_keys() {
        let text = body(ApiError::new(ErrorKind::Internal, "x").render(Surface::OpenAi)).await;
        assert_eq!(text, r#"{"error":{"message":"x","type":"server_error","param":null,"code":"server_error"}}"#);
    }

    #[test]
    fn what_users_wrote_is_quoted_in_part_only() {
        let error = ApiError::invalid("é".repeat(1 << 20), "x".repeat(1 << 20));
        assert_eq!(error.message.chars().count(), MAX_MESSAGE_CHARACTERS + 1);
        assert_eq!(error.field().unwrap().chars().count(), 64);
    }

    #[test]
    fn another_name_is_put_in_front_of_the_message_too() {
        let error = ApiError::invalid("init_image", "is too large").renamed("image");
        assert_eq!((error.field(), error.message()), (Some("image"), "image is too large"));
        let error = ApiError::new(ErrorKind::InvalidValue, "too much").with_field("init_image").renamed("image");
        assert_eq!((error.field(), error.message()), (Some("image"), "too much"));
    }

    #[test]
    fn surfaces_are_told_apart_by_their_paths() {
        for (path, surface) in [
            ("/v1/models", Surface::OpenAi),
            ("/v1", Surface::OpenAi),
            ("/v1/video_generation", Surface::MiniMax),
            ("/v1/query/video_generation", Surface::MiniMax),
            ("/v1/files/retrieve", Surface::MiniMax),
            ("/v1/files", Surface::OpenAi),
            ("/v1beta", Surface::Native),
            ("/api/v1/models", Surface::Native),
            ("/api/v1/tasks/job_1/cancel", Surface::NativeAndUnified),
            ("/api/v1/tasks/{id}/cancel", Surface::NativeAndUnified),
            ("/api/v1/tasks/cancel", Surface::Native),
            ("/", Surface::Native),
            ("/sdapi/v1/txt2img", Surface::A1111),
            ("/internal/progress", Surface::A1111),
            ("/sdapi/v2", Surface::Native),
        ] {
            assert_eq!(Surface::of_path(path), surface, "{path}");
        }
    }
}
