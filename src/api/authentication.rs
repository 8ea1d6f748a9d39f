//! Who is asking.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use secrecy::ExposeSecret;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::error::{ApiError, ErrorKind};
use super::extract::Caller;
use super::links::LinkError;
use super::state::ApiState;
use super::tokens::TokenVerifier;
use crate::domain::{Principal, UserId};
use crate::tenants::AuthenticationError;

/// The part of a content route's query that belongs to its signature.
#[derive(Debug, Deserialize)]
struct Signature {
    expires: i64,
    token: String,
}

/// Marks a request that a signed link opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedLink;

/// Lets a request through with its [`Principal`] attached, or refuses it.
pub(super) async fn require_key(State(state): State<ApiState>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let principal = authenticate(&state, request.headers()).await?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// The same for routes that serve files: a signed link does as well as a key.
pub(super) async fn require_key_or_link(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let query = request.uri().query().unwrap_or_default();
    let principal = if query.split('&').any(|pair| pair.starts_with("token=")) {
        let signature: Signature = axum::extract::Query::try_from_uri(request.uri())
            .map_err(|_| ApiError::new(ErrorKind::InvalidLink, LinkError::Invalid.to_string()))?
            .0;
        let variant: Vec<&str> =
            query.split('&').filter(|pair| !pair.starts_with("expires=") && !pair.starts_with("token=")).collect();
        state
            .links
            .verify(request.uri().path(), &variant.join("&"), signature.expires, &signature.token, state.clock.now())
            .map_err(|error| {
                let kind = if error == LinkError::Expired { ErrorKind::ExpiredLink } else { ErrorKind::InvalidLink };
                ApiError::new(kind, error.to_string())
            })?;
        request.extensions_mut().insert(SignedLink);
        // The link itself is the right to the file, whosever the task is.
        administrator("link")?
    } else {
        authenticate(&state, request.headers()).await?
    };
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Lets administrators through; goes behind [`require_key`].
pub(super) async fn require_admin(Caller(principal): Caller, request: Request, next: Next) -> Result<Response, ApiError> {
    if principal.admin { Ok(next.run(request).await) } else { Err(not_an_administrator()) }
}

fn not_an_administrator() -> ApiError {
    ApiError::new(ErrorKind::Forbidden, "this needs an administrator's key")
}

/// `/metrics`: open on loopback, an administrator's elsewhere.
pub(super) async fn require_admin_unless_loopback(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !state.settings.loopback && !authenticate(&state, request.headers()).await?.admin {
        return Err(not_an_administrator());
    }
    Ok(next.run(request).await)
}

/// Whom the request's key belongs to: the administrator's key from the environment, a signed token, or a stored key.
async fn authenticate(state: &ApiState, headers: &HeaderMap) -> Result<Principal, ApiError> {
    if !state.settings.auth_enabled {
        return administrator("local");
    }
    let presented = presented_key(headers).ok_or(AuthenticationError::Missing)?;
    if let Some(master_key) = &state.settings.master_key
        && bool::from(presented.as_bytes().ct_eq(master_key.expose_secret().as_bytes()))
    {
        return administrator("admin");
    }
    if TokenVerifier::looks_like_token(presented)
        && let Ok(principal) = state.tokens.verify(presented, state.clock.now())
    {
        return Ok(principal);
    }
    Ok(state.keys.authenticate(presented).await?)
}

/// The key in `Authorization: Bearer` or, for clients that cannot set that, `X-API-Key`.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok().map(str::trim)).filter(|key| !key.is_empty())
}

fn administrator(name: &str) -> Result<Principal, ApiError> {
    let user: UserId = name.parse().map_err(ApiError::internal)?;
    Ok(Principal { user, project: None, admin: true, key: None })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("authorization", "Bearer abc", Some("abc"))]
    #[case("authorization", "bearer  abc ", Some("abc"))]
    #[case("authorization", "Basic abc", None)]
    #[case("authorization", "Bearer ", None)]
    #[case("authorization", "abc", None)]
    #[case("x-api-key", "abc", Some("abc"))]
    #[case("x-api-key", "", None)]
    #[case("cookie", "abc", None)]
    fn where_keys_are_looked_for(#[case] header: &'static str, #[case] value: &'static str, #[case] key: Option<&str>) {
        let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static(header), HeaderValue::from_static(value))]);
        assert_eq!(presented_key(&headers), key);
    }
}
