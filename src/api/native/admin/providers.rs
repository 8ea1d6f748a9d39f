//! Providers: how they are, what they cost, and switching them on and off. No answer holds a key.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::QueryParameters;
use crate::api::state::ApiState;
use crate::domain::{AccountKeyId, Micros, ProviderId, UnixMs};
use crate::execution::remote::breaker::BreakerState;
use crate::execution::remote::{KeyStatus, ModelRest, ProviderStatus, class_word};
use crate::ledger::{CallFilter, CallState, CostSum, ProviderCall, SumBy, grouped};

/// Milliseconds of the spend that is shown where nothing else is asked for: thirty days.
const USUAL_SPAN_MS: i64 = 30 * 24 * 3600 * 1000;
/// Most entries of a page of the ledger.
const MOST_ENTRIES: u32 = 500;

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

/// Which calls are summed up, and by what.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct SpendQuery {
    /// A user's.
    user: Option<String>,
    /// A project's.
    project: Option<String>,
    /// A provider's.
    provider: Option<String>,
    /// From when, Unix seconds; absent: thirty days ago.
    #[serde(default, deserialize_with = "unix_seconds")]
    from: Option<i64>,
    /// Until when, Unix seconds; absent: now.
    #[serde(default, deserialize_with = "unix_seconds")]
    until: Option<i64>,
}

/// A time of a query.
fn unix_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| D::Error::custom("must be Unix seconds, a whole number such as 1767225600");
    text.trim().parse().map(Some).map_err(wrong)
}

/// What calls cost.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Spend {
    /// The currency of all amounts.
    currency: String,
    /// All together.
    total: SpendSum,
    /// By user.
    users: BTreeMap<String, SpendSum>,
    /// By project; what belongs to none has an empty name.
    projects: BTreeMap<String, SpendSum>,
    /// By provider.
    providers: BTreeMap<String, SpendSum>,
    /// By model, as the provider calls it.
    models: BTreeMap<String, SpendSum>,
}

/// A sum of calls.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SpendSum {
    /// How many.
    calls: i64,
    /// How many of them gave no results.
    failed: i64,
    /// What they cost, decimal: `12.345`.
    amount: String,
}

/// See what providers cost
#[utoipa::path(
    get, path = "/api/v1/admin/spend", tag = "administration", params(SpendQuery),
    responses(
        (status = 200, description = "Settled, and as estimated where a call still runs", body = Spend),
        (status = 422, description = "A name or a time cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_spend(
    State(state): State<ApiState>,
    QueryParameters(query): QueryParameters<SpendQuery>,
) -> Result<Json<Spend>, ApiError> {
    let now = state.clock.now();
    let filter = CallFilter {
        user: parsed("user", query.user)?,
        project: parsed("project", query.project)?,
        provider: parsed("provider", query.provider)?,
        ..CallFilter::default()
    };
    let at = |seconds: Option<i64>, absent: i64| UnixMs(seconds.map_or(absent, |seconds| seconds.saturating_mul(1000)));
    let (from, until) = (at(query.from, now.0 - USUAL_SPAN_MS), at(query.until, now.0.saturating_add(1)));
    let sums = state.ledger.sums(&filter, from, until).await.map_err(ApiError::internal)?;
    let by = |by: SumBy| {
        let grouped = grouped(&sums, by).into_iter();
        grouped.map(|(name, (calls, failed, micros))| (name, SpendSum::new(calls, failed, micros))).collect()
    };
    let sum = |of: fn(&CostSum) -> i64| sums.iter().map(of).fold(0, i64::saturating_add);
    Ok(Json(Spend {
        currency: state.remote.currency(),
        total: SpendSum::new(sum(|sum| sum.calls), sum(|sum| sum.failed), sum(|sum| sum.micros)),
        users: by(SumBy::User),
        projects: by(SumBy::Project),
        providers: by(SumBy::Provider),
        models: by(SumBy::Model),
    }))
}

impl SpendSum {
    fn new(calls: i64, failed: i64, micros: i64) -> Self {
        Self { calls, failed, amount: Micros::new(micros).to_string() }
    }
}

fn parsed<T: std::str::FromStr<Err = crate::domain::IdError>>(
    field: &'static str,
    text: Option<String>,
) -> Result<Option<T>, ApiError> {
    let parse = |text: String| text.parse().map_err(|error| ApiError::invalid(field, format!("cannot be used: {error}")));
    text.map(parse).transpose()
}

/// Which calls are listed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct CallQuery {
    /// A user's.
    user: Option<String>,
    /// A provider's.
    provider: Option<String>,
    /// `sending`, `running`, `finished`, `failed`, `unknown` or `cancelled`.
    state: Option<String>,
    /// Those before this one.
    before: Option<String>,
    /// How many, 1 to 500; absent: 100.
    limit: Option<u32>,
}

/// Calls to providers, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CallList {
    /// They.
    calls: Vec<CallDocument>,
    /// The currency of all amounts.
    currency: String,
}

/// A call to a provider.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CallDocument {
    /// Its identifier.
    id: String,
    /// The task that it was for.
    task_id: String,
    /// Whose.
    user: String,
    /// Of which project.
    project: Option<String>,
    /// To whom.
    provider: String,
    /// The model, as the provider calls it.
    model: String,
    /// The key that it was sent with, by its name.
    key: String,
    /// `sending`, `running`, `finished`, `failed`, `unknown` or `cancelled`.
    state: String,
    /// What it was estimated to cost, decimal.
    estimated: String,
    /// What it costs, once that is known, decimal.
    settled: Option<String>,
    /// The class of its failure.
    failure: Option<String>,
    /// One line on it.
    message: Option<String>,
    /// When it was sent, RFC 3339.
    created_at: String,
    /// When it ended, RFC 3339.
    ended_at: Option<String>,
}

impl From<ProviderCall> for CallDocument {
    fn from(entry: ProviderCall) -> Self {
        let ProviderCall { call, state, settled, failure, ended, .. } = entry;
        let (failure, message) = failure.unzip();
        Self {
            id: call.id.to_string(),
            task_id: call.job.to_string(),
            user: call.user.to_string(),
            project: call.project.map(|project| project.to_string()),
            provider: call.provider.to_string(),
            model: call.model,
            key: call.key.to_string(),
            state: state.as_str().to_owned(),
            estimated: call.estimated.to_string(),
            settled: settled.map(|cost| cost.to_string()),
            failure,
            message,
            created_at: call.created.to_string(),
            ended_at: ended.map(|at| at.to_string()),
        }
    }
}

/// List the calls to providers
#[utoipa::path(
    get, path = "/api/v1/admin/calls", tag = "administration", params(CallQuery),
    responses(
        (status = 200, description = "The newest first", body = CallList),
        (status = 422, description = "A value cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_calls(
    State(state): State<ApiState>,
    QueryParameters(query): QueryParameters<CallQuery>,
) -> Result<Json<CallList>, ApiError> {
    let wanted = match &query.state {
        None => None,
        Some(word) => {
            let words = || CallState::ALL.map(CallState::as_str).join(", ");
            let found = CallState::ALL.into_iter().find(|state| state.as_str() == word);
            Some(found.ok_or_else(|| ApiError::invalid("state", format!("must be one of {}", words())))?)
        }
    };
    let limit = query.limit.unwrap_or(100);
    if !(1..=MOST_ENTRIES).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("is {limit}; allowed: 1 to {MOST_ENTRIES}")));
    }
    let filter = CallFilter {
        user: parsed("user", query.user)?,
        provider: parsed("provider", query.provider)?,
        state: wanted,
        ..CallFilter::default()
    };
    let before = parsed("before", query.before)?;
    let calls = state.ledger.page(&filter, before, limit).await.map_err(ApiError::internal)?;
    Ok(Json(CallList { calls: calls.into_iter().map(Into::into).collect(), currency: state.remote.currency() }))
}
