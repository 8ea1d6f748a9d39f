//! Asking for pictures.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::task_document::rounded_seconds;
use crate::api::callback::CallbackOrder;
use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{BaseUrl, Caller, JsonBody};
use crate::api::film_submission::OrderedFile;
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, SentMask, Submission, forecast_accepted};
use crate::api::whole_number::{WholeNumber, priority_within};
use crate::domain::{Job, ModelKind, Principal};
use crate::media::mask::MaskReading;
use crate::models::parameters::ImageParameters;

/// Priorities that may be asked for, both ways from 0.
const MAX_PRIORITY: i128 = 100;

/// A request for pictures. An absent or null field means the model's default; `GET /api/v1/models` has defaults and ranges.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct GenerateImageRequest {
    /// The model; absent: the default image model.
    model: Option<String>,
    /// What the picture shows.
    #[schema(example = "a large red circle on a blue background")]
    prompt: String,
    /// What it must not show.
    negative_prompt: Option<String>,
    /// Pixels across.
    #[schema(value_type = Option<u32>)]
    width: Option<WholeNumber>,
    /// Pixels down.
    #[schema(value_type = Option<u32>)]
    height: Option<WholeNumber>,
    /// Sampler steps.
    #[schema(value_type = Option<u32>)]
    num_inference_steps: Option<WholeNumber>,
    /// Classifier-free guidance; at most 1 turns it off.
    guidance_scale: Option<f64>,
    /// Seed of the first picture, 0 to 2^64 − 1; absent: random, and reported. Picture i uses seed + i.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeNumber>,
    /// A sampler's name; absent: the checkpoint's own.
    sampler: Option<String>,
    /// How many pictures.
    #[schema(value_type = Option<u32>)]
    num_images: Option<WholeNumber>,
    /// The picture to start from: base64 of a PNG, JPEG or WebP file, a data URL, or a link.
    init_image: Option<String>,
    /// How much of it is noised away: above 0, at most 1.
    strength: Option<f64>,
    /// Which part of it is repainted, as a picture of any size in the same forms: what is white is repainted; what is black, or transparent,
    /// is kept (in latents: its pixels are drawn anew, and may differ a little). Both are resized to `width` and `height`.
    mask: Option<String>,
    /// Not supported yet.
    character_id: Option<Value>,
    /// Not supported yet.
    style: Option<Value>,
    /// Not supported yet.
    loras: Option<Value>,
    /// Not supported yet.
    controls: Option<Value>,
    /// The project that it is for and that pays for it; absent: the key's, or none.
    project_id: Option<String>,
    /// Higher goes first; −100 to 100, 0 is normal. What your limits and your project's grant is added.
    #[schema(value_type = Option<i32>)]
    priority: Option<WholeNumber>,
    /// A link that is told, by POST, what becomes of the task: signed as Standard Webhooks has it, and sent again until it is taken.
    #[schema(example = "https://example.com/hook")]
    callback_url: Option<String>,
    /// What it is told: `accepted`, `started`, `completed`, `failed`, `cancelled`; absent: the last three.
    callback_events: Option<Vec<String>>,
}

/// An accepted task.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct AcceptedTask {
    /// What to ask for at `/api/v1/tasks/{id}`.
    #[schema(example = "job_0199a5b6c7d87e0f8a1b2c3d4e5f6071")]
    task_id: String,
    /// `queued`, unless an earlier request with the same `Idempotency-Key` is already further.
    #[schema(value_type = String, example = "queued")]
    status: &'static str,
    /// Seconds until it is probably done, waiting included; null while nothing has been measured, and once it no longer waits.
    estimated_time: Option<f64>,
    /// RFC 3339.
    created_at: String,
}

/// Make pictures
///
/// Answers as soon as the task is safely stored; look at it, watch it or cancel it at `/api/v1/tasks/{task_id}`.
#[utoipa::path(
    post, path = "/api/v1/images/generate", tag = "images",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same task")),
    request_body = GenerateImageRequest,
    responses(
        (status = 202, description = "Accepted", body = AcceptedTask),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid key", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "More than you may ever ask for, or another project than your key's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such model or project", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left; `Retry-After` says for how many seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn generate_image(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<GenerateImageRequest>,
) -> Result<(StatusCode, Json<AcceptedTask>), ApiError> {
    let (commission, submission) = request.commission(&state, &principal, &base_url, idempotency_key).await?;
    let job = commission.submit(&state, submission).await?;
    Ok((StatusCode::ACCEPTED, Json(AcceptedTask::new(&state, &job))))
}

impl AcceptedTask {
    /// The answer to whoever submitted `job`.
    pub(super) fn new(state: &ApiState, job: &Job) -> Self {
        Self {
            task_id: job.id.to_string(),
            status: job.state.as_str(),
            estimated_time: forecast_accepted(state, job).and_then(|forecast| forecast.seconds).map(rounded_seconds),
            created_at: job.created.to_string(),
        }
    }
}

impl GenerateImageRequest {
    /// Checks what no model has a say in, and finds the project and the model that are meant.
    pub(super) async fn commission<'a>(
        self,
        state: &ApiState,
        principal: &'a Principal,
        base_url: &str,
        idempotency_key: Option<String>,
    ) -> Result<(Commission<'a>, Submission), ApiError> {
        self.refuse_what_comes_later()?;
        let priority = self.checked_priority()?;
        let order = CallbackOrder { url: self.callback_url, events: self.callback_events };
        let callback = order.checked(state, base_url)?;
        let commission = Commission::new(state, principal, self.project_id.as_deref(), ModelKind::Image, self.model).await?;
        let submission = Submission {
            parameters: ImageParameters {
                prompt: self.prompt,
                negative_prompt: self.negative_prompt,
                width: self.width.map(|number| number.0),
                height: self.height.map(|number| number.0),
                shape: None,
                num_inference_steps: self.num_inference_steps.map(|number| number.0),
                guidance_scale: self.guidance_scale,
                seed: self.seed.map(|number| number.0),
                sampler: self.sampler,
                num_images: self.num_images.map(|number| number.0),
                init_image_size: None,
                strength: self.strength,
                has_mask: false,
            },
            init_image: self.init_image.map(OrderedFile::Text),
            mask: self.mask.map(|mask| SentMask { file: OrderedFile::Text(mask), reading: MaskReading::Brightness }),
            priority,
            idempotency_key,
            callback,
            ..Submission::default()
        };
        Ok((commission, submission))
    }

    /// Fields that are part of the API but not of this version are refused, never ignored.
    fn refuse_what_comes_later(&self) -> Result<(), ApiError> {
        let later =
            [("character_id", &self.character_id), ("style", &self.style), ("loras", &self.loras), ("controls", &self.controls)];
        match later.into_iter().find(|(_, value)| value.is_some()) {
            Some((field, _)) => Err(ApiError::about(ErrorKind::UnsupportedField, field, "is not supported yet; leave it out")),
            None => Ok(()),
        }
    }

    fn checked_priority(&self) -> Result<i32, ApiError> {
        self.priority.map_or(Ok(0), |number| priority_within(number, MAX_PRIORITY))
    }
}
