//! vidsme's answers, as far as they are known.

use serde_json::Value;
use url::Url;

use crate::providers::body::{identifier, link, object, text, whole};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
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
    if response.is_page() {
        return Err(ProviderFailure::blocked(call, response.status));
    }
    let body = object(call, response)?;
    let code = whole(&body["code"]);
    if response.is_success() && code == Some(200) {
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
    Err(ProviderFailure::new(class, &name, &text(&body["msg"]).unwrap_or_default()).after(response.retry_after_seconds()))
}
