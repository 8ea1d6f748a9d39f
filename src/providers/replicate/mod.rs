//! Replicate: anybody's models, each with inputs of its own.
//!
//! - There is no list of models: the operator describes those that are used.
//! - A model is called `owner/name`, with its version behind a colon where it has one; that decides the route.
//! - A prediction can be cancelled while it waits and while it runs; what had begun is billed all the same. What it made is gone after an
//!   hour.
//!
//! Left out: waiting for the result within the create, streams of events, deployments, trainings, and the signature of calls to us, which
//! say no more than which prediction to poll. Codes of failures within models are the models' own.

mod request;
mod response;

#[cfg(test)]
pub(super) mod tests;

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::described::{Described, DescribedModel, DescriptionError};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, Method, WireRequest, WireResponse};
use crate::domain::UnixMs;

/// The usual base URL.
pub const BASE_URL: &str = "https://api.replicate.com/v1";

/// An account at Replicate.
#[derive(Clone, Debug)]
pub struct Replicate {
    account: Account,
    described: Described,
}

impl Replicate {
    /// An account, with the models that are used. Fails with [`DescriptionError`].
    pub fn new(account: Account, models: Vec<DescribedModel>) -> Result<Self, DescriptionError> {
        let has_form = |name: &str| request::Target::of(name).is_some();
        let described = Described::new(models, has_form, "owner/name, owner/name:version or the version alone")?;
        Ok(Self { account, described })
    }

    fn call(&self, method: Method, path: &str) -> WireRequest {
        WireRequest::new(method, self.account.url(path), self.account.bearer())
    }
}

impl Provider for Replicate {
    fn name(&self) -> &'static str {
        "replicate"
    }

    fn models(&self) -> &[Model] {
        self.described.models()
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 2_000,
            most_pause_ms: 6_000,
            deadline_seconds: 20 * 60,
            link_seconds: 60 * 60,
            cancels_queued: true,
            knows_our_id: false,
        }
    }

    fn write_create(
        &self,
        model: &str,
        checked: &Validated<'_>,
        options: &CreateOptions,
        _now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        let (Some(target), Some(details)) = (request::Target::of(model), self.described.of(model)) else {
            return Err(RequestRefusal::new("model", model, self.name(), "a model that is described"));
        };
        let input = details.inputs.write(model, checked)?;
        Ok(self.call(Method::Post, &target.path()).with_body(target.body(input, options)))
    }

    fn read_created(&self, model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(self.described.of(model), response)
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        task.check_id()?;
        Ok(self.call(Method::Get, &format!("/predictions/{}", task.id)))
    }

    fn read_polled(&self, task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(self.described.of(&task.model), known, response)
    }

    fn cancel(&self, task: &RemoteTask, _known: Known, _now: UnixMs) -> Option<WireRequest> {
        is_identifier(&task.id).then(|| self.call(Method::Post, &format!("/predictions/{}/cancel", task.id)))
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
