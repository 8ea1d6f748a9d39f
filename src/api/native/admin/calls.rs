//! Calls to providers, as the ledger has them.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parsed;
use crate::api::error::{ApiError, Problem};
use crate::api::extract::QueryParameters;
use crate::api::state::ApiState;
use crate::execution::remote::RemoteExecutor;
use crate::ledger::{CallFilter, CallState, ProviderCall};

/// Most entries of a page.
const MOST_ENTRIES: u32 = 500;

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
    /// What the provider calls the task, once it has taken it: what its own support asks for.
    provider_task_id: Option<String>,
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

impl CallDocument {
    fn of(entry: ProviderCall, remote: &RemoteExecutor) -> Self {
        let ProviderCall { call, state, settled, failure, ended, remote_id, .. } = entry;
        let (failure, message) = failure.unzip();
        let provider_task_id = remote_id.map(|id| remote.task_name(&call.provider, &id));
        Self {
            id: call.id.to_string(),
            task_id: call.job.to_string(),
            user: call.user.to_string(),
            project: call.project.map(|project| project.to_string()),
            provider: call.provider.to_string(),
            model: call.model,
            key: call.key.to_string(),
            provider_task_id,
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
    Ok(Json(CallList {
        calls: calls.into_iter().map(|call| CallDocument::of(call, &state.remote)).collect(),
        currency: state.remote.currency(),
    }))
}
