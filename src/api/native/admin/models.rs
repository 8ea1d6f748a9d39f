//! Models by hand: loaded before anybody needs them, unloaded, and kept.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{Caller, OptionalJsonBody};
use crate::api::native::devices::DeviceList;
use crate::api::state::ApiState;
use crate::domain::{ModelId, Principal};
use crate::scheduler::DeviceStatus;

/// Where.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ModelOrder {
    /// The device. Absent: for `load` the first one with room, for `unload` all.
    device: Option<String>,
}

fn parse_model(text: &str) -> Result<ModelId, ApiError> {
    text.parse()
        .map_err(|error: crate::domain::IdError| ApiError::new(ErrorKind::ModelNotFound, error.to_string()).with_field("model"))
}

fn answer(state: &ApiState, principal: &Principal, devices: Vec<DeviceStatus>) -> Result<Json<DeviceList>, ApiError> {
    DeviceList::new(state, principal, devices).map(Json)
}

/// Load a model
///
/// Answers when it is loaded.
#[utoipa::path(
    post, path = "/api/v1/admin/models/{id}/load", tag = "administration", request_body(content = Option<ModelOrder>),
    params(("id" = String, Path, description = "The model")),
    responses(
        (status = 200, description = "The device that has it now", body = DeviceList),
        (status = 404, description = "No such model or device", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It cannot be loaded there", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn load_model(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(order): OptionalJsonBody<ModelOrder>,
) -> Result<Json<DeviceList>, ApiError> {
    let device = state.scheduler.load_model(&parse_model(&id)?, order.device.as_deref()).await?;
    answer(&state, &principal, vec![device])
}

/// Unload a model
///
/// A device that uses it does so when it is done.
#[utoipa::path(
    post, path = "/api/v1/admin/models/{id}/unload", tag = "administration", request_body(content = Option<ModelOrder>),
    params(("id" = String, Path, description = "The model")),
    responses(
        (status = 200, description = "The devices that were told", body = DeviceList),
        (status = 404, description = "No such model or device", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is pinned", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn unload_model(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    OptionalJsonBody(order): OptionalJsonBody<ModelOrder>,
) -> Result<Json<DeviceList>, ApiError> {
    let devices = state.scheduler.unload_model(&parse_model(&id)?, order.device.as_deref()).await?;
    answer(&state, &principal, devices)
}

/// Keep a model loaded
///
/// It stays wherever it is loaded, until it is unpinned: neither other models nor idleness has it unloaded. A worker that finds less
/// memory than was planned with may still drop it, rather than fail a task.
#[utoipa::path(
    post, path = "/api/v1/admin/models/{id}/pin", tag = "administration",
    params(("id" = String, Path, description = "The model")),
    responses(
        (status = 200, description = "The devices that have it", body = DeviceList),
        (status = 404, description = "No such model", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn pin_model(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<DeviceList>, ApiError> {
    let devices = state.scheduler.pin_model(&parse_model(&id)?, true).await?;
    answer(&state, &principal, devices)
}

/// Let a model go when room is needed
#[utoipa::path(
    post, path = "/api/v1/admin/models/{id}/unpin", tag = "administration",
    params(("id" = String, Path, description = "The model")),
    responses(
        (status = 200, description = "The devices that have it", body = DeviceList),
        (status = 404, description = "No such model", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn unpin_model(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<DeviceList>, ApiError> {
    let devices = state.scheduler.pin_model(&parse_model(&id)?, false).await?;
    answer(&state, &principal, devices)
}
