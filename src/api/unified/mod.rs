//! Unified tasks: one request for pictures and films of all models, in an envelope that says how it went.
//!
//! Clients of this shape are there, and their paths are partly native ones, too:
//!
//! - `GET /api/v1/tasks/{id}/result`: who asks for the file gets the file, and everybody else the envelope;
//! - `GET /api/v1/tasks/` is the list in the envelope, without the slash it is the native one, see [`list`];
//! - `POST /api/v1/tasks/{id}/cancel`: nothing in the request tells the two apart, so that the answer is both documents in one: the
//!   native task, and `success`, `message` and `results` beside its fields, none of which has these names.

pub(super) mod create;
pub(super) mod document;
pub(super) mod list;
pub(super) mod tasks;

mod numbers;
mod parameters;

use axum::http::header::{ACCEPT, RANGE};
use axum::http::{HeaderMap, Uri};

/// Whether a request for a result is for its file: a type of files is accepted by name, a part or a format is asked for, or a signed link is
/// opened.
pub(super) fn asks_for_file(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let names_format = pairs.any(|pair| ["format=", "quality=", "token="].iter().any(|name| pair.starts_with(name)));
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut types = accepted.map(|part| part.trim().to_ascii_lowercase());
    names_format
        || headers.contains_key(RANGE)
        || types.any(|part| ["image/", "video/", "application/octet-stream"].iter().any(|kind| part.starts_with(kind)))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/r", "accept", "*/*", false)]
    #[case("/r", "accept", "application/json, text/plain, */*", false)]
    #[case("/r", "accept", "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", true)]
    #[case("/r", "accept", "Video/MP4", true)]
    #[case("/r", "accept", "application/octet-stream", true)]
    #[case("/r", "range", "bytes=0-1", true)]
    #[case("/r?format=png", "accept", "*/*", true)]
    #[case("/r?expires=1&token=x", "accept", "*/*", true)]
    #[case("/r?reformat=1", "accept", "*/*", false)]
    fn who_asks_for_a_file(#[case] uri: &str, #[case] header: &'static str, #[case] value: &'static str, #[case] is_file: bool) {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(header), HeaderValue::from_static(value))]);
        assert_eq!(asks_for_file(&uri.parse().unwrap(), &headers), is_file);
    }
}
