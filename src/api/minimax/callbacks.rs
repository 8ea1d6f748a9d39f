//! What MiniMax itself calls, where this server asked it for a film.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::Value;

use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::state::ApiState;
use crate::domain::ProviderKind;
use crate::providers::minimax::callback::{self, Callback};

/// Longest body, bytes.
pub(in crate::api) const MOST_BYTES: usize = callback::MOST_CALLBACK_BYTES;

/// Hear from MiniMax
///
/// For MiniMax, which is told the address with each film that it shall make. A challenge is given back; any other call has the film looked
/// at at once, since such calls are not signed and nothing else in them is believed.
#[utoipa::path(
    post, path = "/callbacks/minimax/{token}", tag = "minimax",
    params(("token" = String, Path, description = "What makes the address one that nobody guesses")),
    request_body = Object,
    security(()),
    responses(
        (status = 200, description = "Heard; a challenge is given back", body = Object),
        (status = 400, description = "Neither a challenge nor an update", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such address", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn hear_minimax(
    State(state): State<ApiState>,
    Path(token): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let unknown = || ApiError::new(ErrorKind::RouteNotFound, "there is no such address");
    let provider = state.remote.called_at(ProviderKind::Minimax, &token).ok_or_else(unknown)?;
    let body = body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::new(ErrorKind::BodyTooLarge, format!("the body is longer than {MOST_BYTES} bytes"))
        } else {
            ApiError::new(ErrorKind::MalformedBody, "the body could not be read")
        }
    })?;
    match callback::read(&body).map_err(|error| ApiError::new(ErrorKind::MalformedBody, error.to_string()))? {
        Callback::Challenge(challenge) => Ok(Json(callback::answer(&challenge))),
        Callback::Update { task, ended } => {
            let is_followed = state.remote.wake(&provider, &task);
            tracing::debug!(%provider, remote_id = task, ended, is_followed, "Provider {provider} called about one of its tasks");
            Ok(Json(Value::Object(serde_json::Map::new())))
        }
    }
}
