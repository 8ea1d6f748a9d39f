//! Answers in OpenAI's dialect.

use serde_json::Value;

use super::errors::class_of_code;
use crate::providers::body::{elements, identifier, link, number, object, object_within, prompt, text};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::frame::Frame;
use crate::providers::outcome::{
    Cancellation, Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage,
};
use crate::providers::protocol::{Known, RemoteTask};
use crate::providers::wire::{MOST_PICTURES_BODY_BYTES, WireResponse};

/// The answer to a create: pictures, or a task for a film.
pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = object_within(MOST_PICTURES_BODY_BYTES, Call::Create, response)?;
    // A task that failed at once has an `error` of its own.
    if response.is_success() && body["status"] == "failed" {
        return Err(task_failure(&body));
    }
    check(Call::Create, response, &body)?;
    if body["data"].is_array() {
        return pictures(&body, response);
    }
    let Some(task) = identifier(&body["id"]) else {
        return Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has neither data nor an id"));
    };
    match body["status"].as_str().unwrap_or_default() {
        "in_progress" | "completed" => Ok(Created::Accepted { task, state: Underway::Running }),
        _ => Ok(Created::Accepted { task, state: Underway::Queued }),
    }
}

fn pictures(body: &Value, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let media_type = body["output_format"].as_str().map(|format| format!("image/{}", format.to_ascii_lowercase()));
    let source = |picture: &Value| match picture["b64_json"].as_str().and_then(ResultSource::inline) {
        Some(ResultSource::Inline { media_type: None, bytes }) => {
            Some(ResultSource::Inline { media_type: media_type.clone(), bytes })
        }
        Some(source) => Some(source),
        None => link(&picture["url"]).map(ResultSource::link),
    };
    let size = match body["size"].as_str().map(str::parse) {
        Some(Ok(Frame::Size(size))) => Some(size),
        _ => None,
    };
    let results: Vec<RemoteResult> = elements(&body["data"])
        .filter_map(source)
        .map(|source| RemoteResult { size, ..RemoteResult::new(source, ResultKind::Picture) })
        .collect();
    if results.is_empty() {
        return Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no picture"));
    }
    let rewritten_prompt = elements(&body["data"]).find_map(|picture| prompt(&picture["revised_prompt"]));
    Ok(Created::Finished(Finished { results, usage: Usage::default(), rewritten_prompt }))
}

pub(super) fn polled(task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = object(Call::Repeatable, response)?;
    // A failed task has an `error` of its own.
    if !response.is_success() || !body["status"].is_string() {
        check(Call::Repeatable, response, &body)?;
    }
    let Some(word) = body["status"].as_str() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no status"));
    };
    let progress_percent = number(&body["progress"]).map(|percent| percent.min(100.0) as u8);
    Ok(match word.to_ascii_lowercase().as_str() {
        "queued" => Polled::Underway { state: Underway::Queued, progress_percent, unknown_word: None },
        "in_progress" => Polled::Underway { state: Underway::Running, progress_percent, unknown_word: None },
        "completed" => finished(task, &body),
        "failed" if body["error"]["code"] == "cancelled" => Polled::Cancelled { is_billed: false },
        "failed" => Polled::Failed(task_failure(&body)),
        "cancelled" | "canceled" => Polled::Cancelled { is_billed: false },
        _ => Polled::unknown(known.state, word),
    })
}

pub(super) fn cancelled(response: &WireResponse<'_>) -> Result<Cancellation, ProviderFailure> {
    if response.is_success() && response.body.is_empty() {
        return Ok(Cancellation::Cancelled);
    }
    let body = object(Call::Repeatable, response)?;
    match check(Call::Repeatable, response, &body) {
        Ok(()) if body["deleted"] == false => Ok(Cancellation::TooLate),
        Ok(()) => Ok(Cancellation::Cancelled),
        // Gone already, or not to be deleted while it runs.
        Err(failure) if failure.class == FailureClass::InvalidRequest => Ok(Cancellation::TooLate),
        Err(failure) => Err(failure),
    }
}

/// The film is behind the task's id, for the account alone.
fn finished(task: &RemoteTask, body: &Value) -> Polled {
    let mut video = RemoteResult::new(ResultSource::File(task.id.clone()), ResultKind::Video);
    video.seconds = number(&body["seconds"]);
    video.size = match body["size"].as_str().map(str::parse) {
        Some(Ok(Frame::Size(size))) => Some(size),
        _ => None,
    };
    let usage = Usage { seconds: video.seconds, pictures: None };
    Polled::Finished(Finished { results: vec![video], usage, rewritten_prompt: None })
}

fn task_failure(body: &Value) -> ProviderFailure {
    let error = &body["error"];
    let code = text(&error["code"]);
    let class = code.as_deref().and_then(class_of_code).unwrap_or(FailureClass::TaskFailed).of_task();
    let message = text(&error["message"]);
    let message = message.as_deref().unwrap_or("the provider reported failed and no reason");
    ProviderFailure::new(class, code.as_deref().unwrap_or("task_failed"), message)
}

/// Fails with the error that an answer carries, or that its status is.
fn check(call: Call, response: &WireResponse<'_>, body: &Value) -> Result<(), ProviderFailure> {
    let error = &body["error"];
    if response.is_success() && error.is_null() {
        return Ok(());
    }
    // The code says more than the type; some services have a text for an error.
    let code = text(&error["code"]);
    let of_type = text(&error["type"]);
    let known = |name: &Option<String>| name.as_deref().and_then(class_of_code);
    // Most types say less than the status.
    let says_more =
        |class: &FailureClass| response.is_success() || matches!(class, FailureClass::Billing | FailureClass::Moderation);
    let class = known(&code).or_else(|| known(&of_type).filter(says_more));
    let class = class.unwrap_or_else(|| class_of_status(response.status));
    let class = call.class(class, response.status, !error.is_null());
    let name = code.or(of_type).unwrap_or_else(|| format!("http_{}", response.status));
    let message = text(&error["message"]).or_else(|| text(error)).unwrap_or_default();
    Err(ProviderFailure::new(class, &name, &message).after(response.retry_after_seconds()))
}
