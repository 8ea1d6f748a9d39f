//! What a request says that nobody here can make anything of, told to whoever sent it.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

/// The fields that were read and then left aside.
pub(super) const IGNORED: HeaderName = HeaderName::from_static("x-ignored-parameters");

/// Names `fields` in the answer, and in the log.
pub(super) fn report_ignored(mut response: Response, fields: &[&str]) -> Response {
    if fields.is_empty() {
        return response;
    }
    let listed = fields.join(", ");
    tracing::debug!(fields = listed, "The request's model ignores {listed}");
    if let Ok(value) = HeaderValue::from_str(&listed) {
        response.headers_mut().insert(IGNORED, value);
    }
    response
}
