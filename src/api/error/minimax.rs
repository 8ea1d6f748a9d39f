//! Errors as MiniMax has them: HTTP 200, and a code in `base_resp`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, ErrorKind};

/// The paths whose answers look so.
const PATHS: [&str; 3] = ["/v1/video_generation", "/v1/query/video_generation", "/v1/files/retrieve"];

/// How a call went.
#[derive(Debug, Serialize, ToSchema)]
pub struct BaseResp {
    /// 0 where all is well; 1002 too many requests, 1004 no key, 1008 a quota has not enough left, 1026 refused by moderation, 2013 a
    /// parameter cannot be used, 2049 a wrong key; 1000, 1001, 1013 and 1033 where this server or a provider failed.
    #[schema(example = 0)]
    status_code: u16,
    /// The same for people.
    #[schema(example = "success")]
    status_msg: String,
}

/// An answer that has nothing else to say.
#[derive(Debug, Serialize, ToSchema)]
pub struct MinimaxError {
    base_resp: BaseResp,
}

impl BaseResp {
    /// All is well.
    pub fn success() -> Self {
        Self { status_code: 0, status_msg: "success".to_owned() }
    }

    /// What went wrong.
    pub fn of(error: &ApiError) -> Self {
        Self { status_code: code(error), status_msg: error.message().to_owned() }
    }
}

/// Whether a path is one of MiniMax's.
pub(super) fn has_path(path: &str) -> bool {
    PATHS.contains(&path)
}

impl ApiError {
    pub(super) fn minimax_response(&self) -> Response {
        // What never reached one of MiniMax's routes is no answer of one.
        let status = if self.kind == ErrorKind::MethodNotAllowed { self.status() } else { StatusCode::OK };
        (status, Json(MinimaxError { base_resp: BaseResp::of(self) })).into_response()
    }
}

/// MiniMax's code.
fn code(error: &ApiError) -> u16 {
    match error.kind {
        ErrorKind::RateLimited => 1002,
        ErrorKind::InvalidKey => 2049,
        // A value that is more than the caller may ever ask for, or a right that the key lacks.
        ErrorKind::Forbidden if error.field.is_some() => 2013,
        ErrorKind::MissingKey | ErrorKind::Forbidden | ErrorKind::InvalidLink | ErrorKind::ExpiredLink => 1004,
        ErrorKind::QuotaExceeded => 1008,
        ErrorKind::ModerationBlocked => 1026,
        ErrorKind::TimedOut => 1001,
        ErrorKind::Unavailable | ErrorKind::TaskFailed | ErrorKind::DeviceRefused => 1013,
        ErrorKind::ProviderUnavailable | ErrorKind::OutcomeUnknown | ErrorKind::ProviderFailed => 1033,
        ErrorKind::Internal | ErrorKind::TaskCancelled => 1000,
        _ => 2013,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Surface;
    use super::*;

    async fn rendered(error: ApiError) -> (StatusCode, String) {
        let response = error.render(Surface::MiniMax);
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_error_has_http_200_and_a_code() {
        for (error, code) in [
            (ApiError::new(ErrorKind::RateLimited, "x"), 1002),
            (ApiError::new(ErrorKind::MissingKey, "x"), 1004),
            (ApiError::new(ErrorKind::InvalidKey, "x"), 2049),
            (ApiError::new(ErrorKind::QuotaExceeded, "x"), 1008),
            (ApiError::new(ErrorKind::ModerationBlocked, "x"), 1026),
            (ApiError::new(ErrorKind::UnknownField, "x"), 2013),
            (ApiError::new(ErrorKind::TaskNotFound, "x"), 2013),
            (ApiError::new(ErrorKind::Forbidden, "x").with_field("resolution"), 2013),
            (ApiError::new(ErrorKind::Forbidden, "x"), 1004),
            (ApiError::new(ErrorKind::ProviderFailed, "x"), 1033),
            (ApiError::internal("hunter2"), 1000),
        ] {
            let (status, text) = rendered(error).await;
            assert_eq!(status, StatusCode::OK);
            assert!(
                text.starts_with(&format!(r#"{{"base_resp":{{"status_code":{code},"#)) && !text.contains("hunter2"),
                "{text}"
            );
        }
    }
}
