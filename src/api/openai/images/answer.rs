//! The answer to a request for pictures that has become a job: waited for, as one document or as events.

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::delivery::Delivery;
use super::response::{ImageData, ImagesResponse, Usage};
use super::stream::stream_response;
use crate::api::completion::Waiting;
use crate::api::error::ApiError;
use crate::api::links::OPENAI_LINK_SECONDS;
use crate::api::native::task_document::content_path;
use crate::api::state::ApiState;
use crate::domain::{Artifact, ImageRequest, Job, JobId, JobResult, Principal, UnixMs};
use crate::jobs::Previews;

/// The task behind an answer: its manifest, seed included, is at `/api/v1/tasks/{id}`.
const TASK_ID: HeaderName = HeaderName::from_static("x-task-id");

/// Waits for `job` on behalf of its client. With `cancel_on_drop` a client that hangs up cancels it.
pub(super) async fn answer(
    state: &ApiState,
    principal: &Principal,
    base_url: &str,
    job: Job,
    delivery: Delivery,
    cancel_on_drop: bool,
) -> Result<Response, ApiError> {
    let id = job.id;
    let previews = if delivery.partial_images > 0 { Previews::Wanted } else { Previews::Unwanted };
    let mut waiting = Waiting::begin(state.clone(), principal.clone(), id, cancel_on_drop, previews).await?;
    let response = if delivery.stream {
        stream_response(waiting, &job, delivery)
    } else {
        let (job, result) = waiting.completed().await?;
        Json(images_response(state, base_url, &job, result, &delivery).await?).into_response()
    };
    Ok(with_task_id(response, id))
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
    for (index, Artifact { key, media_type, .. }) in result.artifacts.iter().enumerate() {
        data.push(if delivery.as_url {
            let path = content_path(&id, "result", index);
            ImageData {
                b64_json: None,
                url: Some(state.links.sign(base_url, &path, &delivery.encoding.query(media_type), expires)),
            }
        } else {
            let picture = delivery.encoding.encode(state.storage.get(key).await?, media_type).await?;
            ImageData { b64_json: Some(BASE64_STANDARD.encode(picture)), url: None }
        });
    }
    Ok(ImagesResponse {
        created: job.created.seconds(),
        data,
        background: "opaque",
        output_format: delivery.encoding.format,
        quality: delivery.answered_quality(),
        // The request knows none where a provider chooses it.
        size: match (job.request.image(), result.artifacts.first()) {
            (Some(ImageRequest { width, height, .. }), _) | (None, Some(Artifact { width, height, .. })) => {
                format!("{width}x{height}")
            }
            (None, None) => String::new(),
        },
        usage: Usage::default(),
    })
}

/// The response with the task's identifier in a header.
pub(in crate::api::openai) fn with_task_id(mut response: Response, id: JobId) -> Response {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(TASK_ID, value);
    }
    response
}
