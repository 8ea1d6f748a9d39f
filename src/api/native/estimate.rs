//! What a request would cost, and whether it would be let through, before it is made.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::images::GenerateImageRequest;
use super::task_document::rounded_seconds;
use super::videos::GenerateVideoRequest;
use crate::api::error::{ApiError, Problem};
use crate::api::extract::{BaseUrl, Caller, JsonBody, parse_json};
use crate::api::quota_document::{NeededQuota, Standing};
use crate::api::state::ApiState;

/// Fields that only requests for films have.
const OF_FILMS: [&str; 4] = ["scenes", "video_config", "duration", "image"];

/// What a request would meet now. Nothing is reserved: others may be faster.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Estimate {
    /// Whether it would be accepted, as far as quotas and limits go.
    allowed: bool,
    /// Why not.
    refusal: Option<Refusal>,
    /// Seconds until it would probably be done, waiting included; null while nothing has been measured.
    estimated_seconds: Option<f64>,
    /// How many tasks would start before it, and it; 1 is next.
    queue_position: usize,
    /// In the currency that providers bill in; what is computed here costs nothing.
    cost: f64,
    /// The counters that it would take from; none when it is refused whatever they hold.
    quotas: Vec<NeededQuota>,
}

/// The error that the request itself would get.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Refusal {
    /// The HTTP status: 403 when no waiting helps, 429 when it does.
    #[schema(example = 429)]
    status: u16,
    /// What would go wrong, for programs.
    #[schema(value_type = String, example = "quota_exceeded")]
    code: &'static str,
    /// What would go wrong, for people.
    detail: String,
    /// The field it is about.
    field: Option<String>,
    /// Seconds until it may be accepted.
    retry_after_seconds: Option<u32>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self {
            status: error.status().as_u16(),
            code: error.code(),
            detail: error.message().to_owned(),
            field: error.field().map(str::to_owned),
            retry_after_seconds: error.retry_after_seconds(),
        }
    }
}

/// Ask what a request would take
///
/// Takes what `POST /api/v1/images/generate` or, with `scenes`, `video_config`, `duration` or `image`, `POST /api/v1/videos/generate` takes,
/// and accepts nothing. A field that cannot be used is refused as it would be there.
#[utoipa::path(
    post, path = "/api/v1/estimate", tag = "images",
    request_body(content((GenerateImageRequest = "application/json"), (GenerateVideoRequest = "application/json"))),
    responses(
        (status = 200, description = "What it would meet now", body = Estimate),
        (status = 404, description = "No such model or project", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn estimate(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    JsonBody(request): JsonBody<Map<String, Value>>,
) -> Result<Json<Estimate>, ApiError> {
    let is_film = OF_FILMS.iter().any(|field| request.contains_key(*field));
    let body = serde_json::to_vec(&request).map_err(ApiError::internal)?;
    let (commission, job) = if is_film {
        let request: GenerateVideoRequest = parse_json(&body)?;
        let (commission, order) = request.commission(&state, &principal, &base_url, None).await?;
        let job = commission.fill_in_film(&state, order).await?;
        (commission, job)
    } else {
        let request: GenerateImageRequest = parse_json(&body)?;
        let (commission, submission) = request.commission(&state, &principal, &base_url, None).await?;
        let job = commission.fill_in(&state, submission).await?;
        (commission, job)
    };
    let forecast = state.scheduler.forecast_new(&job.request);
    let (refusal, quotas, cost) = match commission.tenancy.reserve(&state, &job.request) {
        Err(forbidden) => (Some(forbidden.into()), Vec::new(), 0.0),
        Ok(reservations) => {
            let standing = Standing::read(&state, reservations).await?;
            let lacking = standing.refusal().map(|refusal| ApiError::quota(&refusal, state.tenants.zone(), state.clock.now()));
            (lacking, standing.needed(), standing.cost())
        }
    };
    Ok(Json(Estimate {
        allowed: refusal.is_none(),
        refusal: refusal.map(Refusal::from),
        estimated_seconds: forecast.seconds.map(rounded_seconds),
        queue_position: forecast.position,
        cost,
        quotas,
    }))
}
