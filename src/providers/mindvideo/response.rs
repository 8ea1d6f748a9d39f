//! MindVideo's answers, as far as they are known.

use serde_json::Value;

use crate::providers::body::{coded_object, elements, identifier, link, number, text};
use crate::providers::failure::{Call, FailureClass, ProviderFailure};
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
    // What has not begun says no more than that it waits.
    let percent = percent.filter(|percent| *percent > 0);
    let state = if percent.is_none() { Underway::Queued } else { Underway::Running };
    Ok(Polled::Underway { state, progress_percent: percent, unknown_word: None })
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    coded_object(call, response, 0, "message")
}
