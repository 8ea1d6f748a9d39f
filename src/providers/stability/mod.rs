//! Stability: pictures that come with the call.
//!
//! - A create is a form, and must be `multipart/form-data`.
//! - The answer has the picture as base64, one to a call. A picture that was filtered comes with HTTP 200 and the reason beside it.
//! - There are no tasks, so nothing is polled or cancelled.
//!
//! Left out: films (whether that route still runs is not known), pictures from pictures, presets of styles, and everything that edits.

mod errors;
mod models;
mod request;
mod response;

#[cfg(test)]
mod tests;

use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, MOST_PICTURES_BODY_BYTES, Method, WireRequest, WireResponse};
use crate::domain::UnixMs;

/// The usual base URL.
pub const BASE_URL: &str = "https://api.stability.ai";

/// An account at Stability.
#[derive(Clone, Debug)]
pub struct Stability {
    account: Account,
}

impl Stability {
    /// An account.
    pub const fn new(account: Account) -> Self {
        Self { account }
    }
}

impl Provider for Stability {
    fn name(&self) -> &'static str {
        "stability"
    }

    fn models(&self) -> &[Model] {
        &models::MODELS
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 5_000,
            most_pause_ms: 15_000,
            deadline_seconds: 5 * 60,
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
        let url = self.account.url(models::path(model));
        let call = WireRequest::new(Method::Post, url, self.account.bearer())
            .with_header("Accept", "application/json")
            .with_parts(request::parts(model, checked));
        Ok(call.with_most_answer_bytes(MOST_PICTURES_BODY_BYTES))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, _task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        // No task has an id here.
        Err(ProviderFailure::bad_task_id())
    }

    fn read_polled(&self, _task: &RemoteTask, _known: Known, _response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        Err(ProviderFailure::bad_task_id())
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
