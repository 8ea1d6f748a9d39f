//! Asking for a film.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::{VideoGenerationRequest, in_minimax_words};
use crate::api::callback::minimax_callback;
use crate::api::error::{ApiError, BaseResp, MinimaxError};
use crate::api::extract::{Caller, JsonBody, QueryParameters};
use crate::api::ignored::report_ignored;
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey};
use crate::domain::ModelKind;

/// The field that this server has no use for.
const GROUP_ID: &str = "GroupId";

/// Whose account it is, at MiniMax.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Group {
    /// Accepted and not looked at.
    #[serde(rename = "GroupId")]
    #[param(rename = "GroupId")]
    group_id: Option<String>,
}

/// An accepted film.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct AcceptedVideo {
    /// What to ask for at `/v1/query/video_generation`.
    #[schema(example = "job_0199a5b6c7d87e0f8a1b2c3d4e5f6071")]
    task_id: String,
    base_resp: BaseResp,
}

/// Make a film, in MiniMax's words
///
/// Every answer has HTTP 200; `base_resp.status_code` is 0 where the film was accepted. What the model that makes it has no use for is named
/// in the header `X-Ignored-Parameters`.
#[utoipa::path(
    post, path = "/v1/video_generation", tag = "minimax",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same film"), Group),
    request_body = VideoGenerationRequest,
    responses((status = 200, description = "Accepted, or refused with a code", content(
        (AcceptedVideo = "application/json"), (MinimaxError = "application/json"),
    )))
)]
pub(in crate::api) async fn create_video_generation(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    QueryParameters(group): QueryParameters<Group>,
    JsonBody(mut request): JsonBody<VideoGenerationRequest>,
) -> Result<Response, ApiError> {
    let model = request.model.take();
    let callback_url = request.callback_url.take();
    let mut ignored = request.of_providers_alone();
    ignored.extend(group.group_id.map(|_| GROUP_ID));
    let commission = Commission::new(&state, &principal, None, ModelKind::Video, model).await?;
    let mut order = request.into_order(&commission.target)?;
    order.idempotency_key = idempotency_key;
    let mut filled = commission.fill_in_film(&state, order).await.map_err(in_minimax_words)?;
    // Its receiver is challenged for films that can be made.
    if let Some(url) = callback_url {
        filled.callback = Some(minimax_callback(&state, &url).await?);
    }
    let job = commission.submit_filled(&state, filled).await.map_err(in_minimax_words)?;
    if job.request.target(0).remote().is_some() {
        ignored.retain(|field| *field == GROUP_ID);
    }
    let accepted = AcceptedVideo { task_id: job.id.to_string(), base_resp: BaseResp::success() };
    Ok(report_ignored(Json(accepted).into_response(), &ignored))
}
