//! `/sdapi/v1/options` and `/sdapi/v1/cmd-flags`: the web UI's settings, of which each caller has its own.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::models::checkpoints;
use super::nothing::Nothing;
use super::pictures::not_of_this_server;
use super::settings::checkpoint_in;
use crate::api::error::{A1111Error, A1111ValidationError, ApiError, ErrorKind};
use crate::api::extract::{Caller, JsonBody};
use crate::api::model_choice::find_model;
use crate::api::state::ApiState;
use crate::domain::{LOCAL_PROVIDER, ModelKind};

/// Look at your settings
///
/// `sd_model_checkpoint` is the model of your requests that name none; the others say how this server works and cannot be changed.
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "a1111", responses((status = 200, description = "The settings", body = Object)))]
pub(in crate::api) async fn get_options(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<Value>, ApiError> {
    let (_, current) = checkpoints(&state, &principal).await?;
    let (title, sha256) = current.map_or((None, None), |model| (Some(model.title), model.sha256));
    Ok(Json(json!({
        "sd_model_checkpoint": title,
        "sd_checkpoint_hash": sha256,
        "sd_vae": "Automatic",
        "sd_lora": "None",
        "sd_hypernetwork": "None",
        "CLIP_stop_at_last_layers": 1,
        "randn_source": "CPU",
        "eta_noise_seed_delta": 0,
        "initial_noise_multiplier": 1.0,
        "img2img_color_correction": false,
        "samples_format": "png",
        "samples_save": true,
        "grid_save": false,
        "return_grid": false,
        "enable_pnginfo": true,
        "live_previews_enable": true,
        "live_previews_image_format": "png",
        "show_progress_every_n_steps": 1,
    })))
}

/// Change your settings
///
/// `sd_model_checkpoint` becomes the model of your own requests that name none: nobody else's change, and nothing is loaded before it is
/// needed. It is kept in memory, for the 4,096 callers that used theirs last, until the server ends; null takes it back. Other settings
/// are accepted and ignored.
#[utoipa::path(
    post, path = "/sdapi/v1/options", tag = "a1111", request_body = Object,
    responses(
        (status = 200, description = "Changed; the body is null", body = Nothing),
        (status = 404, description = "No such model", body = A1111Error),
        (status = 422, description = "A setting cannot be used", body = A1111ValidationError),
    )
)]
pub(in crate::api) async fn set_options(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    JsonBody(options): JsonBody<Map<String, Value>>,
) -> Result<Json<Nothing>, ApiError> {
    const FIELD: &str = "sd_model_checkpoint";
    if let Some(value) = options.get(FIELD) {
        let model = match checkpoint_in(FIELD, Some(value))? {
            Some(name) => {
                let model = find_model(&state, &principal, name).await.map_err(|error| error.with_field(FIELD))?;
                if model.kind != ModelKind::Image {
                    return Err(ApiError::about(
                        ErrorKind::InvalidValue,
                        FIELD,
                        format!("is '{}', which makes no pictures", model.id),
                    ));
                }
                if model.provider != LOCAL_PROVIDER {
                    return Err(not_of_this_server(FIELD, &model.id));
                }
                Some(model.id)
            }
            None => None,
        };
        state.a1111.choose_checkpoint(&principal, model);
    }
    Ok(Json(Nothing))
}

/// Look at the command line
///
/// The flags of the web UI's that say something of this server.
#[utoipa::path(get, path = "/sdapi/v1/cmd-flags", tag = "a1111", responses((status = 200, description = "The flags", body = Object)))]
pub(in crate::api) async fn get_command_flags() -> Json<Value> {
    Json(json!({
        "api": true,
        "nowebui": true,
        "api_server_stop": false,
        "api_auth": null,
        "ckpt": null,
        "ckpt_dir": null,
        "vae_path": null,
        "lora_dir": null,
        "no_hashing": false,
        "share": false,
    }))
}
