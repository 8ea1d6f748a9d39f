//! Google's Veo behind the Gemini API.
//!
//! - The key stands in a header of its own.
//! - A task is an operation, whose name is a path.
//! - Pictures are sent as they are: links are not taken.
//! - A film that the service's own host has is for the account alone, and may be sent on to another host, which must not see the key. One
//!   that another host has is fetched without it.
//! - A task that is done may have no film, since moderation took it away.
//!
//! Left out: pictures of what appears, films to go on with, who may be seen, and the number of films. Nothing can be cancelled.

mod errors;
mod models;
mod request;
mod response;

#[cfg(test)]
mod tests;

use url::Url;

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled, RemoteResult, ResultSource};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, Method, WireRequest, WireResponse};
use crate::domain::UnixMs;

/// The usual base URL.
pub const BASE_URL: &str = "https://generativelanguage.googleapis.com/v1beta";

/// Most parts of an operation's name: `models/{model}/operations/{id}` has four.
const MOST_NAME_PARTS: usize = 8;

/// An account at Google.
#[derive(Clone, Debug)]
pub struct Veo {
    account: Account,
}

impl Veo {
    /// An account.
    pub const fn new(account: Account) -> Self {
        Self { account }
    }

    fn call(&self, method: Method, url: Url) -> WireRequest {
        WireRequest::unsigned(method, url).with_secret_header("x-goog-api-key", self.account.key().clone())
    }
}

/// Whether a text is an operation's name, so a path that leads nowhere else.
fn is_operation(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    parts.len() >= 2 && parts.len() <= MOST_NAME_PARTS && parts.contains(&"operations") && parts.into_iter().all(is_identifier)
}

impl Provider for Veo {
    fn name(&self) -> &'static str {
        "veo"
    }

    fn models(&self) -> &[Model] {
        &models::MODELS
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 10_000,
            most_pause_ms: 15_000,
            deadline_seconds: 20 * 60,
            link_seconds: 60 * 60,
            cancels_queued: false,
            knows_our_id: false,
        }
    }

    fn write_create(
        &self,
        model: &str,
        checked: &Validated<'_>,
        _options: &CreateOptions,
        _now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        let url = self.account.url(&format!("/models/{model}:predictLongRunning"));
        Ok(self.call(Method::Post, url).with_body(request::body(checked)))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        if !is_operation(&task.id) {
            return Err(ProviderFailure::bad_task_id());
        }
        Ok(self.call(Method::Get, self.account.url(&format!("/{}", task.id))))
    }

    fn read_polled(&self, _task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(&self.account, known, response)
    }

    fn download(&self, result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        let ResultSource::File(address) = &result.source else { return None };
        let url = Url::parse(address).ok().filter(|url| self.account.owns(url))?;
        Some(self.call(Method::Get, url))
    }

    fn cancel(&self, _task: &RemoteTask, _known: Known, _now: UnixMs) -> Option<WireRequest> {
        None
    }

    fn read_cancelled(
        &self,
        _task: &RemoteTask,
        _known: Known,
        _response: &WireResponse<'_>,
    ) -> Result<Cancellation, ProviderFailure> {
        Ok(Cancellation::TooLate)
    }
}
