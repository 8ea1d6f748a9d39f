//! Whether the server is well.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::state::ApiState;
use crate::domain::JobState;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Health {
    /// `ok`; `stopping` while the server shuts down; `failing` when the job store cannot be read.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
    /// The server's version.
    #[schema(value_type = String, example = "0.1.0")]
    version: &'static str,
    /// What jobs run on.
    devices: Vec<String>,
    /// Tasks that have not ended.
    jobs: JobCounts,
}

/// Tasks that have not ended.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::api) struct JobCounts {
    queued: u64,
    running: u64,
}

/// How the server is
///
/// Needs no key. Answers 200 when new tasks are taken and 503 when not.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "server", security(()),
    responses(
        (status = 200, description = "Well", body = Health),
        (status = 503, description = "Stopping or failing", body = Health),
    )
)]
pub(in crate::api) async fn get_health(State(state): State<ApiState>) -> (StatusCode, Json<Health>) {
    let mut jobs = JobCounts::default();
    let counted = state.jobs.counts().await;
    let status = match &counted {
        _ if state.shutdown.is_cancelled() => "stopping",
        Ok(_) => "ok",
        Err(error) => {
            tracing::warn!(error = error as &dyn std::error::Error, "The job store cannot be read");
            "failing"
        }
    };
    for (job_state, number) in counted.unwrap_or_default() {
        match job_state {
            JobState::Queued => jobs.queued = number,
            JobState::Running => jobs.running = number,
            JobState::Completed | JobState::Failed | JobState::Cancelled => {}
        }
    }
    let code = if status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { status, version: state.settings.version, devices: state.settings.devices.clone(), jobs }))
}
