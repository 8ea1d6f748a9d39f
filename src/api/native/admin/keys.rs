//! API keys: made, listed, revoked. The key itself is shown once, in the answer that makes it; its hash never.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{parse, parsed};
use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{JsonBody, QueryParameters};
use crate::api::state::ApiState;
use crate::api::tenancy::{find_project, parse_project};
use crate::api::whole_number::WholeNumber;
use crate::domain::KeyId;
use crate::tenants::{KeyRecord, KeyScope, MOST_KEY_DAYS, NewKey};

/// A key, without the key.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct KeyDocument {
    /// What revokes it.
    #[schema(example = "key_0199a5b6c7d87e0f8a1b2c3d4e5f6071")]
    id: String,
    /// Its first characters, to recognise it by.
    #[schema(example = "fw_AbCdEf")]
    prefix: String,
    /// Whose it is.
    user: String,
    /// `user`, `project` or `admin`.
    #[schema(value_type = String, example = "user")]
    scope: &'static str,
    /// The project that it is bound to.
    project: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// When it ends by itself, RFC 3339.
    expires_at: Option<String>,
    /// When it was revoked, RFC 3339.
    revoked_at: Option<String>,
}

impl From<KeyRecord> for KeyDocument {
    fn from(record: KeyRecord) -> Self {
        Self {
            id: record.id.to_string(),
            prefix: record.prefix,
            user: record.user.to_string(),
            scope: record.scope.as_str(),
            project: record.project.map(|project| project.to_string()),
            created_at: record.created.to_string(),
            expires_at: record.expires.map(|at| at.to_string()),
            revoked_at: record.revoked.map(|at| at.to_string()),
        }
    }
}

/// Keys.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct KeyList {
    /// Oldest first.
    keys: Vec<KeyDocument>,
}

/// A new key.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct CreatedKey {
    /// The key: shown here and never again.
    key: String,
    #[serde(flatten)]
    record: KeyDocument,
}

/// What key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CreateKeyRequest {
    /// Whose it shall be.
    #[schema(example = "anna")]
    user: String,
    /// `user` (everything of the user; the default), `project` (the same within one project) or `admin` (everything).
    scope: Option<String>,
    /// The project of a key with scope `project`.
    project: Option<String>,
    /// It ends by itself after so many days, 1 to 3650; absent: never.
    #[schema(value_type = Option<u32>)]
    expires_in_days: Option<WholeNumber>,
}

/// Whose keys.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct KeyQuery {
    /// Only this user's.
    user: Option<String>,
}

impl CreateKeyRequest {
    fn check(&self, state: &ApiState) -> Result<NewKey, ApiError> {
        let scopes = [KeyScope::User, KeyScope::Project, KeyScope::Admin];
        let scope = match self.scope.as_deref() {
            None => KeyScope::User,
            Some(word) => scopes.into_iter().find(|scope| scope.as_str() == word).ok_or_else(|| {
                let shown: String = word.chars().take(32).collect();
                ApiError::invalid("scope", format!("is '{shown}'; allowed: user, project, admin"))
            })?,
        };
        let days = match self.expires_in_days {
            None => None,
            Some(WholeNumber(days)) => match u32::try_from(days) {
                Ok(days) if (1..=MOST_KEY_DAYS).contains(&days) => Some(days),
                _ => return Err(ApiError::invalid("expires_in_days", format!("is {days}; allowed: 1 to {MOST_KEY_DAYS}"))),
            },
        };
        let in_place = |error: ApiError| error.with_field("project");
        let project = match self.project.as_deref() {
            None => None,
            Some(name) => {
                let project = parse_project(name).map_err(in_place)?;
                find_project(&state.tenants.policies(), &project, true).map_err(in_place)?;
                Some(project)
            }
        };
        let new = NewKey::of(parse("user", &self.user)?, scope, project)
            .map_err(|error| in_place(ApiError::new(ErrorKind::InvalidValue, error.to_string())))?;
        Ok(new.until(days.map(|days| state.keys.after_days(days))))
    }
}

/// List the keys
#[utoipa::path(
    get, path = "/api/v1/admin/keys", tag = "administration", params(KeyQuery),
    responses((status = 200, description = "Oldest first, revoked ones included", body = KeyList))
)]
pub(in crate::api) async fn list_keys(
    State(state): State<ApiState>,
    QueryParameters(query): QueryParameters<KeyQuery>,
) -> Result<Json<KeyList>, ApiError> {
    let user = parsed("user", query.user)?;
    let keys = state.keys.list(user.as_ref()).await?;
    Ok(Json(KeyList { keys: keys.into_iter().map(KeyDocument::from).collect() }))
}

/// Make a key
///
/// The answer is the only place where the key itself is ever shown.
#[utoipa::path(
    post, path = "/api/v1/admin/keys", tag = "administration", request_body = CreateKeyRequest,
    responses(
        (status = 201, description = "The key; it works at once", body = CreatedKey),
        (status = 404, description = "No such project", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn create_key(
    State(state): State<ApiState>,
    JsonBody(request): JsonBody<CreateKeyRequest>,
) -> Result<(StatusCode, [(HeaderName, &'static str); 1], Json<CreatedKey>), ApiError> {
    let (record, key) = state.keys.create(request.check(&state)?).await?;
    tracing::info!(key.id = %record.id, user.id = %record.user, scope = record.scope.as_str(), "Made key {} for {}", record.id, record.user);
    let created = CreatedKey { key: key.expose_secret().to_owned(), record: record.into() };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(created)))
}

/// Revoke a key
///
/// It is refused from the next request on. Revoking it again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/admin/keys/{id}/revoke", tag = "administration", params(("id" = String, Path, description = "The key's id")),
    responses(
        (status = 200, description = "The revoked key", body = KeyDocument),
        (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn revoke_key(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<KeyDocument>, ApiError> {
    let id: KeyId =
        id.parse().map_err(|error: crate::domain::IdError| ApiError::new(ErrorKind::KeyNotFound, error.to_string()))?;
    let record = state.keys.revoke(id).await?.ok_or_else(|| ApiError::new(ErrorKind::KeyNotFound, format!("no key {id}")))?;
    tracing::info!(key.id = %id, user.id = %record.user, "Revoked key {id}");
    Ok(Json(record.into()))
}
