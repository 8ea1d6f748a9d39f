//! Around every request: an id, a span, counters, and the one place where errors are rendered and logged.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

use super::error::{ApiError, Surface};
use super::state::ApiState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The middleware. `state` is needed for its metrics alone.
pub(super) async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let surface = Surface::of_request(request.method(), request.uri(), request.headers());
    let method = request.method().clone();
    // The pattern, never the path: a path is the client's to choose, and a metric label must not be.
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let request_id = request
        .headers()
        .get(&REQUEST_ID)
        .filter(|value| value.len() <= MAX_REQUEST_ID_BYTES && value.to_str().is_ok())
        .cloned()
        .or_else(|| HeaderValue::from_str(&Uuid::now_v7().simple().to_string()).ok());
    let span = tracing::info_span!(
        "request",
        request.id = request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default(),
        http.method = %method,
        http.route = route,
    );
    async {
        let mut response = next.run(request).await;
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            error.log();
            // What other layers had to say about the request stays.
            let headers = std::mem::take(response.headers_mut());
            response = error.render(surface);
            response.headers_mut().extend(headers);
        }
        let elapsed = began.elapsed();
        let status = response.status().as_u16();
        state.metrics.observe_request(&route, method.as_str(), status, elapsed);
        tracing::info!(http.status = status, elapsed_ms = elapsed.as_millis() as u64, "Answered {method} {route} with {status}");
        if let Some(id) = request_id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
    .instrument(span)
    .await
}
