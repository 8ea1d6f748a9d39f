//! Numbers for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::execution::ExecutorHealth;
use crate::scheduler::{DeviceStatus, Scheduler};
use crate::telemetry::Readings;
use crate::telemetry::metrics::TEXT_FORMAT;
use crate::telemetry::readings::{DeviceReading, MemoryReading, QueueReading};

/// Numbers for Prometheus
///
/// Open when the server listens on loopback only; an administrator's elsewhere.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"))
)]
pub(in crate::api) async fn get_metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let text = state.metrics.render(&readings(&state.scheduler)).map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// What the scheduler has in memory; the database is not asked, so that a scrape costs the same however many tasks are stored.
fn readings(scheduler: &Scheduler) -> Readings {
    let queue = scheduler
        .queue_depths()
        .into_iter()
        .map(|(priority, tasks, oldest_age_ms)| QueueReading { priority, tasks: tasks as u64, oldest_age_ms })
        .collect();
    Readings { queue, devices: scheduler.devices().into_iter().map(reading).collect() }
}

fn reading(device: DeviceStatus) -> DeviceReading {
    let executor = device.executor;
    let is_up = executor.health == ExecutorHealth::Ready;
    // What a worker said before it died is not how things stand.
    let memory = executor.memory.filter(|_| is_up);
    DeviceReading {
        name: device.name,
        is_up,
        jobs: device.jobs.len() as u64,
        memory: memory.map(|memory| MemoryReading { total_bytes: memory.total_bytes, free_bytes: memory.free_bytes }),
        utilization: executor.utilization.filter(|_| is_up),
        restarts: executor.restarts,
    }
}
