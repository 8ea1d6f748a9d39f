//! What the work is done on.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::extract::Caller;
use crate::api::model_choice::Sight;
use crate::api::state::ApiState;
use crate::domain::Principal;
use crate::execution::ExecutorHealth;
use crate::scheduler::DeviceStatus;

/// A device.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct DeviceDocument {
    /// Its name.
    #[schema(example = "cuda:0")]
    name: String,
    /// What it is; empty until its worker has said so.
    #[schema(example = "cpu (avx512, f32)")]
    description: String,
    /// `starting`, `ready`, `restarting` (its worker died) or `stopped`.
    #[schema(value_type = String, example = "ready")]
    health: &'static str,
    /// Why its worker died; for administrators.
    reason: Option<String>,
    /// How often its worker was started again.
    restarts: u64,
    /// It takes no new tasks.
    draining: bool,
    /// Its memory, where that is known.
    memory: Option<MemoryDocument>,
    /// Busy share of its last second, 0 to 1, where that is known.
    utilization: Option<f64>,
    /// Models in its memory: those that you may use.
    models: Vec<LoadedModelDocument>,
    /// How many tasks it runs.
    running: usize,
    /// Which; for administrators.
    tasks: Option<Vec<String>>,
}

/// A device's memory, bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct MemoryDocument {
    /// In all.
    total_bytes: u64,
    /// Free, as far as this server may take it.
    free_bytes: u64,
}

/// A model in a device's memory.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct LoadedModelDocument {
    /// The model.
    model: String,
    /// What its weights take.
    weights_bytes: u64,
    /// It stays, whatever else needs room.
    pinned: bool,
}

/// Every device.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct DeviceList {
    /// The devices.
    pub(super) devices: Vec<DeviceDocument>,
}

impl DeviceDocument {
    /// What `sight` may see of a device.
    pub(super) fn new(device: DeviceStatus, sight: &Sight) -> Self {
        let DeviceStatus { name, executor, draining, jobs, pinned } = device;
        let (health, reason) = match executor.health {
            ExecutorHealth::Starting => ("starting", None),
            ExecutorHealth::Ready => ("ready", None),
            ExecutorHealth::Restarting { reason, .. } => ("restarting", Some(reason)),
            ExecutorHealth::Stopped => ("stopped", None),
        };
        let models = executor.loaded.into_iter().filter(|loaded| sight.shows(&loaded.model));
        Self {
            name,
            description: executor.description,
            health,
            reason: reason.filter(|_| sight.is_all()),
            restarts: executor.restarts,
            draining,
            memory: executor
                .memory
                .map(|memory| MemoryDocument { total_bytes: memory.total_bytes, free_bytes: memory.free_bytes }),
            utilization: executor.utilization,
            models: models
                .map(|loaded| LoadedModelDocument {
                    pinned: pinned.contains(&loaded.model),
                    model: loaded.model.to_string(),
                    weights_bytes: loaded.weights_bytes,
                })
                .collect(),
            running: jobs.len(),
            tasks: sight.is_all().then(|| jobs.iter().map(ToString::to_string).collect()),
        }
    }
}

impl DeviceList {
    /// What `principal` may see of the devices.
    pub(super) fn new(state: &ApiState, principal: &Principal, devices: Vec<DeviceStatus>) -> Result<Self, ApiError> {
        let sight = Sight::of(state, principal)?;
        Ok(Self { devices: devices.into_iter().map(|device| DeviceDocument::new(device, &sight)).collect() })
    }
}

/// List the devices
#[utoipa::path(get, path = "/api/v1/devices", tag = "server", responses((status = 200, description = "As they are now", body = DeviceList)))]
pub(in crate::api) async fn list_devices(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<DeviceList>, ApiError> {
    DeviceList::new(&state, &principal, state.scheduler.devices()).map(Json)
}
