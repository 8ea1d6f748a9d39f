//! Replicate's answers: a prediction, whatever the call was.

use serde_json::Value;

use crate::providers::body::{identifier, object, text, whole};
use crate::providers::described::Details;
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::outcome::{Cancellation, Created, Finished, Polled, Underway, Usage};
use crate::providers::protocol::Known;
use crate::providers::wire::WireResponse;

/// The longest pause that is believed.
const MOST_PAUSE_SECONDS: u32 = 3600;

pub(super) fn created(details: Option<&Details>, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    let Some(task) = identifier(&body["id"]) else {
        return Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no id"));
    };
    // What ended while the create was answered is polled like the rest.
    let state = if body["status"] == "starting" { Underway::Queued } else { Underway::Running };
    match prediction(details, Known { state, polls: 0 }, &body) {
        Some(Polled::Failed(failure)) => Err(failure),
        _ => Ok(Created::Accepted { task, state }),
    }
}

pub(super) fn polled(details: Option<&Details>, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    prediction(details, known, &body)
        .ok_or_else(|| ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no status"))
}

pub(super) fn cancelled(response: &WireResponse<'_>) -> Result<Cancellation, ProviderFailure> {
    match answer(Call::Repeatable, response) {
        Ok(body) if body["status"] == "succeeded" || body["status"] == "failed" => Ok(Cancellation::TooLate),
        // What had begun is billed, though it was stopped.
        Ok(body) if text(&body["started_at"]).is_some() => Ok(Cancellation::TooLate),
        Ok(_) => Ok(Cancellation::Cancelled),
        Err(failure) if failure.class == FailureClass::InvalidRequest => Ok(Cancellation::TooLate),
        Err(failure) => Err(failure),
    }
}

/// How far a prediction is; none where it does not say.
fn prediction(details: Option<&Details>, known: Known, body: &Value) -> Option<Polled> {
    let word = body["status"].as_str()?;
    Some(match word.to_ascii_lowercase().as_str() {
        "starting" => Polled::underway(Underway::Queued),
        "processing" => Polled::underway(Underway::Running),
        "succeeded" => {
            let results = details.map_or_else(Vec::new, |details| details.results(&body["output"], &[""]));
            if results.is_empty() {
                Polled::Failed(ProviderFailure::no_result())
            } else {
                Polled::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None })
            }
        }
        "failed" => {
            let message = text(&body["error"]);
            let message = message.as_deref().unwrap_or("the provider reported failed and no reason");
            Polled::Failed(ProviderFailure::new(FailureClass::TaskFailed, "task_failed", message))
        }
        "canceled" | "cancelled" | "aborted" => Polled::Cancelled { is_billed: text(&body["started_at"]).is_some() },
        _ => Polled::unknown(known.state, word),
    })
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    if response.is_success() {
        return Ok(body);
    }
    let message = text(&body["detail"]).or_else(|| text(&body["title"]));
    let class = call.class(class_of_status(response.status), response.status, message.is_some());
    let code = format!("http_{}", response.status);
    // Of too many calls the body says how long to wait, and not every answer has the header.
    let told = whole(&body["retry_after"]).and_then(|seconds| u32::try_from(seconds).ok());
    let pause = response.retry_after_seconds().or(told.map(|seconds| seconds.min(MOST_PAUSE_SECONDS)));
    Err(ProviderFailure::new(class, &code, &message.unwrap_or_default()).after(pause))
}
