//! Numbers for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::domain::UnixMs;
use crate::execution::ExecutorHealth;
use crate::execution::remote::{KeyStatus, OfferedModel, ProviderHealth, ProviderStatus, called, class_word};
use crate::providers::FailureClass;
use crate::routes::{Route, RouteTarget};
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
    let callbacks = state.webhooks.backlog().map(|backlog| waiting(backlog, now));
    let offered = state.remote.describe();
    Readings {
        queue,
        devices: state.scheduler.devices().into_iter().map(reading).collect(),
        providers: providers(state),
        routes: state.routes.all().values().flat_map(|route| targets(route, &offered)).collect(),
        callbacks,
    }
}

fn waiting(Backlog { waiting, earliest_due }: Backlog, now: UnixMs) -> CallbackReading {
    let overdue_ms = earliest_due.map_or(0, |due| now.0.saturating_sub(due.0).max(0));
    CallbackReading { waiting, overdue_ms }
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

fn targets(route: &Route, offered: &[OfferedModel]) -> impl Iterator<Item = RouteReading> {
    // A route may use another of a model's names; requests to it are counted under the one that lists show.
    let listed = |target: &RouteTarget| {
        let provider = target.provider.as_ref()?;
        called(offered, &target.model, |model| model.provider == *provider).map(|model| model.id)
    };
    route.targets.iter().map(move |target| RouteReading {
        route: route.name.to_string(),
        provider: target.provider.as_ref().map(ToString::to_string),
        model: listed(target).unwrap_or_else(|| target.model.clone()).to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_overdue_from_when_it_was_to_be_sent() {
        let now = UnixMs(100_000);
        for (due_ms, overdue_ms) in
            [(None, 0), (Some(97_000), 3_000), (Some(100_000), 0), (Some(3_700_000), 0), (Some(i64::MIN), i64::MAX)]
        {
            let backlog = Backlog { waiting: due_ms.map_or(0, |_| 1), earliest_due: due_ms.map(UnixMs) };
            assert_eq!(waiting(backlog, now).overdue_ms, overdue_ms, "{due_ms:?}");
        }
    }
}
