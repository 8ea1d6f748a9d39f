//! Asking for a video.

use axum::Json;
use axum::extract::State;

use super::form::{CreateVideoRequest, VideoForm, in_openai_words};
use super::object::VideoObject;
use crate::api::callback::CallbackOrder;
use crate::api::error::{ApiError, OpenAiErrorEnvelope};
use crate::api::extract::{BaseUrl, Caller};
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey};
use crate::domain::ModelKind;

/// Make a video
///
/// JSON, or a form with a file `input_reference`. A prompt alone makes the first picture with the default image model.
#[utoipa::path(
    post, path = "/v1/videos", tag = "openai",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same video")),
    request_body(content((CreateVideoRequest = "application/json"), (CreateVideoRequest = "multipart/form-data"))),
    responses(
        (status = 200, description = "The video as it stands", body = VideoObject),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 401, description = "No valid key", body = OpenAiErrorEnvelope),
        (status = 403, description = "More than you may ever ask for", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such model", body = OpenAiErrorEnvelope),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn create_video(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    mut form: VideoForm,
) -> Result<Json<VideoObject>, ApiError> {
    let callback = CallbackOrder { url: form.request.callback_url.take(), events: None }.checked(&state, &base_url)?;
    let commission = Commission::new(&state, &principal, None, ModelKind::Video, form.request.model.take()).await?;
    let mut order = form.into_order()?;
    order.idempotency_key = idempotency_key;
    order.callback = callback;
    let filled = commission.fill_in_film(&state, order).await.map_err(in_openai_words)?;
    let job = commission.submit_filled(&state, filled).await.map_err(in_openai_words)?;
    Ok(Json(VideoObject::of_film(&job)?))
}
