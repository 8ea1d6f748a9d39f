//! Looking at videos and removing them.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::object::VideoObject;
use crate::api::error::{ApiError, ErrorKind, OpenAiErrorEnvelope};
use crate::api::extract::{Caller, QueryParameters};
use crate::api::native::tasks::parse_task_id;
use crate::api::state::ApiState;
use crate::domain::{Job, JobId, JobKind, JobState, Principal};
use crate::jobs::Previews;
use crate::jobs::store::JobFilter;

/// How soon a client should look again, milliseconds.
const POLL_AFTER_MS: &str = "1000";
const POLL_AFTER: HeaderName = HeaderName::from_static("openai-poll-after-ms");
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;
/// Pages that are read for a list from the oldest on.
const MOST_PAGES: usize = 100;
/// How long removing a running video waits for it to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Which part of the list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct VideoPage {
    /// Only videos behind this one in the list's order.
    after: Option<String>,
    /// How many, 1 to 100; absent: 20.
    limit: Option<u32>,
    /// `desc` (newest first) or `asc`.
    order: Option<String>,
}

/// A page of videos.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VideoList {
    /// `list`.
    object: &'static str,
    /// The videos.
    data: Vec<VideoObject>,
    /// The first one's identifier.
    first_id: Option<String>,
    /// The last one's identifier: the next page's `after`.
    last_id: Option<String>,
    /// Whether there are more.
    has_more: bool,
}

/// A removed video.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct DeletedVideo {
    id: String,
    /// `video.deleted`.
    object: &'static str,
    deleted: bool,
}

/// The job of a video of the caller.
pub(super) async fn find(state: &ApiState, principal: &Principal, id: &str) -> Result<Job, ApiError> {
    let job = state.jobs.get(principal, parse_task_id(id)?).await?;
    if job.request.kind() != JobKind::Film {
        return Err(ApiError::new(ErrorKind::TaskNotFound, format!("no video {id}")));
    }
    Ok(job)
}

/// Look at a video
#[utoipa::path(
    get, path = "/v1/videos/{id}", tag = "openai", params(("id" = String, Path, description = "The video")),
    responses(
        (status = 200, description = "The video as it stands", body = VideoObject),
        (status = 404, description = "No such video, or not yours", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn get_video(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = find(&state, &principal, &id).await?;
    let mut response = Json(VideoObject::of_film(&job)?).into_response();
    response.headers_mut().insert(POLL_AFTER, HeaderValue::from_static(POLL_AFTER_MS));
    Ok(response)
}

/// List your videos
#[utoipa::path(
    get, path = "/v1/videos", tag = "openai", params(VideoPage),
    responses(
        (status = 200, description = "Newest first, unless `order` says otherwise", body = VideoList),
        (status = 400, description = "A parameter cannot be used", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such video as `after` names", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn list_videos(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    QueryParameters(page): QueryParameters<VideoPage>,
) -> Result<Json<VideoList>, ApiError> {
    let limit = page.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("is {limit}; allowed: 1 to {MAX_PAGE}")));
    }
    let after = page.after.as_deref().map(parse_task_id).transpose()?;
    let mut jobs = match page.order.as_deref() {
        None | Some("desc") => films(&state, &principal, limit + 1, after).await?,
        Some("asc") => oldest(&state, &principal, limit as usize + 1, after).await?,
        Some(other) => {
            let shown: String = other.chars().take(16).collect();
            return Err(ApiError::invalid("order", format!("is '{shown}'; allowed: asc, desc")));
        }
    };
    let has_more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let id = |job: Option<&Job>| job.map(|job| job.id.to_string());
    Ok(Json(VideoList {
        object: "list",
        first_id: id(jobs.first()),
        last_id: id(jobs.last()),
        has_more,
        data: jobs.iter().filter_map(VideoObject::of).collect(),
    }))
}

async fn films(state: &ApiState, principal: &Principal, limit: u32, before: Option<JobId>) -> Result<Vec<Job>, ApiError> {
    let filter = JobFilter { kind: Some(JobKind::Film), ..JobFilter::default() };
    Ok(state.jobs.list(principal, filter, limit, before).await?)
}

/// The oldest videos behind `after`. The store lists the newest first, so its pages are read down to there.
async fn oldest(state: &ApiState, principal: &Principal, most: usize, after: Option<JobId>) -> Result<Vec<Job>, ApiError> {
    let (mut all, mut before) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = films(state, principal, MAX_PAGE, before).await?;
        before = page.last().map(|job| job.id);
        let is_last = page.len() < MAX_PAGE as usize;
        all.extend(page.into_iter().filter(|job| after.is_none_or(|after| job.id > after)));
        if is_last {
            break;
        }
    }
    all.reverse();
    all.truncate(most);
    Ok(all)
}

/// Remove a video
///
/// One that has not ended is cancelled first.
#[utoipa::path(
    delete, path = "/v1/videos/{id}", tag = "openai", params(("id" = String, Path, description = "The video")),
    responses(
        (status = 200, description = "It is gone", body = DeletedVideo),
        (status = 404, description = "No such video, or not yours", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn delete_video(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<DeletedVideo>, ApiError> {
    let job = find(&state, &principal, &id).await?;
    if !job.state.is_terminal() {
        stop(&state, &principal, job.id).await?;
    }
    state.jobs.delete(&principal, job.id).await?;
    Ok(Json(DeletedVideo { id, object: "video.deleted", deleted: true }))
}

/// Cancels a job and waits until it has ended; one that ended meanwhile is fine.
async fn stop(state: &ApiState, principal: &Principal, id: JobId) -> Result<(), ApiError> {
    let (job, mut events) = state.jobs.watch(principal, id, Previews::Unwanted).await?;
    if job.state.is_terminal() {
        return Ok(());
    }
    match state.jobs.cancel(principal, id).await {
        Ok(job) if job.state == JobState::Cancelled => return Ok(()),
        Ok(_) | Err(crate::jobs::JobServiceError::AlreadyEnded { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // The channel closes when the job has ended; what was missed does not matter.
    let ended = async { while !matches!(events.recv().await, Err(tokio::sync::broadcast::error::RecvError::Closed)) {} };
    if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
        tracing::warn!(job.id = %id, "Job {id} does not stop in time to be removed");
    }
    Ok(())
}
