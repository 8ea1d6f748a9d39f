//! What has been used of the quotas.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::error::{ApiError, Problem};
use crate::api::extract::{Caller, QueryParameters};
use crate::api::quota_document::{QuotaDocument, Standing};
use crate::api::state::ApiState;
use crate::api::tenancy::Tenancy;

/// Whose usage beside one's own.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct UsageQuery {
    /// A project's too; absent: the key's, or none.
    project_id: Option<String>,
}

/// What has been used of the quotas.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct QuotaUsage {
    /// The user.
    pub(super) user: Option<String>,
    /// The project.
    pub(super) project: Option<String>,
    /// The user's counters and the project's, with a limit or without.
    pub(super) quotas: Vec<QuotaDocument>,
}

impl QuotaUsage {
    /// What the counters of a user, and of the project within which it is asked for, hold now.
    async fn of(state: &ApiState, tenancy: &Tenancy) -> Result<Self, ApiError> {
        let standing = Standing::read(state, tenancy.meters(state)).await?;
        Ok(Self {
            user: Some(tenancy.user().to_string()),
            project: tenancy.project().map(ToString::to_string),
            quotas: standing.documents(),
        })
    }
}

/// See what you have used
///
/// The counters of your own and of the project, by day or by month, in the server's time zone.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "server", params(UsageQuery),
    responses(
        (status = 200, description = "The counters as they stand", body = QuotaUsage),
        (status = 403, description = "Another project than your key's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such project", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_usage(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    QueryParameters(query): QueryParameters<UsageQuery>,
) -> Result<Json<QuotaUsage>, ApiError> {
    let tenancy = Tenancy::of_request(&state, &principal, query.project_id.as_deref())?;
    Ok(Json(QuotaUsage::of(&state, &tenancy).await?))
}
