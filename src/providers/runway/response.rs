//! Runway's answers.

use serde_json::Value;

use super::errors::{class_of_answer, class_of_code, shown};
use crate::providers::body::{elements, identifier, link, number, object, text};
use crate::providers::failure::{Call, FailureClass, ProviderFailure};
use crate::providers::outcome::{
    Cancellation, Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage,
};
use crate::providers::protocol::Known;
use crate::providers::wire::WireResponse;

pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    match identifier(&body["id"]) {
        Some(task) => Ok(Created::Accepted { task, state: Underway::Queued }),
        None => Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no id")),
    }
}

pub(super) fn polled(known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let Some(word) = body["status"].as_str() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no status"));
    };
    Ok(match word.to_ascii_uppercase().as_str() {
        // Throttled tasks wait for others of the account.
        "PENDING" | "THROTTLED" => Polled::underway(Underway::Queued),
        "RUNNING" => {
            Polled::Underway { state: Underway::Running, progress_percent: progress(&body["progress"]), unknown_word: None }
        }
        "SUCCEEDED" => finished(&body),
        "FAILED" => Polled::Failed(task_failure(&body)),
        "CANCELLED" | "CANCELED" => Polled::Cancelled { is_billed: false },
        _ => Polled::unknown(known.state, word),
    })
}

/// The answer to a cancellation, which has no body.
pub(super) fn cancelled(response: &WireResponse<'_>) -> Result<Cancellation, ProviderFailure> {
    match response.status {
        200..300 => Ok(Cancellation::Cancelled),
        // It was cancelled or removed before.
        404 => Ok(Cancellation::TooLate),
        _ => match answer(Call::Repeatable, response) {
            Err(failure) => Err(failure),
            Ok(_) => {
                Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer is neither success nor error"))
            }
        },
    }
}

/// From 0 to 1, as percent.
fn progress(value: &Value) -> Option<u8> {
    number(value).map(|part| (part * 100.0).min(100.0) as u8)
}

fn finished(body: &Value) -> Polled {
    let links = elements(&body["output"]).filter_map(link);
    let results: Vec<RemoteResult> = links.map(|url| RemoteResult::new(ResultSource::link(url), ResultKind::Video)).collect();
    if results.is_empty() {
        return Polled::Failed(ProviderFailure::no_result());
    }
    Polled::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None })
}

fn task_failure(body: &Value) -> ProviderFailure {
    let code = text(&body["failureCode"]);
    let class = code.as_deref().map_or(FailureClass::TaskFailed, class_of_code);
    let message = text(&body["failure"]);
    let message = message.as_deref().unwrap_or("the provider reported FAILED and no reason");
    ProviderFailure::new(class, code.as_deref().map_or("task_failed", shown), message)
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    if response.is_success() {
        return Ok(body);
    }
    let error = text(&body["error"]);
    let class = call.class(class_of_answer(response.status, error.as_deref()), response.status, error.is_some());
    let code = format!("http_{}", response.status);
    Err(ProviderFailure::new(class, &code, &error.unwrap_or_default()).after(response.retry_after_seconds()))
}
