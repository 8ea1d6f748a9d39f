//! The queue: who waits, for how long, in which place; and moving within it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{Caller, JsonBody, QueryParameters};
use crate::api::native::task_document::rounded_seconds;
use crate::api::native::tasks::{Page, parse_task_id};
use crate::api::state::ApiState;
use crate::api::submission::forecast;
use crate::api::whole_number::{WholeNumber, priority_within};
use crate::domain::{Job, JobState};
use crate::jobs::store::JobFilter;

/// Priorities that administrators may give: beyond what any user can ask for.
const MOST_PRIORITY: i128 = 1000;

/// Which part of the queue.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct QueueQuery {
    /// How many, 1 to 100; absent: 20.
    limit: Option<u32>,
    /// Only tasks accepted before this one: the `next` of the page before.
    before: Option<String>,
}

/// A waiting task.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct QueueEntry {
    /// The task.
    #[schema(example = "job_0199a5b6c7d87e0f8a1b2c3d4e5f6071")]
    task_id: String,
    /// How many start before it, and it; 1 is next. Null when this server does not see it waiting.
    position: Option<usize>,
    /// Whose it is.
    user_id: String,
    /// The project that it is for.
    project_id: Option<String>,
    /// The model.
    model: String,
    /// Higher goes first.
    priority: i32,
    /// Seconds since it was accepted.
    age_seconds: f64,
    /// Seconds until it is probably done; null while nothing has been measured.
    estimated_time: Option<f64>,
    /// RFC 3339.
    created_at: String,
}

/// A page of the queue: the last accepted first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct QueuePage {
    /// How many tasks wait in all.
    waiting: usize,
    /// The waiting tasks.
    tasks: Vec<QueueEntry>,
    /// `before` of the next page; null on the last.
    next: Option<String>,
}

/// A new priority.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PriorityRequest {
    /// −1000 to 1000; higher goes first.
    #[schema(value_type = i32)]
    priority: WholeNumber,
}

impl QueueEntry {
    fn new(state: &ApiState, job: &Job) -> Self {
        let forecast = forecast(state, job);
        let age_ms = state.clock.now().0.saturating_sub(job.created.0).max(0);
        Self {
            task_id: job.id.to_string(),
            position: forecast.map(|forecast| forecast.position),
            user_id: job.user.to_string(),
            project_id: job.project.as_ref().map(ToString::to_string),
            model: job.request.model.to_string(),
            priority: job.priority,
            age_seconds: age_ms as f64 / 1e3,
            estimated_time: forecast.and_then(|forecast| forecast.seconds).map(rounded_seconds),
            created_at: job.created.to_string(),
        }
    }
}

/// List what waits
#[utoipa::path(
    get, path = "/api/v1/admin/queue", tag = "administration", params(QueueQuery),
    responses(
        (status = 200, description = "The last accepted first; `position` says what starts next", body = QueuePage),
        (status = 422, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_queue(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    QueryParameters(query): QueryParameters<QueueQuery>,
) -> Result<Json<QueuePage>, ApiError> {
    let filter = JobFilter { states: vec![JobState::Queued], ..JobFilter::default() };
    let page = Page::read(&state, &principal, filter, query.limit, query.before.as_deref()).await?;
    let waiting = state.scheduler.queue_depths().iter().map(|(_, tasks, _)| tasks).sum();
    let tasks = page.jobs.iter().map(|job| QueueEntry::new(&state, job)).collect();
    Ok(Json(QueuePage { waiting, tasks, next: page.next }))
}

/// Move a task within the queue
#[utoipa::path(
    post, path = "/api/v1/admin/queue/{task_id}/priority", tag = "administration", request_body = PriorityRequest,
    params(("task_id" = String, Path, description = "The waiting task")),
    responses(
        (status = 200, description = "The task as it waits now", body = QueueEntry),
        (status = 404, description = "No such task", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It does not wait any more", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No priority", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn set_priority(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<PriorityRequest>,
) -> Result<Json<QueueEntry>, ApiError> {
    let priority = priority_within(request.priority, MOST_PRIORITY)?;
    let job = state.jobs.set_priority(parse_task_id(&id)?, priority).await?;
    if job.state != JobState::Queued {
        let message = format!("task {id} is {}; only a waiting task can be moved", job.state.as_str());
        return Err(ApiError::new(ErrorKind::NotWaiting, message));
    }
    Ok(Json(QueueEntry::new(&state, &job)))
}
