//! What somebody has used of the quotas.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::parse;
use super::projects::usage_of;
use crate::api::error::{ApiError, Problem};
use crate::api::extract::QueryParameters;
use crate::api::native::usage::QuotaUsage;
use crate::api::quota_document::Standing;
use crate::api::state::ApiState;
use crate::api::tenancy::{Tenancy, find_project, parse_project};

/// Whose usage: a user's, a project's, or both.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct HolderQuery {
    /// The user.
    user: Option<String>,
    /// The project.
    project: Option<String>,
}

/// See what a user or a project has used
#[utoipa::path(
    get, path = "/api/v1/admin/usage", tag = "administration", params(HolderQuery),
    responses(
        (status = 200, description = "The counters as they stand", body = QuotaUsage),
        (status = 404, description = "No such project", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Neither user nor project", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_usage_of(
    State(state): State<ApiState>,
    QueryParameters(query): QueryParameters<HolderQuery>,
) -> Result<Json<QuotaUsage>, ApiError> {
    if query.user.is_none() && query.project.is_none() {
        return Err(ApiError::invalid("user", "or project must be named"));
    }
    let mut usage = QuotaUsage { user: None, project: None, quotas: Vec::new() };
    if let Some(name) = query.user {
        let user = parse("user", &name)?;
        usage.quotas = Standing::read(&state, Tenancy::of_user(&state, user).meters(&state)).await?.documents();
        usage.user = Some(name);
    }
    if let Some(name) = query.project {
        let (id, policies) = (parse_project(&name)?, state.tenants.policies());
        usage.quotas.extend(usage_of(&state, &id, find_project(&policies, &id, true)?).await?);
        usage.project = Some(name);
    }
    Ok(Json(usage))
}
