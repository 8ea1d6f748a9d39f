//! What can be asked for.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::{ApiError, Problem};
use crate::api::extract::Caller;
use crate::api::model_choice;
use crate::api::state::ApiState;
use crate::domain::{ModelDescription, ModelKind, ModelLimits, UnixMs, VideoLimits};

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ModelDocument {
    /// Its name in requests.
    id: String,
    /// What it makes: `image` or `video`.
    #[schema(value_type = String, example = "image")]
    kind: ModelKind,
    /// Its architecture.
    #[schema(example = "sdxl")]
    family: String,
    /// `local`, `route`, or who makes it in this server's stead.
    provider: String,
    /// Weights in all.
    parameters: u64,
    /// Bytes of its files.
    weight_file_bytes: u64,
    /// When its files were last changed, RFC 3339.
    created_at: String,
    /// Whether it takes `mask`.
    inpainting: bool,
    /// Of an image model, the channels of its network's input: 4; or 9, which is one for inpainting.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_channels: Option<u32>,
    /// Whether it makes nothing without `init_image` and `mask`.
    mask_required: bool,
    /// Ranges and defaults of a request's fields.
    limits: ModelLimitsDocument,
    /// The same of what only video models have.
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoLimitsDocument>,
}

/// Ranges and defaults of a film request's fields.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VideoLimitsDocument {
    /// Smallest `num_frames`.
    min_frames: u32,
    /// Largest `num_frames`.
    max_frames: u32,
    /// `num_frames` when absent.
    default_num_frames: u32,
    /// The frame rate that its clips are meant for.
    default_fps: u32,
    /// Largest `motion_bucket_id`.
    max_motion_bucket_id: u32,
    /// `motion_bucket_id` when absent.
    default_motion_bucket_id: u32,
    /// Largest `noise_aug_strength`.
    max_noise_aug_strength: f32,
    /// `noise_aug_strength` when absent.
    default_noise_aug_strength: f32,
    /// `min_guidance_scale` when absent.
    default_min_guidance_scale: f32,
    /// `max_guidance_scale` when absent.
    default_max_guidance_scale: f32,
    /// `decode_chunk_size` when absent.
    default_decode_chunk_size: u32,
}

/// Ranges and defaults of a request's fields.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ModelLimitsDocument {
    /// Smallest `width` and `height`, pixels.
    min_side: u32,
    /// Largest `width` and `height`, pixels.
    max_side: u32,
    /// `width` and `height` are multiples of this.
    side_multiple: u32,
    /// Largest `num_images`.
    max_images: u32,
    /// Largest `num_inference_steps` without `sampler`.
    max_steps: u32,
    /// Largest `guidance_scale`.
    max_guidance_scale: f32,
    /// Longest `prompt` and `negative_prompt`, characters.
    max_prompt_characters: u32,
    /// `width` when absent.
    default_width: u32,
    /// `height` when absent.
    default_height: u32,
    /// `num_inference_steps` when absent.
    default_steps: u32,
    /// `guidance_scale` when absent.
    default_guidance_scale: f32,
    /// `strength` when absent and there is an `init_image`.
    default_strength: f32,
    /// Values of `sampler`.
    samplers: Vec<String>,
    /// Largest `num_inference_steps` with each `sampler`.
    max_steps_by_sampler: BTreeMap<String, u32>,
}

/// The models that the caller may use.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ModelList {
    /// The models.
    models: Vec<ModelDocument>,
    /// The one that requests for images without `model` use.
    default_image_model: Option<String>,
    /// The one that requests for films without `model` use.
    default_video_model: Option<String>,
}

impl From<ModelDescription> for ModelDocument {
    fn from(model: ModelDescription) -> Self {
        let ModelDescription { id, kind, family, provider, parameters, weight_file_bytes, created, limits, inpainting, video } =
            model;
        let created_at = UnixMs(created.saturating_mul(1000)).to_string();
        Self {
            id: id.to_string(),
            kind,
            family,
            provider,
            parameters,
            weight_file_bytes,
            created_at,
            inpainting: inpainting.is_some(),
            input_channels: inpainting.map(|inpainting| inpainting.input_channels),
            mask_required: inpainting.is_some_and(|inpainting| inpainting.mask_required),
            limits: limits.into(),
            video: video.map(Into::into),
        }
    }
}

impl From<VideoLimits> for VideoLimitsDocument {
    fn from(limits: VideoLimits) -> Self {
        Self {
            min_frames: limits.min_frames,
            max_frames: limits.max_frames,
            default_num_frames: limits.default_num_frames,
            default_fps: limits.default_fps,
            max_motion_bucket_id: limits.max_motion_bucket_id,
            default_motion_bucket_id: limits.default_motion_bucket_id,
            max_noise_aug_strength: limits.max_noise_aug_strength,
            default_noise_aug_strength: limits.default_noise_aug_strength,
            default_min_guidance_scale: limits.default_min_guidance_scale,
            default_max_guidance_scale: limits.default_max_guidance_scale,
            default_decode_chunk_size: limits.default_decode_chunk_size,
        }
    }
}

impl From<ModelLimits> for ModelLimitsDocument {
    fn from(limits: ModelLimits) -> Self {
        Self {
            min_side: limits.min_side,
            max_side: limits.max_side,
            side_multiple: limits.side_multiple,
            max_images: limits.max_images,
            max_steps: limits.max_steps,
            max_guidance_scale: limits.max_guidance_scale,
            max_prompt_characters: limits.max_prompt_characters,
            default_width: limits.default_width,
            default_height: limits.default_height,
            default_steps: limits.default_steps,
            default_guidance_scale: limits.default_guidance_scale,
            default_strength: limits.default_strength,
            samplers: limits.samplers,
            max_steps_by_sampler: limits.max_steps_by_sampler,
        }
    }
}

/// List the models
///
/// Those that you may use; administrators see all.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", responses((status = 200, description = "By name", body = ModelList)))]
pub(in crate::api) async fn list_models(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<ModelList>, ApiError> {
    let seen = model_choice::list_models(&state, &principal).await?;
    Ok(Json(ModelList {
        models: seen.models.into_iter().map(ModelDocument::from).collect(),
        default_image_model: seen.default_image.map(|id| id.to_string()),
        default_video_model: seen.default_video.map(|id| id.to_string()),
    }))
}

/// Look at a model
#[utoipa::path(
    get, path = "/api/v1/models/{id}", tag = "models", params(("id" = String, Path, description = "The model")),
    responses(
        (status = 200, description = "The model", body = ModelDocument),
        (status = 404, description = "No such model", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_model(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<ModelDocument>, ApiError> {
    Ok(Json(model_choice::find_model(&state, &principal, id).await?.into()))
}
