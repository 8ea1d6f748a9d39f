//! `/sdapi/v1/txt2img` and `/sdapi/v1/img2img`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::answer::{Ended, PicturesAnswer};
use super::order::in_a1111_words;
use super::picture_request::PictureRequest;
use super::resize_mode::ResizeMode;
use crate::api::completion::Waiting;
use crate::api::error::{A1111Error, A1111ValidationError, ApiError, ErrorKind};
use crate::api::extract::{Caller, JsonBody};
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, Submission};
use crate::api::target::Target;
use crate::domain::{ModelId, ModelKind, Principal};
use crate::jobs::{InputPurpose, NewJob, Previews};
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_png};

/// The task behind an answer: its manifest is at `/api/v1/tasks/{id}`.
const TASK_ID: HeaderName = HeaderName::from_static("x-task-id");

/// Make pictures of a prompt
///
/// Waits for them; a client that hangs up cancels them, unless it sent an `Idempotency-Key` and so may ask again. Interrupted pictures
/// are not sent half done: `images` is then empty.
#[utoipa::path(
    post, path = "/sdapi/v1/txt2img", tag = "a1111",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same pictures")),
    request_body = PictureRequest,
    responses(
        (status = 200, description = "The pictures", body = PicturesAnswer),
        (status = 401, description = "No valid key", body = A1111Error),
        (status = 403, description = "More than you may ever ask for", body = A1111Error),
        (status = 404, description = "No such model or sampler", body = A1111Error),
        (status = 422, description = "A field cannot be used", body = A1111ValidationError),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left", body = A1111Error),
        (status = 500, description = "The server failed", body = A1111Error),
    )
)]
pub(in crate::api) async fn text_to_image(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<PictureRequest>,
) -> Result<Response, ApiError> {
    make_pictures(&state, &principal, request, false, idempotency_key).await.map_err(in_a1111_words)
}

/// Make pictures of a picture
///
/// As `txt2img`, from the one picture in `init_images`; with a `mask`, of which what is white is repainted, and what is black or transparent
/// is kept.
#[utoipa::path(
    post, path = "/sdapi/v1/img2img", tag = "a1111",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same pictures")),
    request_body = PictureRequest,
    responses(
        (status = 200, description = "The pictures", body = PicturesAnswer),
        (status = 404, description = "No such model or sampler", body = A1111Error),
        (status = 422, description = "A field cannot be used", body = A1111ValidationError),
    )
)]
pub(in crate::api) async fn image_to_image(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<PictureRequest>,
) -> Result<Response, ApiError> {
    make_pictures(&state, &principal, request, true, idempotency_key).await.map_err(in_a1111_words)
}

async fn make_pictures(
    state: &ApiState,
    principal: &Principal,
    mut request: PictureRequest,
    is_from_picture: bool,
    idempotency_key: Option<String>,
) -> Result<Response, ApiError> {
    let mut order = request.order(is_from_picture)?;
    // What one request names does not outlive it.
    let chosen = order.checkpoint.take().or_else(|| state.a1111.checkpoint(principal).map(|model| model.to_string()));
    let commission = Commission::new(state, principal, None, ModelKind::Image, chosen).await?;
    let Target::Local = commission.target else { return Err(not_of_this_server("model", &commission.model.id)) };
    let (init_image, mask, run) = (order.init_image.take(), order.mask.take(), order.run.clone());
    let (resize_mode, inverts_mask) = (order.resize_mode, order.inverts_mask);
    let parameters = order.parameters(&commission.model)?;
    let cancel_on_drop = idempotency_key.is_none();
    let submission = Submission { parameters, init_image, mask, idempotency_key, ..Submission::default() };
    let mut new = commission.fill_in(state, submission).await?;
    prepare_inputs(state, &mut new, resize_mode, inverts_mask).await?;
    let job = commission.submit_filled(state, new).await?;
    let id = job.id;
    state.a1111.remember(principal, id, run);
    let mut waiting = Waiting::begin(state.clone(), principal.clone(), id, cancel_on_drop, Previews::Unwanted).await?;
    let ended = match waiting.completed().await {
        Ok((_, result)) => Ended::Completed(result),
        // To the web UI's clients an interruption is no failure.
        Err(error) if error.kind() == ErrorKind::TaskCancelled => Ended::Interrupted,
        Err(error) => return Err(error),
    };
    let answer = PicturesAnswer::new(state, &request, &job, ended, &commission.model).await?;
    let mut response = Json(answer).into_response();
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(TASK_ID, value);
    }
    Ok(response)
}

/// The refusal of a model that the web UI's words do not fit: its answers tell of samplers, steps and hashes.
pub(super) fn not_of_this_server(field: &'static str, model: &ModelId) -> ApiError {
    let problem = format!(
        "'{model}' is not run by this server itself, and only such models are checkpoints; GET /sdapi/v1/sd-models lists them, \
         and POST /api/v1/images/generate takes the others"
    );
    ApiError::invalid(field, problem)
}

/// Makes the pictures that came with a request such that they only need to be stretched, and the mask white where to repaint.
async fn prepare_inputs(state: &ApiState, job: &mut NewJob, mode: ResizeMode, inverts_mask: bool) -> Result<(), ApiError> {
    let target = job.request.image().map_or((0, 0), |request| (request.width, request.height));
    for input in &mut job.inputs {
        let inverts = inverts_mask && input.purpose == InputPurpose::Mask;
        if mode == ResizeMode::Stretch && !inverts {
            continue;
        }
        let png = input.bytes.clone();
        let prepare = move || {
            let png = mode.part(png, target)?;
            if inverts { inverted(&png) } else { Ok(png) }
        };
        input.bytes = state.init_images.beside_others(prepare).await?;
    }
    Ok(())
}

/// A stored picture with black for white. Blocking.
fn inverted(png: &[u8]) -> Result<Bytes, ApiError> {
    let mut picture = decode_image(png).map_err(ApiError::internal)?;
    for value in &mut picture.rgb {
        *value = 255 - *value;
    }
    let png = encode_png(picture.width, picture.height, &picture.rgb, &PngText::default()).map_err(ApiError::internal)?;
    Ok(png.into())
}
