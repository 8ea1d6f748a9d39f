//! Looking at a task.

use axum::Json;
use axum::extract::{Path, State};

use super::document::{UnifiedAnswer, UnifiedStatus, UnifiedTask};
use crate::api::error::{ApiError, UnifiedError};
use crate::api::extract::Caller;
use crate::api::native::tasks::parse_task_id;
use crate::api::state::ApiState;
use crate::domain::Principal;

/// Look at a task, in the envelope of unified tasks
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/status", tag = "unified", params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "The task as it stands", body = UnifiedAnswer<UnifiedStatus>),
        (status = 404, description = "No such task, or not yours", body = UnifiedError),
    )
)]
pub(in crate::api) async fn get_task_status(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<UnifiedAnswer<UnifiedStatus>>, ApiError> {
    let job = state.jobs.get(&principal, parse_task_id(&id)?).await?;
    let status = UnifiedStatus::of(&job, &state);
    Ok(Json(UnifiedAnswer::success(status.in_words(), status)))
}

/// A task and what came of it.
pub(in crate::api) async fn result(
    state: &ApiState,
    principal: &Principal,
    base_url: &str,
    id: &str,
) -> Result<UnifiedAnswer<UnifiedTask>, ApiError> {
    let job = state.jobs.get(principal, parse_task_id(id)?).await?;
    let task = UnifiedTask::of(&job, state, base_url);
    Ok(UnifiedAnswer::success(task.in_words(), task))
}
