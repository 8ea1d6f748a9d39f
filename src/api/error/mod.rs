//! One map from what went wrong to status, code and field, rendered in each surface's envelope.
//!
//! Handlers return [`ApiError`]; as a response it is only a status with the error attached, and `observe` renders it for the
//! surface that the path belongs to and logs its cause. So the extractors' refusals, unknown routes and panics all look alike.

mod a1111;
mod causes;
mod kind;
mod minimax;
mod unified;

pub use a1111::{A1111Error, A1111ValidationError};
pub use kind::ErrorKind;
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
