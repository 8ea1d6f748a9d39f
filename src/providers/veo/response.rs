//! The Gemini API's answers.

use serde_json::Value;
use url::Url;

use super::errors::{class_of_call, class_of_operation};
use super::is_operation;
use crate::providers::body::{elements, link, object, text, whole};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::outcome::{Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage};
use crate::providers::protocol::Known;
use crate::providers::wire::{Account, WireResponse};

/// Most bytes of an operation's name.
const MOST_NAME_BYTES: usize = 500;

pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    match body["name"].as_str().filter(|name| name.len() <= MOST_NAME_BYTES && is_operation(name)) {
        Some(name) => Ok(Created::Accepted { task: name.to_owned(), state: Underway::Queued }),
        None => Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no name of an operation")),
    }
}

pub(super) fn polled(account: &Account, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    Ok(match &body["done"] {
        Value::Bool(true) if body["error"].is_object() => Polled::Failed(task_failure(&body["error"])),
        Value::Bool(true) => finished(account, &body["response"]["generateVideoResponse"]),
        // There is no word for waiting: what is not done runs.
        Value::Bool(false) | Value::Null => Polled::underway(Underway::Running),
        other => Polled::unknown(known.state, &other.to_string()),
    })
}

fn finished(account: &Account, response: &Value) -> Polled {
    let films = elements(&response["generatedSamples"]).filter_map(|sample| link(&sample["video"]["uri"]));
    let results: Vec<RemoteResult> = films
        .map(|uri| {
            // The key goes to the account's own host and nowhere else.
            let is_own = Url::parse(&uri).is_ok_and(|url| account.owns(&url));
            let source = if is_own { ResultSource::File(uri) } else { ResultSource::link(uri) };
            RemoteResult::new(source, ResultKind::Video)
        })
        .collect();
    if !results.is_empty() {
        return Polled::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None });
    }
    let reason = elements(&response["raiMediaFilteredReasons"]).find_map(text);
    if reason.is_some() || whole(&response["raiMediaFilteredCount"]).is_some_and(|count| count > 0) {
        let reason = reason.as_deref().unwrap_or("the film was filtered");
        return Polled::Failed(ProviderFailure::new(FailureClass::Moderation, "rai_media_filtered", reason));
    }
    Polled::Failed(ProviderFailure::no_result())
}

fn task_failure(error: &Value) -> ProviderFailure {
    let code = whole(&error["code"]);
    let class = code.map_or(FailureClass::TaskFailed, class_of_operation);
    let name = code.map_or_else(|| "task_failed".to_owned(), |code| code.to_string());
    let message = text(&error["message"]);
    ProviderFailure::new(class, &name, message.as_deref().unwrap_or("the provider reported an error and no reason"))
}

/// The body of an answer that is no error. An operation that failed has an `error` of its own.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    if response.is_success() {
        return Ok(body);
    }
    let error = &body["error"];
    let class = class_of_call(error).unwrap_or_else(|| class_of_status(response.status));
    let class = call.class(class, response.status, error.is_object());
    let code = text(&error["status"]).unwrap_or_else(|| format!("http_{}", response.status));
    let message = text(&error["message"]).unwrap_or_default();
    Err(ProviderFailure::new(class, &code, &message).after(response.retry_after_seconds()))
}
