//! The web UI's buttons that load and unload its one model. Here models come and go as they are needed; an administrator may hurry them.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::models::checkpoints;
use super::nothing::Nothing;
use crate::api::error::{A1111Error, ApiError};
use crate::api::extract::Caller;
use crate::api::state::ApiState;
use crate::domain::{ModelId, Principal};

/// Unload your checkpoint
///
/// An administrator's is unloaded from every device, when the device is done with it. For everybody else nothing happens: a model is
/// others' too.
#[utoipa::path(
    post, path = "/sdapi/v1/unload-checkpoint", tag = "a1111",
    responses(
        (status = 200, description = "Told", body = Object),
        (status = 409, description = "It is pinned", body = A1111Error),
    )
)]
pub(in crate::api) async fn unload_checkpoint(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<Value>, ApiError> {
    if let Some(model) = model_of_administrator(&state, &principal).await? {
        state.scheduler.unload_model(&model, None).await?;
    }
    Ok(Json(json!({})))
}

/// Load your checkpoint
///
/// An administrator's is loaded on the first device that has room, and answered when it is. For everybody else nothing happens: a model
/// is loaded when it is needed.
#[utoipa::path(
    post, path = "/sdapi/v1/reload-checkpoint", tag = "a1111",
    responses(
        (status = 200, description = "Loaded", body = Object),
        (status = 409, description = "It cannot be loaded", body = A1111Error),
    )
)]
pub(in crate::api) async fn reload_checkpoint(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<Value>, ApiError> {
    if let Some(model) = model_of_administrator(&state, &principal).await? {
        state.scheduler.load_model(&model, None).await?;
    }
    Ok(Json(json!({})))
}

/// Look for new checkpoints
///
/// Nothing to do: a new model is seen within a second.
#[utoipa::path(post, path = "/sdapi/v1/refresh-checkpoints", tag = "a1111", responses((status = 200, description = "The body is null", body = Nothing)))]
pub(in crate::api) async fn refresh_checkpoints() -> Json<Nothing> {
    Json(Nothing)
}

/// Look for new VAEs
///
/// Nothing to do.
#[utoipa::path(post, path = "/sdapi/v1/refresh-vae", tag = "a1111", responses((status = 200, description = "The body is null", body = Nothing)))]
pub(in crate::api) async fn refresh_vae() -> Json<Nothing> {
    Json(Nothing)
}

/// Look for new LoRA networks
///
/// Nothing to do.
#[utoipa::path(post, path = "/sdapi/v1/refresh-loras", tag = "a1111", responses((status = 200, description = "The body is null", body = Nothing)))]
pub(in crate::api) async fn refresh_loras() -> Json<Nothing> {
    Json(Nothing)
}

/// The model that an administrator means; nobody else means any.
async fn model_of_administrator(state: &ApiState, principal: &Principal) -> Result<Option<ModelId>, ApiError> {
    if !principal.admin {
        return Ok(None);
    }
    let (_, current) = checkpoints(state, principal).await?;
    current.map(|model| model.model_name.parse().map_err(ApiError::internal)).transpose()
}
