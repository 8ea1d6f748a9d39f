//! Requests that come in JSON or in a form with files.

use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::error::{ApiError, ErrorKind};
use crate::api::extract::{JsonBody, parse_json};

/// Parts of a form at most.
const MOST_PARTS: usize = 64;

/// A part of a form.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) content: Content,
}

/// What a part has.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    File(Bytes),
}

/// Whether the body is a form that may have files.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

/// The parts of a form in their order; those that `may_be_file` names and that come with a file's name are files.
pub(super) async fn read_parts<S: Send + Sync>(
    request: Request,
    state: &S,
    may_be_file: impl Fn(&str) -> bool,
) -> Result<Vec<Part>, ApiError> {
    let mut form = Multipart::from_request(request, state).await.map_err(|error| malformed(&error.body_text()))?;
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        if parts.len() >= MOST_PARTS {
            return Err(malformed(&format!("it has more than {MOST_PARTS} fields")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let content = if field.file_name().is_some() && may_be_file(&name) {
            Content::File(field.bytes().await.map_err(|error| unreadable(&error))?)
        } else {
            Content::Text(field.text().await.map_err(|error| unreadable(&error))?)
        };
        parts.push(Part { name, content });
    }
    Ok(parts)
}

/// A request made of a form's texts.
pub(super) fn parse_texts<T: DeserializeOwned>(fields: &Map<String, Value>) -> Result<T, ApiError> {
    parse_json(&serde_json::to_vec(fields).map_err(ApiError::internal)?)
}

/// A request in JSON, or in a form whose field `object` is a file, or an object that clients write as `object[key]` or as JSON.
pub(super) async fn json_or_form<T: DeserializeOwned, S: Send + Sync>(
    request: Request,
    state: &S,
    object: &str,
) -> Result<(T, Option<Bytes>), ApiError> {
    if !is_form(request.headers()) {
        let JsonBody(request) = JsonBody::from_request(request, state).await?;
        return Ok((request, None));
    }
    let (mut fields, mut file) = (Map::new(), None);
    for Part { name, content } in read_parts(request, state, |name| name == object).await? {
        let text = match content {
            Content::Text(text) => text,
            Content::File(bytes) => {
                file = Some(bytes);
                continue;
            }
        };
        let key = name.strip_prefix(object).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
        if let Some(key) = key {
            let inside = fields.entry(object).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inside) = inside.as_object_mut() {
                inside.insert(key.to_owned(), Value::String(text));
            }
            continue;
        }
        let value = if name == object { serde_json::from_str(&text).unwrap_or(Value::String(text)) } else { Value::String(text) };
        fields.insert(name, value);
    }
    Ok((parse_texts(&fields)?, file))
}

fn malformed(problem: &str) -> ApiError {
    ApiError::new(ErrorKind::MalformedBody, format!("the form cannot be read: {problem}"))
}

fn unreadable(error: &MultipartError) -> ApiError {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::new(ErrorKind::BodyTooLarge, "the request body is longer than this server allows")
    } else {
        malformed(&error.body_text())
    }
}
