//! `/sdapi/v1/interrupt` and `/sdapi/v1/skip`: stopping what the caller itself has under way.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::nothing::Nothing;
use super::running::current_job;
use crate::api::error::ApiError;
use crate::api::extract::Caller;
use crate::api::state::ApiState;
use crate::domain::Principal;
use crate::jobs::JobServiceError;

/// Stop your pictures
///
/// Of your own newest task for pictures that runs, else of your newest that waits; whoever waits for it gets an answer without pictures.
/// When there is none, nothing happens.
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "a1111", responses((status = 200, description = "Told to stop", body = Object)))]
pub(in crate::api) async fn interrupt(State(state): State<ApiState>, Caller(principal): Caller) -> Result<Json<Value>, ApiError> {
    stop(&state, &principal).await?;
    Ok(Json(json!({})))
}

/// Skip your pictures
///
/// The same as to interrupt them: a request is one task here, however many batches it has.
#[utoipa::path(post, path = "/sdapi/v1/skip", tag = "a1111", responses((status = 200, description = "Told to stop", body = Nothing)))]
pub(in crate::api) async fn skip(State(state): State<ApiState>, Caller(principal): Caller) -> Result<Json<Nothing>, ApiError> {
    stop(&state, &principal).await?;
    Ok(Json(Nothing))
}

async fn stop(state: &ApiState, principal: &Principal) -> Result<(), ApiError> {
    let Some(job) = current_job(state, principal).await? else { return Ok(()) };
    match state.jobs.cancel(principal, job.id).await {
        // It was done a moment ago, or its files were removed.
        Ok(_) | Err(JobServiceError::AlreadyEnded { .. } | JobServiceError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
