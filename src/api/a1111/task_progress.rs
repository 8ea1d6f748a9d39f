//! `/internal/progress`: how far a task is that its client has given a name.

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::running::remaining_seconds;
use crate::api::error::{A1111ValidationError, ApiError};
use crate::api::extract::{Caller, JsonBody};
use crate::api::state::ApiState;
use crate::api::whole_number::WholeNumber;
use crate::domain::{Job, JobId, JobState, Principal};
use crate::jobs::JobServiceError;

/// Which task.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct TaskProgressRequest {
    /// The `force_task_id` of the request, or the identifier that answers carry in `x-task-id`.
    id_task: Option<String>,
    /// The number of the preview that is known already; absent: −1.
    #[schema(value_type = Option<i64>)]
    id_live_preview: Option<WholeNumber>,
    /// Whether a preview is wanted; absent: true.
    live_preview: Option<bool>,
}

/// How far a task is.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "these are the web UI's fields")]
pub(in crate::api) struct TaskProgress {
    /// It runs.
    active: bool,
    /// It waits.
    queued: bool,
    /// Always false.
    paused: bool,
    /// It has ended, in whatever way.
    completed: bool,
    /// 0 to 1, while it runs.
    progress: Option<f64>,
    /// Seconds until it is done, as far as is known.
    eta: Option<f64>,
    /// A new preview as a data URL.
    live_preview: Option<String>,
    /// The number of the latest preview; −1 before the first.
    id_live_preview: i64,
    /// `In queue: 1/3` while it waits, `Waiting...` while nothing is known of it.
    textinfo: Option<String>,
}

/// A waiting task's place.
#[derive(Debug)]
pub(super) struct PlaceInQueue {
    position: usize,
    waiting: usize,
    /// Seconds until it is probably done.
    pub(super) seconds: Option<f64>,
}

impl PlaceInQueue {
    /// As the web UI writes it.
    pub(super) fn text(&self) -> String {
        format!("In queue: {}/{}", self.position, self.waiting.max(self.position))
    }
}

/// Where a job waits; `None` when it does not, or waits at another server.
pub(super) fn place_in_queue(state: &ApiState, id: JobId) -> Option<PlaceInQueue> {
    let forecast = state.scheduler.forecast(id)?;
    let waiting = state.scheduler.queue_depths().into_iter().map(|(_, tasks, _)| tasks).sum();
    Some(PlaceInQueue { position: forecast.position, waiting, seconds: forecast.seconds })
}

/// See how far a task is
///
/// A task that is not yours is as if it were not there.
#[utoipa::path(
    post, path = "/internal/progress", tag = "a1111", request_body = TaskProgressRequest,
    responses(
        (status = 200, description = "As it is now", body = TaskProgress),
        (status = 422, description = "A field cannot be used", body = A1111ValidationError),
    )
)]
pub(in crate::api) async fn get_task_progress(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    JsonBody(request): JsonBody<TaskProgressRequest>,
) -> Result<Json<TaskProgress>, ApiError> {
    let Some(job) = find_job(&state, &principal, request.id_task.as_deref().unwrap_or_default()).await? else {
        return Ok(Json(TaskProgress::without_preview(None, Some("Waiting...".to_owned()))));
    };
    if job.state != JobState::Running {
        let place = if job.state == JobState::Queued { place_in_queue(&state, job.id) } else { None };
        let text = place.as_ref().map_or_else(|| "Waiting...".to_owned(), PlaceInQueue::text);
        let eta = place.and_then(|place| place.seconds);
        return Ok(Json(TaskProgress { eta, ..TaskProgress::without_preview(Some(job.state), Some(text)) }));
    }
    let known = request.id_live_preview.map_or(-1, |number| number.0);
    let fraction = f64::from(job.progress.fraction());
    let mut answer = TaskProgress {
        progress: Some(fraction),
        eta: remaining_seconds(&job, fraction, state.clock.now()),
        ..TaskProgress::without_preview(Some(job.state), None)
    };
    if request.live_preview != Some(false)
        && let Some(preview) = state.a1111.previews.latest(&state, &principal, job.id)
    {
        answer.id_live_preview = preview.number;
        let is_new = i128::from(preview.number) != known;
        answer.live_preview = is_new.then(|| format!("data:image/png;base64,{}", BASE64_STANDARD.encode(preview.png)));
    }
    Ok(Json(answer))
}

impl TaskProgress {
    fn without_preview(state: Option<JobState>, textinfo: Option<String>) -> Self {
        Self {
            active: state == Some(JobState::Running),
            queued: state == Some(JobState::Queued),
            paused: false,
            completed: state.is_some_and(JobState::is_terminal),
            progress: None,
            eta: None,
            live_preview: None,
            id_live_preview: -1,
            textinfo,
        }
    }
}

/// The caller's job of this name or identifier.
async fn find_job(state: &ApiState, principal: &Principal, task: &str) -> Result<Option<Job>, ApiError> {
    let Some(id) = state.a1111.named(principal, task).or_else(|| task.parse().ok()) else { return Ok(None) };
    match state.jobs.get(principal, id).await {
        Ok(job) => Ok(Some(job)),
        Err(JobServiceError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
