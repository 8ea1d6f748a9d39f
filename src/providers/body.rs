//! Reading answers that may be anything: not JSON, cut off, numbers as texts, texts as numbers.
//!
//! `serde_json` bounds the depth; the length is bounded here. Nothing in an answer is trusted to have the type that its document says.

use serde_json::Value;
use url::Url;

use super::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use super::wire::{MOST_BODY_BYTES, WireResponse};

/// Most bytes of an identifier.
const MOST_IDENTIFIER_BYTES: usize = 200;
/// Most bytes of a link.
const MOST_LINK_BYTES: usize = 8192;
/// Most characters of a prompt that a provider rewrote.
const MOST_PROMPT_CHARACTERS: usize = 8192;
/// Most results of one task that are looked at.
pub(super) const MOST_RESULTS: usize = 16;

/// The answer's JSON object, of at most [`MOST_BODY_BYTES`]. Fails with [`ProviderFailure`].
pub(super) fn object(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    object_within(MOST_BODY_BYTES, call, response)
}

/// The JSON object of an answer that may have more bytes than most: as many as its call allowed. Fails with [`ProviderFailure`].
pub(super) fn object_within(most_bytes: usize, call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let unreadable = |why: &str| {
        let failure = ProviderFailure::unreadable(call, response.status, why);
        failure.after(response.retry_after_seconds())
    };
    if response.body.len() > most_bytes {
        return Err(unreadable(&format!("the answer is longer than {most_bytes} bytes")));
    }
    match serde_json::from_slice::<Value>(response.body) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(unreadable("the answer is JSON, but no object")),
        Err(error) if error.is_eof() => Err(unreadable("the answer is empty or cut off")),
        Err(_) => Err(unreadable("the answer is not JSON")),
    }
}

/// A text, or a number as a text. An empty one is none.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A finite number that is not negative, also one that is written as a text.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// A whole number, also one that is written as a text.
pub(super) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The JSON object of an answer whose `code` says how it went, in the words of web pages' own servers: `fine`, or a code whose meaning nobody
/// knows, with words in the field `words`. A page instead of an answer is one that wants a person. Fails with [`ProviderFailure`].
pub(super) fn coded_object(call: Call, response: &WireResponse<'_>, fine: i64, words: &str) -> Result<Value, ProviderFailure> {
    if response.is_page() {
        return Err(ProviderFailure::blocked(call, response.status));
    }
    let body = object(call, response)?;
    let code = whole(&body["code"]);
    if response.is_success() && code == Some(fine) {
        return Ok(body);
    }
    // What codes mean is not known. A create that got one was refused; a poll that got one tries again.
    let class = match (response.is_success(), code, call) {
        (false, _, _) => class_of_status(response.status),
        (true, Some(_), Call::Create) => FailureClass::InvalidRequest,
        (true, Some(_), Call::Repeatable) => FailureClass::Transient,
        (true, None, _) => FailureClass::Upstream,
    };
    let class = call.class(class, response.status, code.is_some());
    let name = code.map_or_else(|| format!("http_{}", response.status), |code| code.to_string());
    Err(ProviderFailure::new(class, &name, &text(&body[words]).unwrap_or_default()).after(response.retry_after_seconds()))
}

/// A side of a picture, pixels.
pub(super) fn side(value: &Value) -> Option<u32> {
    whole(value).and_then(|side| u32::try_from(side).ok()).filter(|side| (1..=65_536).contains(side))
}

/// An identifier that may stand in a path or a query as it is; anything else is none.
pub(super) fn identifier(value: &Value) -> Option<String> {
    let text = text(value)?;
    is_identifier(&text).then_some(text)
}

/// Whether a text is such an identifier: no byte of it means anything in a URL, and it is no step up in a path.
pub(super) fn is_identifier(text: &str) -> bool {
    (1..=MOST_IDENTIFIER_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

/// A link over http(s) to a host; anything else is none. Whether the host may be called is for the policy of whoever calls it.
pub(super) fn link(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| text.len() <= MOST_LINK_BYTES)?;
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| url.into())
}

/// A prompt as the provider rewrote it, cut to a length.
pub(super) fn prompt(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(text.chars().take(MOST_PROMPT_CHARACTERS).collect())
}

/// The elements of an array, [`MOST_RESULTS`] at most; of anything else none.
pub(super) fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter().take(MOST_RESULTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::failure::FailureClass;
    use serde_json::json;

    fn read(status: u16, body: &[u8]) -> Result<Value, ProviderFailure> {
        object(Call::Repeatable, &WireResponse { status, headers: &[], body })
    }

    #[test]
    fn only_objects_within_bounds_are_read() {
        assert!(read(200, br#"{"a":1}"#).is_ok());
        let deep = "[".repeat(100_000);
        let deep_object = "{\"a\":".repeat(100_000);
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MOST_BODY_BYTES));
        for (body, message) in [
            ("", "the answer is empty or cut off"),
            ("{\"a\":", "the answer is empty or cut off"),
            ("<html>502</html>", "the answer is not JSON"),
            ("[1]", "the answer is JSON, but no object"),
            ("null", "the answer is JSON, but no object"),
            ("{\"a\":1e999}", "the answer is not JSON"),
            (&deep, "the answer is not JSON"),
            (&deep_object, "the answer is not JSON"),
            (&long, "the answer is longer than 1048576 bytes"),
        ] {
            let failure = read(200, body.as_bytes()).unwrap_err();
            assert_eq!((failure.class, failure.message), (FailureClass::Upstream, format!("HTTP 200: {message}")));
        }
        assert!(read(200, b"\xff\xfe{}").is_err());
        assert_eq!(read(502, b"<html>").unwrap_err().class, FailureClass::Transient);
        assert_eq!(read(401, b"").unwrap_err().class, FailureClass::Authentication);
    }

    #[test]
    fn identifiers_carry_nothing_into_a_path() {
        for (value, expected) in [(json!("0385dc79-5ff8"), "0385dc79-5ff8"), (json!(176_844_028_768_320_i64), "176844028768320")]
        {
            assert_eq!(identifier(&value).as_deref(), Some(expected));
        }
        for value in [
            json!(""),
            json!("."),
            json!(".."),
            json!("a/b"),
            json!("a?b"),
            json!("a&b"),
            json!("%2e"),
            json!("a b"),
            json!("a\n"),
            json!("任务"),
            json!("a".repeat(201)),
            json!(null),
            json!(true),
            json!(["a"]),
        ] {
            assert_eq!(identifier(&value), None, "{value}");
        }
    }

    #[test]
    fn links_are_http_with_a_host() {
        assert_eq!(link(&json!("https://host/a.mp4?Expires=1")).as_deref(), Some("https://host/a.mp4?Expires=1"));
        for value in [
            json!("file:///etc/passwd"),
            json!("ftp://host/a"),
            json!("data:video/mp4;base64,AA"),
            json!("/a.mp4"),
            json!(""),
            json!(7),
            json!(null),
            json!(format!("https://host/{}", "a".repeat(9000))),
        ] {
            assert_eq!(link(&value), None, "{value}");
        }
    }

    #[test]
    fn an_answer_with_pictures_may_be_longer() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MOST_BODY_BYTES));
        let response = WireResponse { status: 200, headers: &[], body: long.as_bytes() };
        assert!(object_within(2 * MOST_BODY_BYTES, Call::Repeatable, &response).is_ok());
        assert!(object(Call::Repeatable, &response).is_err());
    }

    #[test]
    fn numbers_may_be_texts_and_texts_numbers() {
        assert_eq!([number(&json!(5)), number(&json!("5.0")), number(&json!(4.5))], [Some(5.0), Some(5.0), Some(4.5)]);
        assert_eq!([number(&json!("NaN")), number(&json!("inf")), number(&json!(-1)), number(&json!("x"))], [None; 4]);
        assert_eq!([whole(&json!("1004")), whole(&json!(1004)), whole(&json!(1.5))], [Some(1004), Some(1004), None]);
        assert_eq!(
            [side(&json!(1920)), side(&json!(0)), side(&json!(-1)), side(&json!(u64::MAX))],
            [Some(1920), None, None, None]
        );
        assert_eq!(text(&json!(1214)).as_deref(), Some("1214"));
    }
}
