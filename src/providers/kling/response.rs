//! Kling's answers.

use serde_json::Value;

use super::errors::class_of_code;
use crate::providers::body::{elements, identifier, link, number, object, text, whole};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::outcome::{Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage};
use crate::providers::protocol::Known;
use crate::providers::wire::WireResponse;

pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    let data = &body["data"];
    let word = data["task_status"].as_str().unwrap_or_default();
    if word.eq_ignore_ascii_case("failed") {
        return Err(task_failure(data));
    }
    let Some(task) = identifier(&data["task_id"]) else {
        return Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no data.task_id"));
    };
    let state = if word.eq_ignore_ascii_case("processing") { Underway::Running } else { Underway::Queued };
    Ok(Created::Accepted { task, state })
}

pub(super) fn polled(known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let data = &body["data"];
    let Some(word) = data["task_status"].as_str() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no data.task_status"));
    };
    Ok(match word.to_ascii_lowercase().as_str() {
        "submitted" => Polled::underway(Underway::Queued),
        "processing" => Polled::underway(Underway::Running),
        "succeed" => finished(data),
        "failed" => Polled::Failed(task_failure(data)),
        _ => Polled::unknown(known.state, word),
    })
}

fn finished(data: &Value) -> Polled {
    let videos = elements(&data["task_result"]["videos"]).filter_map(|video| {
        let mut result = RemoteResult::new(ResultSource::link(link(&video["url"])?), ResultKind::Video);
        result.seconds = number(&video["duration"]);
        Some(result)
    });
    let results: Vec<RemoteResult> = videos.collect();
    if results.is_empty() {
        return Polled::Failed(ProviderFailure::no_result());
    }
    Polled::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None })
}

/// Why a task failed is said in words alone.
fn task_failure(data: &Value) -> ProviderFailure {
    let message = text(&data["task_status_msg"]);
    let message = message.as_deref().unwrap_or("the provider reported failed and no reason");
    ProviderFailure::new(FailureClass::TaskFailed, "task_failed", message)
}

/// The body of an answer that is no error: neither by its status, nor by a code beside a 200.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    let code = whole(&body["code"]);
    let refused = match code {
        Some(code) => code != 0,
        // A code that is there and no number is an error all the same.
        None => !body["code"].is_null(),
    };
    if response.is_success() && !refused {
        return Ok(body);
    }
    let code = code.filter(|code| *code != 0);
    let class = code.and_then(class_of_code).unwrap_or_else(|| class_of_status(response.status));
    let class = call.class(class, response.status, refused);
    let name = code.map_or_else(|| format!("http_{}", response.status), |code| code.to_string());
    let message = text(&body["message"]).unwrap_or_default();
    Err(ProviderFailure::new(class, &name, &message).after(response.retry_after_seconds()))
}
