//! Errors of the unified tasks: the envelope of all their answers, without results; and of the route that answers native clients with the
//! same document.

use axum::Json;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, Problem};
use crate::api::unified::asks_for_file;
use crate::api::unified::list::PATH as LIST;

/// The envelope of an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnifiedError<'a> {
    /// `false`.
    #[schema(example = false)]
    success: bool,
    /// What went wrong, for people.
    #[schema(value_type = String, example = "no model 'x'; installed: demo-sdxl")]
    message: &'a str,
    /// Null.
    #[schema(value_type = Option<Object>)]
    results: (),
    /// What went wrong, for programs.
    #[schema(value_type = String, example = "model_not_found")]
    code: &'static str,
    /// The field it is about.
    #[schema(value_type = Option<String>)]
    field: Option<&'a str>,
}

/// A native error that is also an envelope of an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnifiedProblem<'a> {
    #[serde(flatten)]
    problem: Problem<'a>,
    /// `false`.
    #[schema(example = false)]
    success: bool,
    /// The same as `detail`.
    #[schema(value_type = String, example = "task job_0199a5b6c7d87e0f8a1b2c3d4e5f6071 is already completed")]
    message: &'a str,
    /// Null.
    #[schema(value_type = Option<Object>)]
    results: (),
}

/// Whether a path, or a route's pattern, is native and one of unified tasks, and nothing in a request says which is meant.
pub(super) fn is_shared(path: &str) -> bool {
    let of_task = path.strip_prefix("/api/v1/tasks/").and_then(|rest| rest.split_once('/'));
    matches!(of_task, Some((_, "cancel")))
}

/// Whether a request speaks of unified tasks; some of their paths are also native ones.
pub(super) fn is_asked(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    // Of all slashes at the end of a path the router leaves only that of their list.
    if uri.path() == LIST {
        return true;
    }
    let Some(rest) = uri.path().strip_prefix("/api/v1/tasks") else { return false };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() {
        return method == Method::POST;
    }
    match rest.trim_start_matches('/').split_once('/') {
        Some((_, "status")) => true,
        Some((_, "result")) => !asks_for_file(uri, headers),
        _ => false,
    }
}

impl ApiError {
    pub(super) fn native_and_unified_response(&self) -> Response {
        let problem = UnifiedProblem { problem: self.problem(), success: false, message: &self.message, results: () };
        self.problem_response(problem)
    }

    pub(super) fn unified_response(&self) -> Response {
        let (code, field) = (self.code(), self.field());
        (self.status(), Json(UnifiedError { success: false, message: &self.message, results: (), code, field })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ErrorKind, Surface};
    use super::*;

    #[tokio::test]
    async fn the_envelope_has_no_results() {
        let response = ApiError::new(ErrorKind::ModelNotFound, "no model").with_field("model").render(Surface::Unified);
        assert_eq!(response.status(), 404);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let expected = r#"{"success":false,"message":"no model","results":null,"code":"model_not_found","field":"model"}"#;
        assert_eq!(bytes, expected.as_bytes());
    }

    #[tokio::test]
    async fn one_document_is_for_clients_of_both_surfaces() {
        let response = ApiError::new(ErrorKind::AlreadyEnded, "it has ended").render(Surface::NativeAndUnified);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (409, &"application/problem+json".parse().unwrap())
        );
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let expected = r#"{"type":"about:blank","title":"Conflict","status":409,"code":"already_ended","detail":"it has ended","success":false,"message":"it has ended","results":null}"#;
        assert_eq!(bytes, expected.as_bytes());
    }

    #[test]
    fn requests_are_told_apart() {
        for (method, uri, accept, is_unified) in [
            (Method::POST, "/api/v1/tasks", "*/*", true),
            (Method::GET, "/api/v1/tasks", "*/*", false),
            (Method::GET, "/api/v1/tasks/", "*/*", true),
            (Method::GET, "/api/v1/tasks/?page=2", "*/*", true),
            (Method::POST, "/api/v1/tasks/job_1/cancel", "*/*", false),
            (Method::GET, "/api/v1/tasks/job_1", "*/*", false),
            (Method::GET, "/api/v1/tasks/job_1/status", "*/*", true),
            (Method::GET, "/api/v1/tasks/job_1/result", "*/*", true),
            (Method::GET, "/api/v1/tasks/job_1/result", "image/*", false),
            (Method::GET, "/api/v1/tasks/job_1/result?format=png", "*/*", false),
            (Method::GET, "/api/v1/tasks/job_1/result/0", "*/*", false),
            (Method::GET, "/api/v1/tasksresult", "*/*", false),
            (Method::POST, "/v1/videos", "*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(axum::http::header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(is_asked(&method, &uri.parse().unwrap(), &headers), is_unified, "{method} {uri} {accept}");
        }
    }
}
