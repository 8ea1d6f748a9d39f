//! Who is asking.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::error::{ApiError, ErrorKind, Surface};
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
    let principal = authenticate(&state, Surface::of_path(request.uri().path()), request.headers()).await?;
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
        authenticate(&state, Surface::Native, request.headers()).await?
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
    if !state.settings.loopback && !authenticate(&state, Surface::Native, request.headers()).await?.admin {
        return Err(not_an_administrator());
    }
    Ok(next.run(request).await)
}

/// Whom the request's key belongs to: the administrator's key from the environment, a signed token, or a stored key.
async fn authenticate(state: &ApiState, surface: Surface, headers: &HeaderMap) -> Result<Principal, ApiError> {
    if !state.settings.auth_enabled {
        return administrator("local");
    }
    let presented = presented_key(surface, headers).ok_or(AuthenticationError::Missing)?;
    let presented: &str = &presented;
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

/// The key in `Authorization: Bearer` or, for clients that cannot set that, `X-API-Key`. Clients of A1111 know a name and a password:
/// on that surface the key may be the password, whatever the name.
fn presented_key(surface: Surface, headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        let key = key.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Some(Cow::Borrowed(key))
        } else if surface == Surface::A1111 && scheme.eq_ignore_ascii_case("basic") {
            password(key).map(Cow::Owned)
        } else {
            None
        }
    });
    let header = || headers.get("x-api-key")?.to_str().ok().map(|key| Cow::Borrowed(key.trim()));
    authorization.or_else(header).filter(|key| !key.is_empty())
}

/// The password within RFC 7617's credentials.
fn password(credentials: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
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
        assert_eq!(presented_key(Surface::Native, &headers).as_deref(), key);
    }

    #[rstest]
    #[case(Surface::A1111, "Basic dXNlcjprZXk=", Some("key"))]
    #[case(Surface::A1111, "basic OmtleTp3aXRoOmNvbG9ucw==", Some("key:with:colons"))]
    #[case(Surface::A1111, "Bearer abc", Some("abc"))]
    #[case(Surface::A1111, "Basic dXNlcg==", None)]
    #[case(Surface::A1111, "Basic dXNlcjo=", None)]
    #[case(Surface::A1111, "Basic %%%", None)]
    #[case(Surface::OpenAi, "Basic dXNlcjprZXk=", None)]
    fn passwords_are_keys_of_one_surface(#[case] surface: Surface, #[case] value: &'static str, #[case] key: Option<&str>) {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
        assert_eq!(presented_key(surface, &headers).as_deref(), key);
    }
}
