//! `/v1/images/generations`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::order::{CreateImagesRequest, Delivery, field_name};
use super::response::{ImageData, ImagesResponse, Usage};
use super::stream::stream_response;
use crate::api::completion::Waiting;
use crate::api::error::{ApiError, OpenAiErrorEnvelope};
use crate::api::extract::{BaseUrl, Caller, JsonBody};
use crate::api::links::OPENAI_LINK_SECONDS;
use crate::api::native::task_document::content_path;
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, Submission};
use crate::domain::{Artifact, Job, JobId, JobResult, ModelKind, UnixMs};
use crate::jobs::Previews;

/// The task behind an answer: its manifest, seed included, is at `/api/v1/tasks/{id}`.
const TASK_ID: HeaderName = HeaderName::from_static("x-task-id");

/// Make pictures
///
/// Waits for them; a client that hangs up cancels them, unless it sent an `Idempotency-Key` and so may ask again.
/// With `stream`, the events are `image_generation.partial_image`, exactly `partial_images` of them, and
/// `image_generation.completed` for each picture.
#[utoipa::path(
    post, path = "/v1/images/generations", tag = "openai",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same pictures")),
    request_body = CreateImagesRequest,
    responses(
        (status = 200, description = "The pictures", content(
            (ImagesResponse = "application/json"),
            (super::response::ImageEvent = "text/event-stream"),
        )),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 401, description = "No valid key", body = OpenAiErrorEnvelope),
        (status = 403, description = "More than you may ever ask for", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such model", body = OpenAiErrorEnvelope),
        (status = 429, description = "Too many requests (`rate_limit_exceeded`), too much waits already, or a quota has not enough left (`insufficient_quota`)", body = OpenAiErrorEnvelope),
        (status = 500, description = "The server failed", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn create_images(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<CreateImagesRequest>,
) -> Result<Response, ApiError> {
    let commission = Commission::new(&state, &principal, None, ModelKind::Image, request.model.clone()).await?;
    let (parameters, delivery) = request.into_order(&commission.model.limits)?;
    let cancel_on_drop = idempotency_key.is_none();
    let submission = Submission { parameters, idempotency_key, ..Submission::default() };
    let job = commission.submit(&state, submission).await.map_err(in_openai_words)?;
    let id = job.id;
    let previews = if delivery.partial_images > 0 { Previews::Wanted } else { Previews::Unwanted };
    let mut waiting = Waiting::begin(state.clone(), principal.clone(), id, cancel_on_drop, previews).await?;
    let response = if delivery.stream {
        stream_response(waiting, &job, delivery)
    } else {
        let (job, result) = waiting.completed().await?;
        Json(images_response(&state, &base_url, &job, result, &delivery).await?).into_response()
    };
    Ok(with_task_id(response, id))
}

/// Native field names become this surface's own.
fn in_openai_words(error: ApiError) -> ApiError {
    match error.field().and_then(field_name) {
        Some(field) => error.with_field(field),
        None => error,
    }
}

async fn images_response(
    state: &ApiState,
    base_url: &str,
    job: &Job,
    result: JobResult,
    delivery: &Delivery,
) -> Result<ImagesResponse, ApiError> {
    let expires = UnixMs(state.clock.now().0 + OPENAI_LINK_SECONDS * 1000);
    let id = job.id.to_string();
    let mut data = Vec::with_capacity(result.artifacts.len());
    for (index, Artifact { key, .. }) in result.artifacts.iter().enumerate() {
        data.push(if delivery.as_url {
            let path = content_path(&id, "result", index);
            ImageData { b64_json: None, url: Some(state.links.sign(base_url, &path, &delivery.encoding.query(), expires)) }
        } else {
            let picture = delivery.encoding.encode(state.storage.get(key).await?).await?;
            ImageData { b64_json: Some(BASE64_STANDARD.encode(picture)), url: None }
        });
    }
    Ok(ImagesResponse {
        created: job.created.seconds(),
        data,
        background: "opaque",
        output_format: delivery.encoding.format,
        quality: delivery.answered_quality(),
        size: job.request.image().map(|request| format!("{}x{}", request.width, request.height)).unwrap_or_default(),
        usage: Usage::default(),
    })
}

fn with_task_id(mut response: Response, id: JobId) -> Response {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(TASK_ID, value);
    }
    response
}
