//! `/sdapi/v1/txt2img` and `/sdapi/v1/img2img`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::answer::{Ended, PicturesAnswer};
use super::order::in_a1111_words;
use super::picture_request::PictureRequest;
use super::resize_mode::ResizeMode;
use crate::api::completion::Waiting;
use crate::api::error::{A1111Error, A1111ValidationError, ApiError, ErrorKind};
use crate::api::extract::{Caller, JsonBody};
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, Submission};
use crate::domain::{ModelKind, Principal};
use crate::jobs::{NewJob, Previews};

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
/// As `txt2img`, from the one picture in `init_images`.
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
    let (init_image, resize_mode, run) = (order.init_image.take(), order.resize_mode, order.run.clone());
    let parameters = order.parameters(&commission.model)?;
    let cancel_on_drop = idempotency_key.is_none();
    let submission = Submission { parameters, init_image, idempotency_key, ..Submission::default() };
    let mut new = commission.fill_in(state, submission).await?;
    resize_inputs(state, &mut new, resize_mode).await?;
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
    let answer = PicturesAnswer::new(state, &request, &job, ended, is_from_picture).await?;
    let mut response = Json(answer).into_response();
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(TASK_ID, value);
    }
    Ok(response)
}

/// Makes the pictures that came with a request such that they only need to be stretched.
async fn resize_inputs(state: &ApiState, job: &mut NewJob, mode: ResizeMode) -> Result<(), ApiError> {
    let target = job.request.image().map_or((0, 0), |request| (request.width, request.height));
    for input in job.inputs.iter_mut().filter(|_| mode != ResizeMode::Stretch) {
        let png = input.bytes.clone();
        input.bytes = state.init_images.beside_others(move || mode.part(png, target)).await?;
    }
    Ok(())
}
