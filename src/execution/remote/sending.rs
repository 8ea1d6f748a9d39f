//! A wire's call over the network, once.

use std::time::Duration;

use bytes::Bytes;

use super::large_answers::SMALL_BYTES;
use crate::net::exchange::{CallMethod, Exchange, OutgoingCall, Reply};
use crate::net::retry::Failure;
use crate::net::{FetchError, HeaderMap, HeaderName, HeaderValue, Limits};
use crate::providers::{FailureClass, HeaderText, Method, ProviderFailure, WireRequest, WireResponse};

/// How long a create may take: some wait for the picture itself, and pictures are sent along.
pub(super) const CREATE_TIME: Duration = Duration::from_mins(5);
/// How long a call may take that only asks.
const READ_TIME: Duration = Duration::from_mins(1);
/// Between two parts of an answer.
const IDLE_TIME: Duration = Duration::from_mins(1);
/// Bytes that are read beyond what is looked at, so that too much is seen to be too much.
const BEYOND_BYTES: u64 = 1024;

/// What a call is for: a create that was lost on the way may have made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It makes something that may be billed.
    Create,
    /// It asks, and may be repeated.
    Read,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Response(Reply);

impl Response {
    /// As wires read it.
    pub(super) fn wire(&self) -> WireResponse<'_> {
        WireResponse { status: self.0.status, headers: &self.0.headers, body: &self.0.body }
    }
}

/// A call as it goes out. Its body may be large: whoever makes it from one with pictures does so off the async threads.
pub(super) struct Letter {
    call: Option<OutgoingCall>,
    most_answer_bytes: u64,
}

impl Letter {
    /// The letter that says what a wire wrote.
    pub(super) fn of(request: &WireRequest) -> Self {
        Self { call: outgoing(request), most_answer_bytes: request.most_answer_bytes as u64 }
    }
}

/// Sends a call. Fails where no answer came, with what that means for a call of this purpose. A large answer waits for its `place`, which is
/// handed on with it.
pub(super) async fn send<T>(
    exchange: &Exchange,
    letter: Letter,
    purpose: Purpose,
    place: impl Future<Output = T>,
) -> Result<(Response, Option<T>), ProviderFailure> {
    let total = if purpose == Purpose::Create { CREATE_TIME } else { READ_TIME };
    let limits = Limits { max_bytes: letter.most_answer_bytes + BEYOND_BYTES, total, idle: IDLE_TIME.min(total) };
    let sent = match letter.call {
        Some(call) => exchange.send_in_turn(call, &limits, SMALL_BYTES, place).await,
        None => return Err(ProviderFailure::new(FailureClass::Upstream, "not_sent", "a header of the call cannot be sent")),
    };
    sent.map(|(reply, place)| (Response(reply), place)).map_err(|error| unanswered(purpose, &error))
}

/// A wire's call as the network takes it; none where a header is none.
pub(super) fn outgoing(request: &WireRequest) -> Option<OutgoingCall> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let mut text = HeaderValue::from_str(value.expose()).ok()?;
        text.set_sensitive(matches!(value, HeaderText::Secret(_)));
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, text);
    }
    let method = match request.method {
        Method::Get => CallMethod::Get,
        Method::Post => CallMethod::Post,
        Method::Put => CallMethod::Put,
        Method::Delete => CallMethod::Delete,
    };
    let body = request.body.is_some().then(|| Bytes::from(request.body_bytes()));
    Some(OutgoingCall { method, url: request.url.clone(), headers, body })
}

/// What it means that no answer came.
pub(super) fn unanswered(purpose: Purpose, error: &FetchError) -> ProviderFailure {
    let message = with_reason(error);
    match (error.failure(), purpose) {
        (Failure::NotSent | Failure::Refused, _) => ProviderFailure::not_sent(&message),
        (_, Purpose::Create) => ProviderFailure::create_unanswered(&message),
        (_, Purpose::Read) => ProviderFailure::new(FailureClass::Transient, "no_answer", &message),
    }
}

/// What the error says, and its first cause: who set a provider up can tell a wrong port from a wrong name by it.
fn with_reason(error: &FetchError) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_answer_means_depends_on_what_was_asked() {
        let host = || "host".to_owned();
        let slow = FetchError::Slow { host: host(), limit: Duration::from_secs(1) };
        let large = FetchError::TooLarge { host: host(), max_bytes: 1 };
        let refused = FetchError::PathSegment { host: host() };
        for (error, create, read) in [
            (&slow, FailureClass::OutcomeUnknown, FailureClass::Transient),
            (&large, FailureClass::OutcomeUnknown, FailureClass::Transient),
            (&refused, FailureClass::Transient, FailureClass::Transient),
        ] {
            assert_eq!(unanswered(Purpose::Create, error).class, create, "{error}");
            assert_eq!(unanswered(Purpose::Read, error).class, read, "{error}");
        }
    }
}
