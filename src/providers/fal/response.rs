//! fal's answers.

use serde_json::Value;

use super::errors::Error;
use super::task::Addresses;
use crate::providers::body::{object, text};
use crate::providers::described::Details;
use crate::providers::failure::{Call, FailureClass, ProviderFailure};
use crate::providers::outcome::{
    Cancellation, Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage,
};
use crate::providers::protocol::{Known, RemoteTask};
use crate::providers::wire::{Account, WireResponse};

/// Where results usually are.
const USUAL_RESULTS: &[&str] = &["/video", "/images"];

pub(super) fn created(account: &Account, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    match Addresses::of(&body, account) {
        Some(addresses) => Ok(Created::Accepted { task: addresses.id(), state: Underway::Queued }),
        None => Err(ProviderFailure::unreadable(
            Call::Create,
            response.status,
            "the answer has no request_id, or no addresses on the host of base_url",
        )),
    }
}

pub(super) fn polled(
    details: Option<&Details>,
    task: &RemoteTask,
    known: Known,
    response: &WireResponse<'_>,
) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let Some(word) = body["status"].as_str() else {
        return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no status"));
    };
    Ok(match word.to_ascii_uppercase().as_str() {
        "IN_QUEUE" => Polled::underway(Underway::Queued),
        "IN_PROGRESS" => Polled::underway(Underway::Running),
        "COMPLETED" if text(&body["error"]).is_some() || text(&body["error_type"]).is_some() => {
            let error = Error::of(&body, response);
            let class = error.code.as_ref().map_or(FailureClass::TaskFailed, |_| error.class(500)).of_task();
            Polled::Failed(ProviderFailure::new(class, error.code.as_deref().unwrap_or("task_failed"), &error.message))
        }
        "COMPLETED" => {
            // The results are one more call away. Names of models have no spaces.
            let file = ResultSource::File(format!("{} {}", task.model, task.id));
            let kind = details.map_or(ResultKind::Video, |details| details.kind);
            let results = vec![RemoteResult::new(file, kind)];
            Polled::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None })
        }
        _ => Polled::unknown(known.state, word),
    })
}

/// The results, or the error that the completed task turns out to have.
pub(super) fn fetched(details: Option<&Details>, response: &WireResponse<'_>) -> Result<Vec<RemoteResult>, ProviderFailure> {
    let body = object(Call::Repeatable, response)?;
    if !response.is_success() {
        let error = Error::of(&body, response);
        let class = error.class(response.status);
        let class = if error.is_the_tasks() { class.of_task() } else { class };
        return Err(failure(class, &error, response));
    }
    let results = details.map_or_else(Vec::new, |details| details.results(&body, USUAL_RESULTS));
    if results.is_empty() { Err(ProviderFailure::no_result()) } else { Ok(results) }
}

pub(super) fn cancelled(known: Known, response: &WireResponse<'_>) -> Result<Cancellation, ProviderFailure> {
    match response.status {
        // Only requested: whether a model that works already looks for it, nobody says.
        200..300 if known.state == Underway::Running => Ok(Cancellation::TooLate),
        200..300 => Ok(Cancellation::Cancelled),
        // It has ended already, or is known no more.
        400 | 404 => Ok(Cancellation::TooLate),
        _ => match answer(Call::Repeatable, response) {
            Err(failure) => Err(failure),
            Ok(_) => {
                Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer is neither success nor error"))
            }
        },
    }
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    let body = object(call, response)?;
    if response.is_success() {
        return Ok(body);
    }
    let error = Error::of(&body, response);
    let said = error.code.is_some() || !error.message.is_empty();
    Err(failure(call.class(error.class(response.status), response.status, said), &error, response))
}

fn failure(class: FailureClass, error: &Error, response: &WireResponse<'_>) -> ProviderFailure {
    let code = error.code.clone().unwrap_or_else(|| format!("http_{}", response.status));
    ProviderFailure::new(class, &code, &error.message).after(response.retry_after_seconds())
}
