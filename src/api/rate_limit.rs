//! Requests a minute: counted for whoever the key belongs to, and said in every answer.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::authentication::SignedLink;
use super::error::{ApiError, ErrorKind};
use super::state::ApiState;
use crate::domain::Principal;
use crate::tenants::{RateDecision, Tenants};

/// Requests a minute.
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// Requests that may follow at once.
pub(super) const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// Seconds until one more may follow, or until as many as ever.
pub(super) const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Lets a request through, or refuses it. Goes behind authentication; whoever has no limit gets no headers, and links that open one
/// file are not counted.
pub(super) async fn limit_rate(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if request.extensions().get::<SignedLink>().is_some() {
        return next.run(request).await;
    }
    let Some(principal) = request.extensions().get::<Principal>() else {
        return ApiError::internal("requests are counted before anybody is authenticated").into_response();
    };
    let decision = admit(&state.tenants, principal);
    let mut response = if decision.allowed { next.run(request).await } else { refusal(decision).into_response() };
    put_headers(response.headers_mut(), decision);
    response
}

/// Counts a request for the user and, with a project's key, for the project; gives whichever is closer to its limit.
fn admit(tenants: &Tenants, principal: &Principal) -> RateDecision {
    let of_user = tenants.admit(&principal.user);
    match &principal.project {
        Some(project) if of_user.allowed => {
            let of_project = tenants.admit_project(project);
            if of_project.remaining < of_user.remaining || !of_project.allowed { of_project } else { of_user }
        }
        _ => of_user,
    }
}

fn refusal(decision: RateDecision) -> ApiError {
    let (limit, seconds) = (decision.limit.unwrap_or_default(), decision.reset_seconds.max(1));
    let message = format!("requests_per_minute is {limit}; send the next request in {seconds} s");
    ApiError::new(ErrorKind::RateLimited, message).with_retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn put_headers(headers: &mut HeaderMap, decision: RateDecision) {
    let Some(limit) = decision.limit else { return };
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(RESET, HeaderValue::from(decision.reset_seconds));
}
