//! Zhipu's answers.

use serde_json::Value;

use super::errors::{class_of, class_of_code};
use crate::providers::body::{elements, identifier, link, object, text};
use crate::providers::failure::{Call, FailureClass, ProviderFailure};
use crate::providers::outcome::{Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage};
use crate::providers::protocol::Known;
use crate::providers::wire::WireResponse;

/// The answer to the create of a task.
pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    if body["task_status"].as_str().is_some_and(|status| status.eq_ignore_ascii_case("FAIL")) {
        return Err(task_failure(&body));
    }
    // `request_id` stands beside it, and cannot be polled with.
    match identifier(&body["id"]) {
        // Waiting and running have one word here; until the first poll the task counts as waiting.
        Some(task) => Ok(Created::Accepted { task, state: Underway::Queued }),
        None => Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no id")),
    }
}

/// The answer to the create of a picture that comes with the call.
pub(super) fn created_image(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    let results: Vec<RemoteResult> = results(&body["data"], ResultKind::Picture);
    if results.is_empty() {
        return Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no picture"));
    }
    Ok(Created::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None }))
}

pub(super) fn polled(known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let Some(word) = body["task_status"].as_str() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no task_status"));
    };
    Ok(match word.to_ascii_uppercase().as_str() {
        "SUBMITTED" => Polled::underway(Underway::Queued),
        "PROCESSING" => Polled::underway(Underway::Running),
        "SUCCESS" => finished(&body),
        "FAIL" => Polled::Failed(task_failure(&body)),
        _ => Polled::unknown(known.state, word),
    })
}

fn finished(body: &Value) -> Polled {
    let mut all = results(&body["video_result"], ResultKind::Video);
    all.extend(results(&body["image_result"], ResultKind::Picture));
    if all.is_empty() {
        return Polled::Failed(ProviderFailure::no_result());
    }
    Polled::Finished(Finished { results: all, usage: Usage::default(), rewritten_prompt: None })
}

fn results(list: &Value, kind: ResultKind) -> Vec<RemoteResult> {
    let links = elements(list).filter_map(|result| link(&result["url"]));
    links.map(|url| RemoteResult::new(ResultSource::link(url), kind)).collect()
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    let error = &body["error"];
    let failed = body["task_status"].as_str().is_some_and(|status| status.eq_ignore_ascii_case("FAIL"));
    // A failed task may carry an error of the same shape; that is the task's, not the call's.
    if response.is_success() && (failed || !error.is_object()) {
        return Ok(body);
    }
    let code = text(&error["code"]);
    let class = code.as_deref().and_then(class_of_code).unwrap_or_else(|| class_of(response.status));
    let class = call.class(class, response.status, code.is_some());
    let code = code.unwrap_or_else(|| format!("http_{}", response.status));
    let message = text(&error["message"]).or_else(|| text(&body["message"])).unwrap_or_default();
    Err(ProviderFailure::new(class, &code, &message).after(response.retry_after_seconds()))
}

/// What a failed task says is not documented: the first of what clients have seen.
fn task_failure(body: &Value) -> ProviderFailure {
    let error = &body["error"];
    let code = text(&error["code"]).or_else(|| text(&body["code"])).unwrap_or_else(|| "task_failed".to_owned());
    let message = text(&error["message"]).or_else(|| text(&body["message"]));
    let class = class_of_code(&code).unwrap_or(FailureClass::TaskFailed).of_task();
    ProviderFailure::new(class, &code, message.as_deref().unwrap_or("the provider reported FAIL and no reason"))
}
