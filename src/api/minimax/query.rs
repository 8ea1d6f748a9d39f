//! Asking how a film is.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::film;
use crate::api::error::{ApiError, BaseResp, ErrorKind, MinimaxError};
use crate::api::extract::{Caller, QueryParameters};
use crate::api::state::ApiState;
use crate::domain::FileId;

/// Which film.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct VideoQuery {
    /// The task.
    #[param(required)]
    task_id: Option<String>,
}

/// How a film is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VideoGeneration {
    /// The task.
    task_id: String,
    /// `Preparing`, `Queueing`, `Processing`, `Success` or `Fail`.
    #[schema(value_type = String, example = "Success")]
    status: &'static str,
    /// Once it is there: what to ask for at `/v1/files/retrieve`, a text of digits; empty before.
    #[schema(example = "761622873941958769")]
    file_id: String,
    /// Pixels across; 0 before it is there.
    video_width: u32,
    /// Pixels down; 0 before it is there.
    video_height: u32,
    base_resp: BaseResp,
}

/// Look at a film, in MiniMax's words
///
/// Of one that failed, `base_resp` says why.
#[utoipa::path(
    get, path = "/v1/query/video_generation", tag = "minimax", params(VideoQuery),
    responses((status = 200, description = "The film as it stands, or a refusal", content(
        (VideoGeneration = "application/json"), (MinimaxError = "application/json"),
    )))
)]
pub(in crate::api) async fn query_video_generation(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    QueryParameters(query): QueryParameters<VideoQuery>,
) -> Result<Json<VideoGeneration>, ApiError> {
    let missing = || ApiError::about(ErrorKind::MissingField, "task_id", "is missing in the query");
    let task_id = query.task_id.filter(|id| !id.is_empty()).ok_or_else(missing)?;
    let job = film::find(&state, &principal, &task_id).await?;
    let file = film::file(&job);
    Ok(Json(VideoGeneration {
        status: film::status(&state, &job),
        file_id: file.map(|_| FileId::of(job.id).to_string()).unwrap_or_default(),
        video_width: file.map_or(0, |file| file.width),
        video_height: file.map_or(0, |file| file.height),
        base_resp: film::base_resp(&job),
        task_id,
    }))
}
