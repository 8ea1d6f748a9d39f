//! Numbers for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::telemetry::metrics::TEXT_FORMAT;

/// Numbers for Prometheus
///
/// Open when the server listens on loopback only; an administrator's elsewhere.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"))
)]
pub(in crate::api) async fn get_metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let counts = state.jobs.counts().await?;
    let text = state.metrics.render(&counts).map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
