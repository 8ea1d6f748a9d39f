//! Looking at tasks and stopping them.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::task_document::TaskDocument;
use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{BaseUrl, Caller, QueryParameters};
use crate::api::state::ApiState;
use crate::domain::JobId;

const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;

/// Which part of the list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct TaskPage {
    /// How many, 1 to 100; absent: 20.
    limit: Option<u32>,
    /// Only tasks older than this one: the `next` of the page before.
    before: Option<String>,
}

/// A page of tasks, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TaskList {
    /// The tasks.
    tasks: Vec<TaskDocument>,
    /// `before` of the next page; null on the last.
    next: Option<String>,
}

/// The task that a path names. What is no identifier is no task.
pub(in crate::api) fn parse_task_id(text: &str) -> Result<JobId, ApiError> {
    text.parse().map_err(|error: crate::domain::IdError| ApiError::new(ErrorKind::TaskNotFound, error.to_string()))
}

/// List your tasks
#[utoipa::path(
    get, path = "/api/v1/tasks", tag = "tasks", params(TaskPage),
    responses(
        (status = 200, description = "Newest first", body = TaskList),
        (status = 422, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_tasks(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    QueryParameters(page): QueryParameters<TaskPage>,
) -> Result<Json<TaskList>, ApiError> {
    let limit = page.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("is {limit}; allowed: 1 to {MAX_PAGE}")));
    }
    let before = match &page.before {
        Some(text) => Some(text.parse().map_err(|error| ApiError::invalid("before", format!("cannot be used: {error}")))?),
        None => None,
    };
    // One more than asked tells whether there is another page.
    let mut jobs = state.jobs.list(&principal, limit + 1, before).await?;
    let more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let next = if more { jobs.last().map(|job| job.id.to_string()) } else { None };
    let tasks = jobs.into_iter().map(|job| TaskDocument::new(job, &state, &base_url)).collect();
    Ok(Json(TaskList { tasks, next }))
}

/// Look at a task
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}", tag = "tasks", params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "The task as it stands", body = TaskDocument),
        (status = 404, description = "No such task, or not yours", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    Path(id): Path<String>,
) -> Result<Json<TaskDocument>, ApiError> {
    let job = state.jobs.get(&principal, parse_task_id(&id)?).await?;
    Ok(Json(TaskDocument::new(job, &state, &base_url)))
}

/// Stop a task
///
/// A queued task is cancelled at once, a running one within moments: it may still be `running` in the answer.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "The task as it stands", body = TaskDocument),
        (status = 404, description = "No such task, or not yours", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has already ended", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn cancel_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    Path(id): Path<String>,
) -> Result<Json<TaskDocument>, ApiError> {
    let job = state.jobs.cancel(&principal, parse_task_id(&id)?).await?;
    Ok(Json(TaskDocument::new(job, &state, &base_url)))
}
