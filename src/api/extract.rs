//! What handlers ask of a request: the caller, the body, the query, the server's own address.

use axum::body::HttpBody;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::error::{ApiError, ErrorKind};
use super::state::ApiState;
use crate::domain::Principal;

/// Whoever the key belongs to; put there by `authentication`.
pub(super) struct Caller(pub(super) Principal);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Principal>()
            .cloned()
            .map(Self)
            .ok_or_else(|| ApiError::internal("a route asks for its caller but is not behind authentication"))
    }
}

/// A body of JSON. Refusals name the field wherever the parser knows it.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // Insisting on the type is also what keeps a foreign web page from posting here without a CORS preflight.
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                ErrorKind::UnsupportedMediaType,
                "send the body as JSON with 'Content-Type: application/json'",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::new(ErrorKind::BodyTooLarge, "the request body is longer than this server allows")
            } else {
                ApiError::new(ErrorKind::MalformedBody, "the request body could not be read")
            }
        })?;
        parse_json(&bytes).map(Self)
    }
}

/// The same where no body at all stands for an empty one.
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // Whatever a client calls the type of nothing.
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        JsonBody::from_request(request, state).await.map(|JsonBody(body)| Self(body))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Parses a body, turning the parser's words into a kind and a field.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Without this an array would be taken for the fields in their order.
    if bytes.trim_ascii_start().first().is_some_and(|&first| first != b'{') {
        return Err(ApiError::new(ErrorKind::MalformedBody, "the body must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        json_error(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| json_error(".", &error))?;
    Ok(parsed)
}

fn json_error(path: &str, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if !error.is_data() {
        return ApiError::new(ErrorKind::MalformedBody, format!("the body is not valid JSON: {text}"));
    }
    // serde says `unknown field `x`, expected …` and `missing field `x``; the field is in the text and not in the path.
    let quoted = |prefix: &str| Some(text.strip_prefix(prefix)?.split_once('`')?.0.to_owned());
    if let Some(field) = quoted("unknown field `") {
        let expected = text.split_once(", expected ").map_or("", |(_, rest)| rest);
        let expected = expected.split(" at line ").next().unwrap_or_default().trim_start_matches("one of ").replace('`', "");
        let shown: String = field.chars().take(64).collect();
        return ApiError::new(ErrorKind::UnknownField, format!("unknown field '{shown}'; known: {expected}")).with_field(field);
    }
    if let Some(field) = quoted("missing field `") {
        return ApiError::about(ErrorKind::MissingField, field, "is missing");
    }
    if let Some(field) = quoted("duplicate field `") {
        return ApiError::invalid(field, "is there twice");
    }
    // The text quotes the value, which may be the whole body, and ends with what was expected and where.
    let expected = text.rsplit_once(", expected ").map(|(_, rest)| rest.split(" at line ").next().unwrap_or(rest));
    let problem = match expected {
        Some(expected) => format!("must be {}", in_words(expected)),
        None => text.split(" at line ").next().unwrap_or(&text).to_owned(),
    };
    if path == "." {
        ApiError::new(ErrorKind::InvalidValue, format!("the body {problem}"))
    } else {
        ApiError::invalid(path.to_owned(), problem)
    }
}

/// What was expected, without the names of Rust's types.
fn in_words(expected: &str) -> &str {
    match expected {
        "f32" | "f64" => "a number",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        other => other,
    }
}

/// A query. Refusals are in the surface's envelope.
pub(super) struct QueryParameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => Err(query_error(&rejection.body_text())),
        }
    }
}

fn query_error(text: &str) -> ApiError {
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let text = &text.replace("invalid digit found in string", "must be a whole number");
    let error = ApiError::new(ErrorKind::InvalidValue, format!("in the query: {text}"));
    match text.split_once(": ") {
        Some((field, _)) if !field.contains(' ') => error.with_field(field.to_owned()),
        _ => error,
    }
}

/// Where links begin: the configured public URL, else the host that the client itself used.
pub(super) struct BaseUrl(pub(super) String);

impl FromRequestParts<ApiState> for BaseUrl {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Self::Rejection> {
        Ok(Self(match &state.settings.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", host(parts).unwrap_or_else(|| "localhost".to_owned())),
        }))
    }
}

fn host(parts: &Parts) -> Option<String> {
    let authority: Authority = match parts.uri.authority() {
        Some(authority) => authority.clone(),
        None => parts.headers.get(HOST)?.to_str().ok()?.parse().ok()?,
    };
    // Whatever stands before an @ is not part of the host.
    Some(match authority.port() {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    })
}

/// Refuses a path with a part that is no text, which no route's parameter is.
pub(super) async fn require_readable_path(
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match parameters {
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => {
            Err(ApiError::new(ErrorKind::RouteNotFound, "the path is not UTF-8; see /docs"))
        }
        // A route without parameters has none to read.
        _ => Ok(next.run(request).await),
    }
}

/// A panic in a handler, as any other fault.
#[expect(clippy::needless_pass_by_value, reason = "the layer that catches panics hands them over")]
pub(super) fn panic_response(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "of an unknown kind".to_owned());
    ApiError::internal(format!("panic: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde::Deserialize;

    use super::*;
    use crate::api::whole_number::WholeNumber;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only parsing is tested")]
        prompt: String,
        #[expect(dead_code, reason = "only parsing is tested")]
        width: Option<WholeNumber>,
    }

    #[rstest]
    #[case::ok(r#"{"prompt":"x","width":null}"#, None)]
    #[case::broken(r#"{"prompt":"#, Some((ErrorKind::MalformedBody, None)))]
    #[case::empty("", Some((ErrorKind::MalformedBody, None)))]
    #[case::trailing(r#"{"prompt":"x"} x"#, Some((ErrorKind::MalformedBody, None)))]
    #[case::nan(r#"{"prompt":"x","width":NaN}"#, Some((ErrorKind::MalformedBody, None)))]
    #[case::unknown(r#"{"prompt":"x","wdith":1}"#, Some((ErrorKind::UnknownField, Some("wdith"))))]
    #[case::missing(r#"{"width":1}"#, Some((ErrorKind::MissingField, Some("prompt"))))]
    #[case::null(r#"{"prompt":null}"#, Some((ErrorKind::InvalidValue, Some("prompt"))))]
    #[case::wrong_type(r#"{"prompt":"x","width":"12"}"#, Some((ErrorKind::InvalidValue, Some("width"))))]
    #[case::fraction(r#"{"prompt":"x","width":1.5}"#, Some((ErrorKind::InvalidValue, Some("width"))))]
    #[case::array(r#"["x", 128]"#, Some((ErrorKind::MalformedBody, None)))]
    #[case::text(r#""x""#, Some((ErrorKind::MalformedBody, None)))]
    #[case::twice(r#"{"prompt":"x","prompt":"y"}"#, Some((ErrorKind::InvalidValue, Some("prompt"))))]
    fn json_refusals(#[case] body: &str, #[case] expected: Option<(ErrorKind, Option<&str>)>) {
        let seen = parse_json::<Body>(body.as_bytes()).err();
        assert_eq!(seen.as_ref().map(|error| (error.kind(), error.field())), expected, "{seen:?}");
    }

    #[test]
    fn types_are_named_in_words() {
        #[derive(Debug, Deserialize)]
        struct Lasting {
            #[expect(dead_code, reason = "only its type matters")]
            duration: f64,
        }
        let error = parse_json::<Lasting>(br#"{"duration":"2"}"#).unwrap_err();
        assert_eq!(error.message(), "duration must be a number");
    }

    #[test]
    fn a_deep_body_does_not_exhaust_the_stack() {
        assert!(parse_json::<Body>("[".repeat(1 << 20).as_bytes()).is_err());
    }

    #[rstest]
    #[case("application/json", true)]
    #[case("Application/JSON; charset=utf-8", true)]
    #[case("application/merge-patch+json", true)]
    #[case("text/plain", false)]
    #[case("application/x-www-form-urlencoded", false)]
    fn types(#[case] value: &'static str, #[case] json: bool) {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, axum::http::HeaderValue::from_static(value))]);
        assert_eq!(is_json(&headers), json);
    }
}
