//! Errors as Stable Diffusion web UI (A1111) has them: FastAPI's list of a request's faults, and its own four keys for all else.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, ErrorKind};

/// A1111's error envelope; all four keys are always there.
#[derive(Debug, Serialize, ToSchema)]
pub struct A1111Error<'a> {
    /// The class of the failure: `HTTPException` where the request is at fault, else `RuntimeError`.
    #[schema(value_type = String, example = "HTTPException")]
    error: &'static str,
    /// What went wrong, for people.
    #[schema(value_type = String, example = "no model 'x'; installed: demo-sdxl")]
    detail: &'a str,
    /// Always empty.
    #[schema(value_type = String, example = "")]
    body: &'static str,
    /// The code, for programs, and what went wrong.
    #[schema(example = "model_not_found: no model 'x'; installed: demo-sdxl")]
    errors: String,
}

/// FastAPI's answer to a request that it cannot use.
#[derive(Debug, Serialize, ToSchema)]
pub struct A1111ValidationError<'a> {
    /// One fault.
    detail: [Fault<'a>; 1],
}

/// A fault of a request.
#[derive(Debug, Serialize, ToSchema)]
struct Fault<'a> {
    /// Where it is: `["body", "steps"]`.
    #[schema(value_type = Vec<String>, example = json!(["body", "steps"]))]
    loc: Vec<&'a str>,
    /// What it is, for people.
    #[schema(value_type = String, example = "steps is 500; allowed: 1 to 150")]
    msg: &'a str,
    /// What it is, for programs.
    #[schema(value_type = String, example = "value_error")]
    r#type: &'static str,
}

impl ApiError {
    pub(super) fn a1111_response(&self) -> Response {
        if let Some(r#type) = fault_type(self.kind) {
            let loc = std::iter::once("body").chain(self.field()).collect();
            let body = A1111ValidationError { detail: [Fault { loc, msg: &self.message, r#type }] };
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
        }
        let rendering = self.kind.rendering();
        let error = if rendering.status.is_server_error() { "RuntimeError" } else { "HTTPException" };
        let errors = format!("{}: {}", rendering.code, self.message);
        (rendering.status, Json(A1111Error { error, detail: &self.message, body: "", errors })).into_response()
    }
}

/// Pydantic's word for a fault that lies in the request's body; `None` where it does not.
const fn fault_type(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::MalformedBody => Some("value_error.jsondecode"),
        ErrorKind::InvalidValue | ErrorKind::UnsupportedField => Some("value_error"),
        ErrorKind::UnknownField => Some("value_error.extra"),
        ErrorKind::MissingField => Some("value_error.missing"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Surface;
    use super::*;

    async fn rendered(error: ApiError) -> (StatusCode, String) {
        let response = error.render(Surface::A1111);
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_fault_of_a_field_is_fastapis_and_all_else_a1111s() {
        let (status, text) = rendered(ApiError::invalid("num_inference_steps", "is 500").renamed("steps")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(text, r#"{"detail":[{"loc":["body","steps"],"msg":"steps is 500","type":"value_error"}]}"#);

        let (status, text) = rendered(ApiError::new(ErrorKind::MalformedBody, "x")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(text, r#"{"detail":[{"loc":["body"],"msg":"x","type":"value_error.jsondecode"}]}"#);

        let (status, text) = rendered(ApiError::new(ErrorKind::ModelNotFound, "no model 'x'").with_field("model")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(
            text,
            r#"{"error":"HTTPException","detail":"no model 'x'","body":"","errors":"model_not_found: no model 'x'"}"#
        );

        let (status, text) = rendered(ApiError::new(ErrorKind::TaskFailed, "x")).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(text, r#"{"error":"RuntimeError","detail":"x","body":"","errors":"task_failed: x"}"#);
    }
}
