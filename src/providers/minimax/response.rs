//! MiniMax's answers. The first generation says every error with HTTP 200.

use serde_json::Value;

use super::errors::{class_of_code, code_in};
use crate::providers::body::{identifier, link, number, object, prompt, side, text, whole};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::frame::PixelSize;
use crate::providers::outcome::{
    Cancellation, Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage,
};
use crate::providers::protocol::Known;
use crate::providers::wire::WireResponse;

/// The answer to a create, of both generations.
pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    match identifier(&body["task_id"]) {
        Some(task) => Ok(Created::Accepted { task, state: Underway::Queued }),
        None => Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no task_id")),
    }
}

/// The answer to a poll of the first generation.
pub(super) fn polled(known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = object(Call::Repeatable, response)?;
    let word = body["status"].as_str().unwrap_or_default();
    // A failed task names its reason where a failed call does.
    if response.is_success() && is_failure(word) {
        return Ok(Polled::Failed(task_failure(whole(&body["base_resp"]["status_code"]), &body["base_resp"]["status_msg"])));
    }
    check(Call::Repeatable, response, &body)?;
    if word.is_empty() {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no status"));
    }
    Ok(match underway_or_success(word) {
        Word::Underway(state) => Polled::underway(state),
        Word::Success => finished_file(&body),
        Word::Cancelled => Polled::Cancelled { is_billed: false },
        Word::Unknown => Polled::unknown(known.state, word),
    })
}

/// The answer to a poll of the second generation.
pub(super) fn polled_second(known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let task = &body["task"];
    let Some(word) = task["status"].as_str() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no task.status"));
    };
    if is_failure(word) {
        let error = &task["error"];
        let code = whole(&error["code"]).or_else(|| code_in(error["message"].as_str().unwrap_or_default()));
        return Ok(Polled::Failed(task_failure(code, &error["message"])));
    }
    Ok(match underway_or_success(word) {
        Word::Underway(state) => Polled::underway(state),
        Word::Success => finished_link(task),
        Word::Cancelled => Polled::Cancelled { is_billed: false },
        Word::Unknown => Polled::unknown(known.state, word),
    })
}

/// The answer to the retrieval of a file.
pub(super) fn fetched(result: &RemoteResult, response: &WireResponse<'_>) -> Result<RemoteResult, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    match link(&body["file"]["download_url"]) {
        Some(url) => Ok(RemoteResult { source: ResultSource::link(url), ..result.clone() }),
        None => Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no file.download_url")),
    }
}

/// The answer to a cancellation, which the second generation alone has.
pub(super) fn cancelled(response: &WireResponse<'_>) -> Result<Cancellation, ProviderFailure> {
    match answer(Call::Repeatable, response) {
        Ok(body) => {
            let says = |wanted: &str| {
                [&body["status"], &body["action"]]
                    .iter()
                    .any(|value| value.as_str().is_some_and(|word| word.eq_ignore_ascii_case(wanted)))
            };
            let deleted = says("deleted") || says("delete");
            Ok(if says("cancelled") || says("canceled") || !deleted { Cancellation::Cancelled } else { Cancellation::Removed })
        }
        // What runs cannot be cancelled; which code says so is not documented.
        Err(failure) if failure.class == FailureClass::InvalidRequest => Ok(Cancellation::TooLate),
        Err(failure) => Err(failure),
    }
}

/// A status word. Calls back have other words than polls, and lower case.
enum Word {
    Underway(Underway),
    Success,
    Cancelled,
    Unknown,
}

fn underway_or_success(word: &str) -> Word {
    match word.to_ascii_lowercase().as_str() {
        "preparing" | "queueing" | "queued" => Word::Underway(Underway::Queued),
        "processing" | "running" => Word::Underway(Underway::Running),
        "success" | "succeeded" => Word::Success,
        "cancelled" | "canceled" => Word::Cancelled,
        _ => Word::Unknown,
    }
}

pub(super) fn is_failure(word: &str) -> bool {
    word.eq_ignore_ascii_case("fail") || word.eq_ignore_ascii_case("failed")
}

/// Whether a word says that a task has ended.
pub(super) fn is_end(word: &str) -> bool {
    is_failure(word) || matches!(underway_or_success(word), Word::Success | Word::Cancelled)
}

fn finished_file(body: &Value) -> Polled {
    let Some(file) = identifier(&body["file_id"]) else { return Polled::Failed(ProviderFailure::no_result()) };
    let mut video = RemoteResult::new(ResultSource::File(file), ResultKind::Video);
    video.size = side(&body["video_width"]).zip(side(&body["video_height"])).map(|(width, height)| PixelSize { width, height });
    Polled::Finished(Finished { results: vec![video], usage: Usage::default(), rewritten_prompt: None })
}

fn finished_link(task: &Value) -> Polled {
    let Some(url) = link(&task["content"]["url"]) else { return Polled::Failed(ProviderFailure::no_result()) };
    let mut video = RemoteResult::new(ResultSource::link(url), ResultKind::Video);
    video.seconds = number(&task["duration"]);
    let usage = Usage { seconds: number(&task["usage"]["total_seconds"]), pictures: None };
    Polled::Finished(Finished { results: vec![video], usage, rewritten_prompt: prompt(&task["content"]["prompt"]) })
}

fn task_failure(code: Option<i64>, message: &Value) -> ProviderFailure {
    let code = code.filter(|code| *code != 0);
    let class = code.and_then(class_of_code).unwrap_or(FailureClass::TaskFailed).of_task();
    let name = code.map_or_else(|| "task_failed".to_owned(), |code| code.to_string());
    ProviderFailure::new(class, &name, &text(message).unwrap_or_default())
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    check(call, response, &body)?;
    Ok(body)
}

/// Errors of the first generation stand in `base_resp`, those of the second in `error`.
fn check(call: Call, response: &WireResponse<'_>, body: &Value) -> Result<(), ProviderFailure> {
    let base = &body["base_resp"];
    let error = &body["error"];
    let message = text(&base["status_msg"]).or_else(|| text(&error["message"])).unwrap_or_default();
    let code = whole(&base["status_code"]).or_else(|| error.is_object().then(|| code_in(&message)).flatten());
    let refused = match code {
        Some(code) => code != 0,
        // A code that is there and no number is an error all the same.
        None => error.is_object() || !base["status_code"].is_null(),
    };
    if response.is_success() && !refused {
        return Ok(());
    }
    let code = code.filter(|code| *code != 0);
    let class = code.and_then(class_of_code).unwrap_or_else(|| class_of_status(response.status));
    let class = call.class(class, response.status, refused);
    let name = code.map(|code| code.to_string()).or_else(|| text(&error["type"]));
    let name = name.unwrap_or_else(|| format!("http_{}", response.status));
    Err(ProviderFailure::new(class, &name, &message).after(response.retry_after_seconds()))
}
