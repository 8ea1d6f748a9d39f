//! Numbers for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::execution::ExecutorHealth;
use crate::execution::remote::{KeyStatus, ProviderHealth, ProviderStatus, class_word};
use crate::providers::FailureClass;
use crate::routes::Route;
use crate::scheduler::DeviceStatus;
use crate::telemetry::Readings;
use crate::telemetry::metrics::TEXT_FORMAT;
use crate::telemetry::readings::{
    CallbackReading, DeviceReading, MemoryReading, ProviderReading, ProviderReadings, QueueReading, RouteReading,
};
use crate::webhooks::store::Backlog;

/// Numbers for Prometheus
///
/// Open when the server listens on loopback only; an administrator's elsewhere.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"))
)]
pub(in crate::api) async fn get_metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let text = state.metrics.render(&readings(&state)).map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// What is in memory; the database is not asked, so that a scrape costs the same however many tasks are stored, and works without it.
fn readings(state: &ApiState) -> Readings {
    let queue = state
        .scheduler
        .queue_depths()
        .into_iter()
        .map(|(priority, tasks, oldest_age_ms)| QueueReading { priority, tasks: tasks as u64, oldest_age_ms })
        .collect();
    let now = state.clock.now();
    let callbacks = state.webhooks.backlog().map(|Backlog { waiting, oldest }| CallbackReading {
        waiting,
        oldest_age_ms: oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0).max(0)),
    });
    Readings {
        queue,
        devices: state.scheduler.devices().into_iter().map(reading).collect(),
        providers: providers(state),
        routes: state.routes.all().values().flat_map(targets).collect(),
        callbacks,
    }
}

fn providers(state: &ApiState) -> ProviderReadings {
    let waiting = state.scheduler.provider_queue_depths();
    // One that has left the settings is shown as long as tasks run there.
    let shown = state.remote.statuses().into_iter().filter(|status| status.is_configured || status.in_flight > 0);
    let reading = |status: ProviderStatus| {
        let name = status.provider.to_string();
        let tasks_waiting = waiting.get(&name).copied().unwrap_or(0) as u64;
        provider(name, &status, tasks_waiting)
    };
    ProviderReadings {
        each: shown.map(reading).collect(),
        failure_classes: FailureClass::ALL.into_iter().map(class_word).collect(),
        currency: state.remote.currency(),
    }
}

fn provider(name: String, status: &ProviderStatus, tasks_waiting: u64) -> ProviderReading {
    let keys = &status.keys;
    let in_state = |state: &str| keys.iter().filter(|key| key.state == state).count() as u64;
    let bounds: Option<u64> = keys.iter().map(|key| key.max_concurrent.map(u64::from)).sum();
    ProviderReading {
        name,
        health: ProviderHealth::ALL.into_iter().map(|health| (health.as_str(), health == status.health)).collect(),
        keys: KeyStatus::STATES.into_iter().map(|state| (state, in_state(state))).collect(),
        key_usable: keys.iter().map(|key| (key.id.to_string(), key.is_usable())).collect(),
        tasks_in_flight: status.in_flight.into(),
        tasks_in_flight_limit: bounds.filter(|_| !keys.is_empty()),
        tasks_waiting,
    }
}

fn targets(route: &Route) -> impl Iterator<Item = RouteReading> {
    route.targets.iter().map(|target| RouteReading {
        route: route.name.to_string(),
        provider: target.provider.as_ref().map(ToString::to_string),
        model: target.model.to_string(),
    })
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
