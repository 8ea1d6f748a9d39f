//! Providers: how they are, and switching them on and off. No answer holds a key.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::state::ApiState;
use crate::domain::{AccountKeyId, ProviderId};
use crate::execution::remote::breaker::BreakerState;
use crate::execution::remote::{KeyStatus, ModelRest, ProviderStatus, class_word};

/// The providers.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProviderList {
    /// By name.
    providers: Vec<ProviderDocument>,
    /// The currency of all prices.
    currency: String,
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProviderDocument {
    /// Its name.
    #[schema(example = "minimax")]
    name: String,
    /// How it is spoken with.
    kind: String,
    /// `ready`, `busy`, `failing`, `no_keys` or `off`.
    health: String,
    /// While it is failing: when it is tried again, RFC 3339. `enable` has it tried at once.
    retry_at: Option<String>,
    /// Its keys, by their names.
    keys: Vec<ProviderKeyDocument>,
    /// Tasks that run there.
    in_flight: u32,
    /// The models that it offers, by the names that requests use.
    models: Vec<String>,
    /// How long its models took lately, seconds: medians, by the provider's names.
    median_seconds: BTreeMap<String, f64>,
}

/// A key of a provider; never the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProviderKeyDocument {
    /// Its name.
    id: String,
    /// `ready`, `resting`, `disabled` or `switched_off`.
    state: String,
    /// Until when it rests, RFC 3339.
    until: Option<String>,
    /// The class of the failure that it rests or is disabled for.
    reason: Option<String>,
    /// The models that it is not used for at the moment; for others it is.
    resting_models: Vec<RestingModelDocument>,
    /// Tasks that hold it.
    in_flight: u32,
    /// Most tasks at once.
    max_concurrent: Option<u32>,
}

/// A model that a key of a provider is not used for.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RestingModelDocument {
    /// The model, as the provider calls it.
    model: String,
    /// Until when, RFC 3339.
    until: String,
    /// The class of the failure.
    reason: String,
}

impl From<ModelRest> for RestingModelDocument {
    fn from(rest: ModelRest) -> Self {
        Self { model: rest.model, until: rest.until.to_string(), reason: class_word(rest.class).to_owned() }
    }
}

impl From<KeyStatus> for ProviderKeyDocument {
    fn from(key: KeyStatus) -> Self {
        Self {
            id: key.id.to_string(),
            state: key.state.to_owned(),
            until: key.until.map(|until| until.to_string()),
            reason: key.reason.map(str::to_owned),
            resting_models: key.model_rests.into_iter().map(Into::into).collect(),
            in_flight: key.in_flight,
            max_concurrent: key.max_concurrent,
        }
    }
}

impl ProviderDocument {
    fn new(status: ProviderStatus, state: &ApiState) -> Self {
        let retry_at = match status.breaker {
            BreakerState::Open { until } => Some(until.to_string()),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        let models = state.remote.describe().into_iter().filter(|model| model.provider == status.provider);
        Self {
            models: models.map(|model| model.id.to_string()).collect(),
            name: status.provider.to_string(),
            kind: status.kind.to_owned(),
            health: status.health.as_str().to_owned(),
            retry_at,
            keys: status.keys.into_iter().map(Into::into).collect(),
            in_flight: status.in_flight,
            median_seconds: status.latencies_ms.into_iter().map(|(model, ms)| (model, ms as f64 / 1000.0)).collect(),
        }
    }
}

/// List the providers
///
/// With the state of their keys, and never a key.
#[utoipa::path(
    get, path = "/api/v1/admin/providers", tag = "administration",
    responses((status = 200, description = "As they are now", body = ProviderList))
)]
pub(in crate::api) async fn list_providers(State(state): State<ApiState>) -> Json<ProviderList> {
    let providers = state.remote.statuses().into_iter().map(|status| ProviderDocument::new(status, &state)).collect();
    Json(ProviderList { providers, currency: state.remote.currency() })
}

/// Look at a provider
#[utoipa::path(
    get, path = "/api/v1/admin/providers/{name}", tag = "administration",
    params(("name" = String, Path, description = "The provider")),
    responses(
        (status = 200, description = "As it is now", body = ProviderDocument),
        (status = 404, description = "No such provider", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_provider(
    State(state): State<ApiState>,
    Path(name): Path<String>,
) -> Result<Json<ProviderDocument>, ApiError> {
    find(&state, &name).map(Json)
}

fn find(state: &ApiState, name: &str) -> Result<ProviderDocument, ApiError> {
    let statuses = state.remote.statuses();
    let known: Vec<String> = statuses.iter().map(|status| status.provider.to_string()).collect();
    let found = statuses.into_iter().find(|status| status.provider.as_str() == name);
    found.map(|status| ProviderDocument::new(status, state)).ok_or_else(|| not_found(name, &known))
}

fn not_found(name: &str, known: &[String]) -> ApiError {
    let shown: String = name.chars().take(64).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    ApiError::new(ErrorKind::ProviderNotFound, format!("no provider '{shown}'; providers: {known}"))
}

/// Switch a provider on
///
/// Until the server starts again, when the configuration counts.
#[utoipa::path(
    post, path = "/api/v1/admin/providers/{name}/enable", tag = "administration",
    params(("name" = String, Path, description = "The provider")),
    responses(
        (status = 200, description = "As it is now", body = ProviderDocument),
        (status = 404, description = "No such provider", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn enable_provider(
    State(state): State<ApiState>,
    Path(name): Path<String>,
) -> Result<Json<ProviderDocument>, ApiError> {
    switch(&state, &name, true)
}

/// Switch a provider off
///
/// It takes no new tasks; those that it has are followed to their ends.
#[utoipa::path(
    post, path = "/api/v1/admin/providers/{name}/disable", tag = "administration",
    params(("name" = String, Path, description = "The provider")),
    responses(
        (status = 200, description = "As it is now", body = ProviderDocument),
        (status = 404, description = "No such provider", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn disable_provider(
    State(state): State<ApiState>,
    Path(name): Path<String>,
) -> Result<Json<ProviderDocument>, ApiError> {
    switch(&state, &name, false)
}

fn switch(state: &ApiState, name: &str, is_on: bool) -> Result<Json<ProviderDocument>, ApiError> {
    if let Ok(provider) = name.parse::<ProviderId>() {
        state.remote.switch(&provider, is_on);
    }
    let document = find(state, name)?;
    tracing::info!(provider = name, is_on, "Provider {name} is switched {}", if is_on { "on" } else { "off" });
    Ok(Json(document))
}

/// Switch a key of a provider on
///
/// One that was disabled by a failure is tried again.
#[utoipa::path(
    post, path = "/api/v1/admin/providers/{name}/keys/{key}/enable", tag = "administration",
    params(("name" = String, Path, description = "The provider"), ("key" = String, Path, description = "The key's name")),
    responses(
        (status = 200, description = "The provider as it is now", body = ProviderDocument),
        (status = 404, description = "No such provider or key", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn enable_provider_key(
    State(state): State<ApiState>,
    Path((name, key)): Path<(String, String)>,
) -> Result<Json<ProviderDocument>, ApiError> {
    switch_key(&state, &name, &key, true)
}

/// Switch a key of a provider off
#[utoipa::path(
    post, path = "/api/v1/admin/providers/{name}/keys/{key}/disable", tag = "administration",
    params(("name" = String, Path, description = "The provider"), ("key" = String, Path, description = "The key's name")),
    responses(
        (status = 200, description = "The provider as it is now", body = ProviderDocument),
        (status = 404, description = "No such provider or key", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn disable_provider_key(
    State(state): State<ApiState>,
    Path((name, key)): Path<(String, String)>,
) -> Result<Json<ProviderDocument>, ApiError> {
    switch_key(&state, &name, &key, false)
}

fn switch_key(state: &ApiState, name: &str, key: &str, is_on: bool) -> Result<Json<ProviderDocument>, ApiError> {
    let ids = name.parse::<ProviderId>().ok().zip(key.parse::<AccountKeyId>().ok());
    let is_there = ids.is_some_and(|(provider, key)| state.remote.switch_key(&provider, &key, is_on));
    let document = find(state, name)?;
    if !is_there {
        let known: Vec<&str> = document.keys.iter().map(|key| key.id.as_str()).collect();
        let shown: String = key.chars().take(64).collect();
        let message = format!("provider '{name}' has no key '{shown}'; keys: {}", known.join(", "));
        return Err(ApiError::new(ErrorKind::ProviderNotFound, message));
    }
    Ok(Json(document))
}
