//! vidsme's answers, as far as they are known.

use serde_json::Value;
use url::Url;

use crate::providers::body::{coded_object, identifier, link};
use crate::providers::failure::{Call, ProviderFailure};
use crate::providers::outcome::{Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage};
use crate::providers::wire::WireResponse;

pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = answer(Call::Create, response)?;
    match identifier(&body["data"]["job_id"]) {
        Some(task) => Ok(Created::Accepted { task, state: Underway::Queued }),
        None => Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no data.job_id")),
    }
}

/// No state is known but that there is a picture: until then the task runs.
pub(super) fn polled(pictures_url: &Url, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
    let body = answer(Call::Repeatable, response)?;
    let Some(path) = body["data"]["generate_url"].as_str().filter(|path| !path.is_empty()) else {
        return Ok(Polled::underway(Underway::Running));
    };
    // What stands there is a path, whatever it looks like: the host is the one that is configured.
    let joined = format!("{pictures_url}{}", path.trim_start_matches('/'));
    let Some(url) = link(&Value::from(joined)) else { return Ok(Polled::Failed(ProviderFailure::no_result())) };
    let results = vec![RemoteResult::new(ResultSource::link(url), ResultKind::Picture)];
    Ok(Polled::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None }))
}

/// The body of an answer that is no error.
fn answer(call: Call, response: &WireResponse<'_>) -> Result<Value, ProviderFailure> {
    coded_object(call, response, 200, "msg")
}
