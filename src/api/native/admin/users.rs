//! Users: those with a file, and those with a key.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::keys::KeyDocument;
use super::parse_user;
use super::policy_document::PolicyDocument;
use crate::api::error::{ApiError, Problem};
use crate::api::quota_document::{QuotaDocument, Standing};
use crate::api::state::ApiState;
use crate::api::tenancy::Tenancy;
use crate::domain::UserId;

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

/// Every user with a file or a key.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UserList {
    /// By name.
    users: Vec<UserDocument>,
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
    async fn read(state: &ApiState, user: UserId) -> Result<Self, ApiError> {
        let policies = state.tenants.policies();
        let (id, has_file) = (user.to_string(), policies.users.contains_key(&user));
        let policy = policies.user(&user).into();
        let standing = Standing::read(state, Tenancy::of_user(state, user).meters(state)).await?;
        Ok(Self { id, has_file, policy, usage: standing.documents() })
    }
}

/// List the users
///
/// Everybody with a file in `users/` or with a key.
#[utoipa::path(get, path = "/api/v1/admin/users", tag = "administration", responses((status = 200, description = "By name", body = UserList)))]
pub(in crate::api) async fn list_users(State(state): State<ApiState>) -> Result<Json<UserList>, ApiError> {
    let with_key = state.keys.list(None).await?.into_iter().map(|key| key.user);
    let names: BTreeSet<UserId> = state.tenants.policies().users.keys().cloned().chain(with_key).collect();
    let mut users = Vec::with_capacity(names.len());
    for name in names {
        users.push(UserDocument::read(&state, name).await?);
    }
    Ok(Json(UserList { users }))
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
    let user = parse_user(&id)?;
    let keys = state.keys.list(Some(&user)).await?.into_iter().map(KeyDocument::from).collect();
    Ok(Json(UserDetails { user: UserDocument::read(&state, user).await?, keys }))
}
