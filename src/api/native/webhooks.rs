//! Callbacks: their secret, and the log of what was told to whom.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tasks::parse_task_id;
use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{Caller, QueryParameters};
use crate::api::state::ApiState;
use crate::domain::{DeliveryId, JobId, Principal};
use crate::webhooks::store::{Delivery, DeliveryFilter, DeliveryState};

const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;

/// What callbacks of your tasks are signed with.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct WebhookSecretDocument {
    /// For the libraries of Standard Webhooks: `whsec_` and base64.
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
    secret: String,
}

/// A callback, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct DeliveryDocument {
    /// Its identifier; the receiver finds it in `webhook-id`, the same for every try.
    #[schema(example = "msg_0199a5b6c7d87e0f8a1b2c3d4e5f6071_completed")]
    delivery_id: String,
    /// The task that it tells of.
    #[schema(example = "job_0199a5b6c7d87e0f8a1b2c3d4e5f6071")]
    task_id: String,
    /// `accepted`, `started`, `completed`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "completed")]
    event: &'static str,
    /// Where it goes; without its query for an administrator whose task it is not, since that may hold a secret.
    url: String,
    /// `pending`, `delivered` or `failed`.
    #[schema(value_type = String, example = "delivered")]
    status: &'static str,
    /// How often it was sent.
    attempts: i64,
    /// While it is pending: when it is sent next, RFC 3339.
    next_attempt_at: Option<String>,
    /// The status of the last answer.
    last_status_code: Option<u16>,
    /// Why the last try failed.
    last_error: Option<String>,
    /// When the task changed, RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
    /// When the receiver took it, RFC 3339.
    delivered_at: Option<String>,
}

impl DeliveryDocument {
    /// As `principal` may see it.
    fn of(delivery: Delivery, principal: &Principal) -> Self {
        let url = match delivery.url.split_once('?') {
            Some((before, _)) if delivery.user != principal.user => format!("{before}?..."),
            _ => delivery.url,
        };
        Self {
            delivery_id: delivery.id.to_string(),
            task_id: delivery.id.job.to_string(),
            event: delivery.id.event.as_str(),
            url,
            status: delivery.state.as_str(),
            attempts: delivery.attempts,
            next_attempt_at: (delivery.state == DeliveryState::Pending).then(|| delivery.due.to_string()),
            last_status_code: delivery.http_status,
            last_error: delivery.error,
            created_at: delivery.created.to_string(),
            updated_at: delivery.updated.to_string(),
            delivered_at: delivery.delivered.map(|at| at.to_string()),
        }
    }
}

/// A page of callbacks, those of the newest tasks first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct DeliveryList {
    /// The callbacks.
    deliveries: Vec<DeliveryDocument>,
    /// `before` of the next page; null on the last.
    next: Option<String>,
}

/// Which part of the log.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct DeliveryPage {
    /// How many, 1 to 100; absent: 20.
    limit: Option<u32>,
    /// Only what comes after this one in the list: the `next` of the page before.
    before: Option<String>,
    /// Only of this task.
    task_id: Option<String>,
    /// Only those that stand so: `pending`, `delivered` or `failed`.
    status: Option<String>,
}

/// Which part of a task's log.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct TaskDeliveryPage {
    /// How many, 1 to 100; absent: 20.
    limit: Option<u32>,
    /// Only what comes after this one in the list: the `next` of the page before.
    before: Option<String>,
}

/// Get your callbacks' secret
///
/// Callbacks are signed as Standard Webhooks has it; receivers should check that. The secret is yours alone, and changes with the server's
/// `SECRET_KEY`. A key that is bound to a project is not told.
#[utoipa::path(
    get, path = "/api/v1/webhooks/secret", tag = "webhooks",
    responses(
        (status = 200, description = "The secret", body = WebhookSecretDocument),
        (status = 403, description = "The key is bound to a project", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_webhook_secret(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<WebhookSecretDocument>, ApiError> {
    let secret = state.webhooks.secret_of(&principal)?;
    Ok(Json(WebhookSecretDocument { secret: secret.expose_secret().to_owned() }))
}

/// List your callbacks
///
/// A key that is bound to a project sees that project's; administrators see everybody's.
#[utoipa::path(
    get, path = "/api/v1/webhooks/deliveries", tag = "webhooks", params(DeliveryPage),
    responses(
        (status = 200, description = "Those of the newest tasks first", body = DeliveryList),
        (status = 422, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_deliveries(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    QueryParameters(page): QueryParameters<DeliveryPage>,
) -> Result<Json<DeliveryList>, ApiError> {
    let job = match page.task_id.as_deref() {
        Some(text) => {
            let parsed = text.parse::<JobId>();
            Some(parsed.map_err(|error| ApiError::invalid("task_id", format!("cannot be used: {error}")))?)
        }
        None => None,
    };
    let delivery_state = page.status.as_deref().map(parse_state).transpose()?;
    let filter = DeliveryFilter { job, state: delivery_state, ..DeliveryFilter::default() };
    list(&state, &principal, filter, page.limit, page.before.as_deref()).await
}

/// List a task's callbacks
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/webhooks", tag = "webhooks",
    params(("id" = String, Path, description = "The task"), TaskDeliveryPage),
    responses(
        (status = 200, description = "What was told of it", body = DeliveryList),
        (status = 404, description = "No such task, or not yours", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_deliveries_of_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    QueryParameters(page): QueryParameters<TaskDeliveryPage>,
) -> Result<Json<DeliveryList>, ApiError> {
    let job = state.jobs.get(&principal, parse_task_id(&id)?).await?.id;
    let filter = DeliveryFilter { job: Some(job), ..DeliveryFilter::default() };
    list(&state, &principal, filter, page.limit, page.before.as_deref()).await
}

/// Send a callback once more
///
/// Whatever became of it, with the same `webhook-id`, and with all tries before it again.
#[utoipa::path(
    post, path = "/api/v1/webhooks/deliveries/{id}/replay", tag = "webhooks",
    params(("id" = String, Path, description = "The callback")),
    responses(
        (status = 202, description = "It is sent at once", body = DeliveryDocument),
        (status = 404, description = "No such callback, or not yours", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn replay_delivery(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<DeliveryDocument>), ApiError> {
    let id: DeliveryId =
        id.parse().map_err(|error: crate::domain::IdError| ApiError::new(ErrorKind::DeliveryNotFound, error.to_string()))?;
    let delivery = state.webhooks.replay(&principal, id).await?;
    Ok((StatusCode::ACCEPTED, Json(DeliveryDocument::of(delivery, &principal))))
}

async fn list(
    state: &ApiState,
    principal: &Principal,
    filter: DeliveryFilter,
    limit: Option<u32>,
    before: Option<&str>,
) -> Result<Json<DeliveryList>, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("is {limit}; allowed: 1 to {MAX_PAGE}")));
    }
    let parse = |text: &str| text.parse().map_err(|error| ApiError::invalid("before", format!("cannot be used: {error}")));
    let before = before.map(parse).transpose()?;
    // One more than asked tells whether there is another page.
    let mut deliveries = state.webhooks.list(principal, filter, before, limit + 1).await?;
    let has_more = deliveries.len() > limit as usize;
    deliveries.truncate(limit as usize);
    let next = deliveries.last().filter(|_| has_more).map(|delivery| delivery.id.to_string());
    let deliveries = deliveries.into_iter().map(|delivery| DeliveryDocument::of(delivery, principal)).collect();
    Ok(Json(DeliveryList { deliveries, next }))
}

fn parse_state(word: &str) -> Result<DeliveryState, ApiError> {
    DeliveryState::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
        let shown: String = word.chars().take(32).collect();
        let known = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
        ApiError::invalid("status", format!("is '{shown}'; allowed: {known}"))
    })
}
