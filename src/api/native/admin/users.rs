//! Users: those with a file, and those with a key.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::keys::KeyDocument;
use super::page::NamePage;
use super::parse;
use super::policy_document::PolicyDocument;
use crate::api::error::{ApiError, Problem};
use crate::api::extract::QueryParameters;
use crate::api::quota_document::{QuotaDocument, Standing};
use crate::api::state::ApiState;
use crate::api::tenancy::Tenancy;
use crate::domain::{TenantPolicies, UserId};

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UserDocument {
    /// The user's name.
    id: String,
    /// Whether `users/{id}.yaml` is there; if not, the policy is that of `users/default.yaml`.
    has_file: bool,
    /// What the user may do.
    policy: PolicyDocument,
    /// The user's counters as they stand.
    usage: Vec<QuotaDocument>,
}

/// Users with a file or a key.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UserList {
    /// By name.
    users: Vec<UserDocument>,
    /// `after` of the next page; null on the last.
    next: Option<String>,
}

/// A user and the user's keys.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UserDetails {
    #[serde(flatten)]
    user: UserDocument,
    /// Oldest first.
    keys: Vec<KeyDocument>,
}

impl UserDocument {
    /// What is known of `users`, in their order, as of one look at the policies and one at the counters.
    async fn read(state: &ApiState, policies: &TenantPolicies, users: Vec<UserId>) -> Result<Vec<Self>, ApiError> {
        let meters = users.iter().map(|user| Tenancy::of_user(state, user.clone()).meters(state)).collect();
        let standings = Standing::read_each(state, meters).await?;
        let document = |(user, standing): (UserId, Standing)| Self {
            id: user.to_string(),
            has_file: policies.users.contains_key(&user),
            policy: policies.user(&user).into(),
            usage: standing.documents(),
        };
        Ok(users.into_iter().zip(standings).map(document).collect())
    }
}

/// List the users
///
/// Everybody with a file in `users/` or with a key.
#[utoipa::path(
    get, path = "/api/v1/admin/users", tag = "administration", params(NamePage),
    responses(
        (status = 200, description = "By name", body = UserList),
        (status = 422, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_users(
    State(state): State<ApiState>,
    QueryParameters(page): QueryParameters<NamePage>,
) -> Result<Json<UserList>, ApiError> {
    let with_key = state.keys.list(None).await?.into_iter().map(|key| key.user);
    let policies = state.tenants.policies();
    let names: BTreeSet<UserId> = policies.users.keys().cloned().chain(with_key).collect();
    let (names, next) = page.of(names, UserId::as_str)?;
    Ok(Json(UserList { users: UserDocument::read(&state, &policies, names).await?, next }))
}

/// Look at a user
#[utoipa::path(
    get, path = "/api/v1/admin/users/{id}", tag = "administration", params(("id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "Policy, usage and keys; a name that nobody has used yet falls under `users/default.yaml`", body = UserDetails),
        (status = 422, description = "No user can have that name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_user(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<UserDetails>, ApiError> {
    let user = parse("user", &id)?;
    let keys = state.keys.list(Some(&user)).await?.into_iter().map(KeyDocument::from).collect();
    let mut found = UserDocument::read(&state, &state.tenants.policies(), vec![user]).await?;
    let user = found.pop().ok_or_else(|| ApiError::internal("a user was asked for, and none was read"))?;
    Ok(Json(UserDetails { user, keys }))
}
