//! `/sdapi/v1/progress`: how far the caller's own pictures are.

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::running::{ProgressState, current_job, remaining_seconds};
use super::task_progress::place_in_queue;
use crate::api::error::{A1111ValidationError, ApiError};
use crate::api::extract::{Caller, QueryParameters};
use crate::api::state::ApiState;
use crate::domain::JobState;

/// What the web UI adds to a task that has begun, so that 0 is nothing but idle.
const BEGUN: f64 = 0.01;

/// What is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ProgressQuery {
    /// Leave the preview out: previews take the device's time.
    #[param(value_type = Option<bool>)]
    skip_current_image: Option<String>,
}

/// How far the caller's pictures are.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProgressAnswer {
    /// 0 to 1; 0 when nothing of the caller's runs.
    progress: f64,
    /// Seconds until it is done, as far as is known; 0 when nothing is.
    eta_relative: f64,
    /// The web UI's state.
    state: ProgressState,
    /// A preview, PNG in base64; null while there is none, and at the first question of a task.
    current_image: Option<String>,
    /// `In queue: 1/3` while it waits.
    textinfo: Option<String>,
    /// The client's name of the task, else its identifier; null when there is none.
    current_task: Option<String>,
}

/// See how far your pictures are
///
/// Of your own newest task for pictures that runs, else of your newest that waits; nobody sees another's.
#[utoipa::path(
    get, path = "/sdapi/v1/progress", tag = "a1111", params(ProgressQuery),
    responses(
        (status = 200, description = "As it is now", body = ProgressAnswer),
        (status = 422, description = "A parameter cannot be used", body = A1111ValidationError),
    )
)]
pub(in crate::api) async fn get_progress(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    QueryParameters(query): QueryParameters<ProgressQuery>,
) -> Result<Json<ProgressAnswer>, ApiError> {
    let wants_image = !query.skips_image()?;
    let Some(job) = current_job(&state, &principal).await? else {
        return Ok(Json(ProgressAnswer {
            progress: 0.0,
            eta_relative: 0.0,
            state: ProgressState::idle(),
            current_image: None,
            textinfo: None,
            current_task: None,
        }));
    };
    let run = state.a1111.run(job.id);
    let is_running = job.state == JobState::Running;
    let progress = if is_running { (BEGUN + f64::from(job.progress.fraction())).min(1.0) } else { 0.0 };
    let place = if is_running { None } else { place_in_queue(&state, job.id) };
    // Of a waiting task there are none yet; but they are made once somebody looks.
    let image = if wants_image { state.a1111.previews.latest(&state, &principal, job.id) } else { None };
    Ok(Json(ProgressAnswer {
        progress,
        eta_relative: remaining_seconds(&job, progress, state.clock.now())
            .or_else(|| place.as_ref().and_then(|place| place.seconds))
            .unwrap_or(0.0),
        state: ProgressState::of(&job, &run),
        current_image: image.map(|preview| BASE64_STANDARD.encode(preview.png)),
        textinfo: place.map(|place| place.text()),
        current_task: Some(run.task.unwrap_or_else(|| job.id.to_string())),
    }))
}

impl ProgressQuery {
    /// FastAPI's words for yes and no.
    fn skips_image(&self) -> Result<bool, ApiError> {
        let Some(text) = &self.skip_current_image else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" | "t" | "y" => Ok(true),
            "false" | "0" | "off" | "no" | "f" | "n" | "" => Ok(false),
            _ => Err(ApiError::invalid("skip_current_image", "must be true or false")),
        }
    }
}
