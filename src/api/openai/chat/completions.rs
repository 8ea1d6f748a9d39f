//! Answering a conversation.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::document::{ChatChunk, ChatCompletion, Head};
use super::request::{ChatRequest, in_chat_words};
use super::stream::stream_response;
use crate::api::completion::Waiting;
use crate::api::error::{ApiError, OpenAiErrorEnvelope};
use crate::api::extract::{BaseUrl, Caller, JsonBody};
use crate::api::film_submission::FilmOrder;
use crate::api::model_choice::kind_named;
use crate::api::openai::images::answer::with_task_id;
use crate::api::openai::result_links::result_links;
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, Submission};
use crate::domain::ModelKind;
use crate::jobs::Previews;

/// Answer with a picture or a film
///
/// The last message of the user is the prompt, and a picture in it (a data URL or a link) the one to begin with. The answer is a link in
/// Markdown, which needs no key for an hour. A client that hangs up stops the work, unless it sent an `Idempotency-Key` and so may ask
/// again. With `stream`, the chunks are the role, the link, and the end; between them are comments that say how far the work is.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same answer")),
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer", content((ChatCompletion = "application/json"), (ChatChunk = "text/event-stream"))),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 401, description = "No valid key", body = OpenAiErrorEnvelope),
        (status = 403, description = "More than you may ever ask for", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such model", body = OpenAiErrorEnvelope),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left", body = OpenAiErrorEnvelope),
        (status = 500, description = "The server failed", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn complete_chat(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let kind = kind_named(&state, request.model.as_deref(), ModelKind::Image).await?;
    let commission = Commission::new(&state, &principal, None, kind, request.model.clone()).await?;
    let (is_stream, wants_usage) = (request.stream.unwrap_or(false), request.wants_usage());
    let wish = request.into_wish()?;
    let cancel_on_drop = idempotency_key.is_none();
    let filled = match kind {
        ModelKind::Image => {
            let submission = Submission { idempotency_key, ..wish.into_submission(&commission.model.limits)? };
            commission.fill_in(&state, submission).await
        }
        ModelKind::Video => {
            let order = FilmOrder { idempotency_key, ..wish.into_film_order()? };
            commission.fill_in_film(&state, order).await
        }
    };
    let job = commission.submit_filled(&state, filled.map_err(in_chat_words)?).await.map_err(in_chat_words)?;
    let (id, head) = (job.id, Head::of(&job));
    let mut waiting = Waiting::begin(state.clone(), principal.clone(), id, cancel_on_drop, Previews::Unwanted).await?;
    let response = if is_stream {
        stream_response(waiting, head, base_url, wants_usage)
    } else {
        let (job, result) = waiting.completed().await?;
        Json(head.completion(&result_links(&state, &base_url, job.id, &result))).into_response()
    };
    Ok(with_task_id(response, id))
}
