//! DashScope's answers. Failed tasks come with HTTP 200, code and message inside `output`.

use serde_json::Value;

use super::errors::class_of_code;
use crate::providers::body::{elements, identifier, link, number, object, prompt, text, whole};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::frame::{Frame, PixelSize};
use crate::providers::outcome::{
    Cancellation, Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage,
};
use crate::providers::protocol::Known;
use crate::providers::wire::WireResponse;

/// Polls after a create during which a task may still be unknown.
const UNKNOWN_POLLS: u32 = 2;

pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    let output = &body["output"];
    let status = output["task_status"].as_str().unwrap_or_default();
    if status.eq_ignore_ascii_case("FAILED") {
        return Err(task_failure(output));
    }
    let Some(task) = identifier(&output["task_id"]) else {
        return Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no task_id"));
    };
    let state = if status.eq_ignore_ascii_case("RUNNING") { Underway::Running } else { Underway::Queued };
    Ok(Created::Accepted { task, state })
}

pub(super) fn polled(known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let output = &body["output"];
    let Some(word) = output["task_status"].as_str() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no task_status"));
    };
    Ok(match word.to_ascii_uppercase().as_str() {
        "PENDING" | "SUSPENDED" => Polled::underway(Underway::Queued),
        "RUNNING" => Polled::underway(Underway::Running),
        "SUCCEEDED" => finished(&body),
        "FAILED" => Polled::Failed(task_failure(output)),
        "CANCELED" | "CANCELLED" => Polled::Cancelled { is_billed: false },
        // A task that was just made may not have come round yet.
        "UNKNOWN" if known.state == Underway::Queued && known.polls < UNKNOWN_POLLS => Polled::underway(known.state),
        "UNKNOWN" => Polled::Failed(ProviderFailure::new(
            FailureClass::TaskFailed,
            "task_expired_or_unknown",
            "the provider knows the task no more; it keeps them 24 hours",
        )),
        _ => Polled::unknown(known.state, word),
    })
}

pub(super) fn cancelled(response: &WireResponse<'_>) -> Result<Cancellation, ProviderFailure> {
    match answer(Call::Repeatable, response) {
        Ok(_) => Ok(Cancellation::Cancelled),
        Err(failure) if failure.code == "UnsupportedOperation" => Ok(Cancellation::TooLate),
        Err(failure) => Err(failure),
    }
}

/// The body of an answer that is no error: neither by its status, nor by a code beside a 200.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    let code = text(&body["code"]);
    if response.is_success() && code.is_none() {
        return Ok(body);
    }
    let class = code.as_deref().and_then(class_of_code).unwrap_or_else(|| class_of_status(response.status));
    let class = call.class(class, response.status, code.is_some());
    let code = code.unwrap_or_else(|| format!("http_{}", response.status));
    let message = text(&body["message"]).unwrap_or_default();
    Err(ProviderFailure::new(class, &code, &message).after(response.retry_after_seconds()))
}

/// Why a task, or one picture of it, failed.
fn task_failure(output: &Value) -> ProviderFailure {
    let code = text(&output["code"]).unwrap_or_else(|| "task_failed".to_owned());
    let class = class_of_code(&code).unwrap_or(FailureClass::TaskFailed).of_task();
    ProviderFailure::new(class, &code, &text(&output["message"]).unwrap_or_default())
}

fn finished(body: &Value) -> Polled {
    let (output, usage) = (&body["output"], &body["usage"]);
    let seconds = ["output_video_duration", "duration", "video_duration"].iter().find_map(|field| number(&usage[*field]));
    let mut results = Vec::new();
    if let Some(url) = link(&output["video_url"]) {
        let mut video = RemoteResult::new(ResultSource::link(url), ResultKind::Video);
        video.seconds = seconds;
        video.size = pixels(&usage["size"]).or_else(|| pixels(&usage["video_ratio"]));
        results.push(video);
    }
    // The task succeeded when one of its pictures did; the others have a code and no link.
    let links = elements(&output["results"]).filter_map(|result| link(&result["url"]));
    results.extend(links.map(|url| RemoteResult::new(ResultSource::link(url), ResultKind::Picture)));
    if results.is_empty() {
        let failed = elements(&output["results"]).find(|result| text(&result["code"]).is_some());
        return Polled::Failed(failed.map_or_else(ProviderFailure::no_result, task_failure));
    }
    let pictures = whole(&usage["image_count"]).and_then(|count| u32::try_from(count).ok());
    let rewritten = prompt(&output["actual_prompt"]);
    let rewritten_prompt = rewritten.or_else(|| elements(&output["results"]).find_map(|result| prompt(&result["actual_prompt"])));
    Polled::Finished(Finished { results, usage: Usage { seconds, pictures }, rewritten_prompt })
}

/// `832*480`; other words stand there too (`standard`).
fn pixels(value: &Value) -> Option<PixelSize> {
    match value.as_str()?.parse() {
        Ok(Frame::Size(size)) => Some(size),
        _ => None,
    }
}
