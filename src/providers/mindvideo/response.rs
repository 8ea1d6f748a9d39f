//! MindVideo's answers, as far as they are known.

use serde_json::Value;

use crate::providers::body::{elements, identifier, link, number, object, text, whole};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::outcome::{Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage};
use crate::providers::wire::WireResponse;

pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    match identifier(&body["data"]["id"]) {
        Some(task) => Ok(Created::Accepted { task, state: Underway::Queued }),
        None => Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no data.id")),
    }
}

pub(super) fn polled(response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let Some(task) = elements(&body["data"]).next() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer does not speak of the task"));
    };
    let word = task["task_status"].as_str().unwrap_or_default();
    if word == "failed" {
        let why = text(&task["task_remark"]).unwrap_or_default();
        return Ok(Polled::Failed(ProviderFailure::new(FailureClass::TaskFailed, "task_failed", &why)));
    }
    let percent = number(&task["task_progress"]).map(|percent| percent.min(100.0) as u8);
    let results: Vec<RemoteResult> = elements(&task["results"])
        .filter_map(|result| link(&result["result_url"]))
        .map(|url| RemoteResult::new(ResultSource::link(url), ResultKind::Video))
        .collect();
    if !results.is_empty() && (word == "completed" || percent == Some(100)) {
        return Ok(Polled::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None }));
    }
    // Other words are not known: whatever they are, the task has not ended.
    let state = if percent.unwrap_or(0) == 0 { Underway::Queued } else { Underway::Running };
    Ok(Polled::Underway { state, progress_percent: percent, unknown_word: None })
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    if response.is_page() {
        return Err(ProviderFailure::blocked(call, response.status));
    }
    let body = object(call, response)?;
    let code = whole(&body["code"]);
    if response.is_success() && code == Some(0) {
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
    Err(ProviderFailure::new(class, &name, &text(&body["message"]).unwrap_or_default()).after(response.retry_after_seconds()))
}
