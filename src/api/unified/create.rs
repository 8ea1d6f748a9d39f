//! Asking for a task.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::document::{UnifiedAnswer, UnifiedStatus, UnifiedTask};
use super::parameters::{SentNames, TaskParameters};
use crate::api::callback::CallbackOrder;
use crate::api::completion::Waiting;
use crate::api::error::{ApiError, ErrorKind, UnifiedError};
use crate::api::extract::{BaseUrl, Caller, JsonBody};
use crate::api::ignored::report_ignored;
use crate::api::model_choice::kind_of;
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey};
use crate::domain::{Job, ModelKind, Principal};
use crate::jobs::Previews;

/// The task behind an answer that is waited for.
const TASK_ID: HeaderName = HeaderName::from_static("x-task-id");

/// A task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CreateTaskRequest {
    /// The model; whether pictures or a film are made is the model's kind.
    #[schema(example = "demo-svd")]
    model: Option<String>,
    /// Who makes it: `local`, or a provider by its name; absent: whoever has the model.
    #[schema(example = "local")]
    provider: Option<String>,
    /// What it makes.
    #[serde(default)]
    parameters: TaskParameters,
    /// Whether to answer at once, or when the task has ended; absent: at once.
    is_async: Option<bool>,
    /// A link that is told, by POST, what becomes of the task: signed as Standard Webhooks has it, and sent again until it is taken.
    #[schema(example = "https://example.com/hook")]
    callback_url: Option<String>,
    /// What it is told: `accepted`, `started`, `completed`, `failed`, `cancelled`; absent: the last three.
    callback_events: Option<Vec<String>>,
}

/// Ask for a unified task
///
/// With `is_async: false` the answer comes when the task has ended, with its result; a client that hangs up cancels it, unless it sent an
/// `Idempotency-Key` and so may ask again. What the model has no use for is named in the header `X-Ignored-Parameters`.
#[utoipa::path(
    post, path = "/api/v1/tasks", tag = "unified",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same task")),
    request_body = CreateTaskRequest,
    responses(
        (status = 200, description = "Accepted; or, where it was waited for, completed", content(
            (UnifiedAnswer<UnifiedStatus> = "application/json"), (UnifiedAnswer<UnifiedTask> = "application/json"),
        )),
        (status = 400, description = "Not JSON", body = UnifiedError),
        (status = 401, description = "No valid key", body = UnifiedError),
        (status = 403, description = "More than you may ever ask for", body = UnifiedError),
        (status = 404, description = "No such model or provider", body = UnifiedError),
        (status = 422, description = "A field cannot be used", body = UnifiedError),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left", body = UnifiedError),
        (status = 500, description = "It was waited for and failed", body = UnifiedAnswer<UnifiedTask>),
    )
)]
pub(in crate::api) async fn create_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<CreateTaskRequest>,
) -> Result<Response, ApiError> {
    let CreateTaskRequest { model, provider, parameters, is_async, callback_url, callback_events } = request;
    let callback = CallbackOrder { url: callback_url, events: callback_events }.checked(&state, &base_url)?;
    let model = model.ok_or_else(|| ApiError::about(ErrorKind::MissingField, "model", "is missing"))?;
    let kind = kind_of(&state, &principal, provider.as_deref(), &model).await?;
    let commission = Commission::to_provider(&state, &principal, None, kind, provider.as_deref(), Some(model)).await?;
    let names = SentNames::of(&parameters);
    let of_nobody = parameters.of_nobody();
    let mut ignored = parameters.of_providers_alone();
    let can_be_had_again = idempotency_key.is_some();
    let filled = match kind {
        ModelKind::Video => {
            let mut order = parameters.into_film(&commission)?;
            order.idempotency_key = idempotency_key;
            order.callback = callback;
            commission.fill_in_film(&state, order).await
        }
        ModelKind::Image => {
            let mut submission = parameters.into_pictures(&commission.model.limits)?;
            submission.idempotency_key = idempotency_key;
            submission.callback = callback;
            commission.fill_in(&state, submission).await
        }
    };
    let in_its_words = |error| names.of_error(error);
    let job = commission.submit_filled(&state, filled.map_err(in_its_words)?).await.map_err(in_its_words)?;
    if job.request.target(0).remote().is_some() {
        ignored.clear();
    }
    ignored.extend(of_nobody);
    let response = if is_async.unwrap_or(true) {
        let status = UnifiedStatus::of(&job, &state);
        Json(UnifiedAnswer::success("the task is accepted", status)).into_response()
    } else {
        waited_for(&state, &principal, &base_url, &job, !can_be_had_again).await?
    };
    Ok(report_ignored(response, &ignored))
}

/// The answer of a task that has ended.
async fn waited_for(
    state: &ApiState,
    principal: &Principal,
    base_url: &str,
    job: &Job,
    cancel_on_drop: bool,
) -> Result<Response, ApiError> {
    let id = job.id;
    let mut waiting = Waiting::begin(state.clone(), principal.clone(), id, cancel_on_drop, Previews::Unwanted).await?;
    let waited = waiting.completed().await;
    let job = state.jobs.get(principal, id).await?;
    let task = UnifiedTask::of(&job, state, base_url);
    let mut response = match waited {
        Ok(_) => Json(UnifiedAnswer::success(task.in_words(), task)).into_response(),
        // It goes on: the server stops, or the store failed.
        Err(error) if !job.state.is_terminal() => return Err(error),
        Err(error) => {
            error.log();
            (error.status(), Json(UnifiedAnswer::failure(error.message(), task))).into_response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(TASK_ID, value);
    }
    Ok(response)
}
