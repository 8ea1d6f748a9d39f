//! Looking at tasks and stopping them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::images::AcceptedTask;
use super::scene_document::scenes_of;
use super::task_document::TaskDocument;
use crate::api::error::{ApiError, ErrorKind, Problem, UnifiedProblem};
use crate::api::extract::{BaseUrl, Caller, OptionalJsonBody, QueryParameters};
use crate::api::state::ApiState;
use crate::api::submission;
use crate::api::tenancy::parse_project;
use crate::api::unified::document::{UnifiedAnswer, UnifiedStatus};
use crate::api::whole_number::WholeNumber;
use crate::domain::{Job, JobId, JobState, Principal};
use crate::jobs::Retry;
use crate::jobs::store::JobFilter;

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
    /// Only tasks in one of these states, separated by commas: `queued`, `running`, `completed`, `failed`, `cancelled`.
    status: Option<String>,
    /// Only tasks of this project.
    project_id: Option<String>,
}

/// A page of tasks, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TaskList {
    /// The tasks.
    tasks: Vec<TaskDocument>,
    /// `before` of the next page; null on the last.
    next: Option<String>,
}

/// Part of a list of jobs, newest first.
pub(super) struct Page {
    /// The jobs.
    pub(super) jobs: Vec<Job>,
    /// Where the next page begins; `None` on the last.
    pub(super) next: Option<String>,
}

impl Page {
    /// The jobs that the caller may see and `filter` lets through, as the query's `limit` and `before` say.
    pub(super) async fn read(
        state: &ApiState,
        principal: &Principal,
        filter: JobFilter,
        limit: Option<u32>,
        before: Option<&str>,
    ) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("is {limit}; allowed: 1 to {MAX_PAGE}")));
        }
        let parse = |text: &str| text.parse().map_err(|error| ApiError::invalid("before", format!("cannot be used: {error}")));
        let before = before.map(parse).transpose()?;
        // One more than asked tells whether there is another page.
        let mut jobs = state.jobs.list(principal, filter, limit + 1, before).await?;
        let more = jobs.len() > limit as usize;
        jobs.truncate(limit as usize);
        let next = if more { jobs.last().map(|job| job.id.to_string()) } else { None };
        Ok(Self { jobs, next })
    }
}

/// The task that a path names. What is no identifier is no task.
pub(in crate::api) fn parse_task_id(text: &str) -> Result<JobId, ApiError> {
    text.parse().map_err(|error: crate::domain::IdError| ApiError::new(ErrorKind::TaskNotFound, error.to_string()))
}

/// States as a query names them.
fn parse_states(text: &str) -> Result<Vec<JobState>, ApiError> {
    let parse = |word: &str| {
        JobState::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
            let shown: String = word.chars().take(32).collect();
            let known = JobState::ALL.map(JobState::as_str).join(", ");
            ApiError::invalid("status", format!("has '{shown}'; allowed, separated by commas: {known}"))
        })
    };
    text.split(',').map(parse).collect()
}

/// List your tasks
///
/// A key that is bound to a project sees that project's; administrators see everybody's.
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
    let filter = JobFilter {
        project: page.project_id.as_deref().map(parse_project).transpose()?,
        states: page.status.as_deref().map_or_else(|| Ok(Vec::new()), parse_states)?,
        ..JobFilter::default()
    };
    let Page { jobs, next } = Page::read(&state, &principal, filter, page.limit, page.before.as_deref()).await?;
    Ok(Json(TaskList { tasks: TaskDocument::of_page(jobs, &state, &base_url), next }))
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
    let scenes = scenes_of(&job, &state, &principal, &base_url).await?;
    Ok(Json(TaskDocument::new(job, &state, &base_url).with_scenes(scenes)))
}

/// Remove a task
///
/// An ended task goes with its files; one that has not ended must be cancelled first.
#[utoipa::path(
    delete, path = "/api/v1/tasks/{id}", tag = "tasks", params(("id" = String, Path, description = "The task")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such task, or not yours", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has not ended", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn delete_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    state.jobs.delete(&principal, parse_task_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A task that was told to stop: one document for native clients and for those of unified tasks, which have this path too.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct StoppedTask {
    #[serde(flatten)]
    task: TaskDocument,
    #[serde(flatten)]
    envelope: UnifiedAnswer<UnifiedStatus>,
}

/// Stop a task
///
/// A queued task is cancelled at once, a running one within moments: it may still be `running` in the answer. Unified tasks are stopped
/// here too: `success`, `message` and `results` are their envelope, and stand beside the native fields in errors as well.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/cancel", tags = ["tasks", "unified"], params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "The task as it stands", body = StoppedTask),
        (status = 404, description = "No such task, or not yours", body = UnifiedProblem, content_type = "application/problem+json"),
        (status = 409, description = "It has already ended", body = UnifiedProblem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn cancel_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    Path(id): Path<String>,
) -> Result<Json<StoppedTask>, ApiError> {
    let job = state.jobs.cancel(&principal, parse_task_id(&id)?).await?;
    let message = if job.state.is_terminal() { "the task is cancelled" } else { "the task is being stopped" };
    let envelope = UnifiedAnswer::success(message, UnifiedStatus::of(&job, &state));
    Ok(Json(StoppedTask { task: TaskDocument::new(job, &state, &base_url), envelope }))
}

/// What shall be different.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct RetryRequest {
    /// The scene of a film that is made anew.
    scene: Option<String>,
    /// That scene's seed; absent: random.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeNumber>,
}

/// Try a task again
///
/// A failed or cancelled task is submitted again with the same seed, as a new task that names the old one in `retry_of`. Of a film, whether
/// it completed or not, one scene can be made anew. What a film's task has left is taken over, not made again. It counts for the quotas of
/// the task's user and project once more.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/retry", tag = "tasks", params(("id" = String, Path, description = "The task")),
    request_body = Option<RetryRequest>,
    responses(
        (status = 202, description = "Accepted", body = AcceptedTask),
        (status = 403, description = "More than may ever be asked for, by now", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such task, or not yours", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has not ended, or it completed", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too much waits already, or a quota has not enough left", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn retry_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(request): OptionalJsonBody<RetryRequest>,
) -> Result<(StatusCode, Json<AcceptedTask>), ApiError> {
    let seed = match request.seed {
        Some(_) if request.scene.is_none() => {
            return Err(ApiError::invalid("seed", "has a meaning only with scene"));
        }
        Some(WholeNumber(seed)) => u64::try_from(seed).map_err(|_| {
            ApiError::invalid("seed", format!("is {seed}; allowed: 0 to {} (leave it out for a random one)", u64::MAX))
        })?,
        None => submission::absent_seed(&principal, None)?,
    };
    let retry = Retry { scene: request.scene, seed, networks: state.settings.networks.clone() };
    let job = submission::retry(&state, &principal, parse_task_id(&id)?, retry).await?;
    Ok((StatusCode::ACCEPTED, Json(AcceptedTask::new(&state, &job))))
}
