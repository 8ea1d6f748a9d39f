//! Taking devices out of service, and back.

use axum::Json;
use axum::extract::{Path, State};

use crate::api::error::{ApiError, Problem};
use crate::api::extract::Caller;
use crate::api::model_choice::Sight;
use crate::api::native::devices::DeviceDocument;
use crate::api::state::ApiState;
use crate::domain::Principal;

/// Drain a device
///
/// It takes no new tasks; what runs on it goes on to its end.
#[utoipa::path(
    post, path = "/api/v1/admin/devices/{name}/drain", tag = "administration",
    params(("name" = String, Path, description = "The device, as `/api/v1/devices` names it (`#` written as `%23`)")),
    responses(
        (status = 200, description = "The device as it is now", body = DeviceDocument),
        (status = 404, description = "No such device", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn drain_device(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(name): Path<String>,
) -> Result<Json<DeviceDocument>, ApiError> {
    set_draining(&state, &principal, &name, true)
}

/// Take a drained device back
#[utoipa::path(
    post, path = "/api/v1/admin/devices/{name}/undrain", tag = "administration",
    params(("name" = String, Path, description = "The device, as `/api/v1/devices` names it (`#` written as `%23`)")),
    responses(
        (status = 200, description = "The device as it is now", body = DeviceDocument),
        (status = 404, description = "No such device", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn undrain_device(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(name): Path<String>,
) -> Result<Json<DeviceDocument>, ApiError> {
    set_draining(&state, &principal, &name, false)
}

fn set_draining(state: &ApiState, principal: &Principal, name: &str, draining: bool) -> Result<Json<DeviceDocument>, ApiError> {
    let device = state.scheduler.drain(name, draining)?;
    tracing::info!(device.name = name, draining, "Device {name} {} new tasks", if draining { "takes no" } else { "takes" });
    Ok(Json(DeviceDocument::new(device, &Sight::of(state, principal)?)))
}
