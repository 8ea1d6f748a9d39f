//! Runway: films from prompts and pictures, by models of its own and of others.
//!
//! - A call names the version of the API that it speaks.
//! - A size is two numbers with a colon between, though it is written in a field called `ratio`.
//! - A task can be cancelled while it waits and while it runs. Of one that has ended, the same call would remove the films.
//! - Links live a day and can be asked for anew by another poll.
//!
//! Left out: models that take references, sound or films as inputs, uploads, and the thresholds of moderation.

mod errors;
mod models;
mod request;
mod response;

#[cfg(test)]
mod tests;

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::request::GenerationKind;
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, Method, WireRequest, WireResponse};
use crate::domain::UnixMs;

/// The usual base URL.
pub const BASE_URL: &str = "https://api.dev.runwayml.com/v1";
/// The version of the API that is spoken here.
const VERSION: &str = "2024-11-06";

/// An account at Runway.
#[derive(Clone, Debug)]
pub struct Runway {
    account: Account,
}

impl Runway {
    /// An account.
    pub const fn new(account: Account) -> Self {
        Self { account }
    }

    fn call(&self, method: Method, path: &str) -> WireRequest {
        WireRequest::new(method, self.account.url(path), self.account.bearer()).with_header("X-Runway-Version", VERSION)
    }
}

impl Provider for Runway {
    fn name(&self) -> &'static str {
        "runway"
    }

    fn models(&self) -> &[Model] {
        &models::MODELS
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            // Less than five seconds is too often here.
            first_pause_ms: 5_000,
            most_pause_ms: 8_000,
            deadline_seconds: 20 * 60,
            link_seconds: 24 * 60 * 60,
            cancels_queued: true,
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
        let path = match checked.request.kind {
            GenerationKind::TextToVideo => "/text_to_video",
            _ => "/image_to_video",
        };
        Ok(self.call(Method::Post, path).with_body(request::body(model, checked)?))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        task.check_id()?;
        Ok(self.call(Method::Get, &format!("/tasks/{}", task.id)))
    }

    fn read_polled(&self, _task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(known, response)
    }

    fn cancel(&self, task: &RemoteTask, _known: Known, _now: UnixMs) -> Option<WireRequest> {
        is_identifier(&task.id).then(|| self.call(Method::Delete, &format!("/tasks/{}", task.id)))
    }

    fn read_cancelled(
        &self,
        _task: &RemoteTask,
        _known: Known,
        response: &WireResponse<'_>,
    ) -> Result<Cancellation, ProviderFailure> {
        response::cancelled(response)
    }
}
