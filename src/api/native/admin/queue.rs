//! The queue: who waits, for how long, in which place; and moving within it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{JsonBody, QueryParameters};
use crate::api::native::task_document::rounded_seconds;
use crate::api::native::tasks::parse_task_id;
use crate::api::state::ApiState;
use crate::api::submission::forecast;
use crate::api::whole_number::{WholeNumber, priority_within};
use crate::domain::{Job, JobState, UnixMs};
use crate::jobs::store::QueuedTask;
use crate::scheduler::forecast::Forecast;

/// Priorities that administrators may give: beyond what any user can ask for.
const MOST_PRIORITY: i128 = 1000;

/// Waiting tasks that one answer may walk over: what lies behind them will move before it is its turn.
const MOST_LISTED: usize = 10_000;
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// Which part of the queue.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct QueueQuery {
    /// How many, 1 to 100; absent: 20.
    limit: Option<usize>,
    /// How many to pass over, 0 to 9900: the `next` of the page before.
    offset: Option<usize>,
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

/// A page of the queue, in the order in which tasks will probably start.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct QueuePage {
    /// How many tasks wait in all.
    waiting: usize,
    /// The waiting tasks.
    tasks: Vec<QueueEntry>,
    /// `offset` of the next page; null on the last, and behind the ten thousandth task.
    next: Option<usize>,
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
        Self {
            task_id: job.id.to_string(),
            position: forecast.map(|forecast| forecast.position),
            user_id: job.user.to_string(),
            project_id: job.project.as_ref().map(ToString::to_string),
            model: job.request.model().to_string(),
            priority: job.priority,
            age_seconds: age_seconds(state, job.created),
            estimated_time: forecast.and_then(|forecast| forecast.seconds).map(rounded_seconds),
            created_at: job.created.to_string(),
        }
    }

    fn waiting(state: &ApiState, task: &QueuedTask, position: usize, forecast: Option<Forecast>) -> Self {
        Self {
            task_id: task.job.to_string(),
            position: Some(position),
            user_id: task.user.to_string(),
            project_id: task.project.as_ref().map(ToString::to_string),
            model: task.batch.model.to_string(),
            priority: task.priority,
            age_seconds: age_seconds(state, task.created),
            estimated_time: forecast.and_then(|forecast| forecast.seconds).map(rounded_seconds),
            created_at: task.created.to_string(),
        }
    }
}

fn age_seconds(state: &ApiState, created: UnixMs) -> f64 {
    state.clock.now().0.saturating_sub(created.0).max(0) as f64 / 1e3
}

/// List what waits
#[utoipa::path(
    get, path = "/api/v1/admin/queue", tag = "administration", params(QueueQuery),
    responses(
        (status = 200, description = "What will probably start next first", body = QueuePage),
        (status = 422, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_queue(
    State(state): State<ApiState>,
    QueryParameters(query): QueryParameters<QueueQuery>,
) -> Result<Json<QueuePage>, ApiError> {
    let (limit, offset) = (query.limit.unwrap_or(DEFAULT_PAGE), query.offset.unwrap_or(0));
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("is {limit}; allowed: 1 to {MAX_PAGE}")));
    }
    if offset > MOST_LISTED - MAX_PAGE {
        return Err(ApiError::invalid("offset", format!("is {offset}; allowed: 0 to {}", MOST_LISTED - MAX_PAGE)));
    }
    let (waiting, tasks) = state.scheduler.queue(offset, limit);
    let end = offset + tasks.len();
    let forecasts = state.scheduler.forecasts(&tasks.iter().map(|task| task.job).collect::<Vec<_>>());
    let entry = |((position, task), forecast)| QueueEntry::waiting(&state, task, position, forecast);
    let tasks = (offset + 1..).zip(&tasks).zip(forecasts).map(entry).collect();
    let next = (end < waiting && end <= MOST_LISTED - MAX_PAGE).then_some(end);
    Ok(Json(QueuePage { waiting, tasks, next }))
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
