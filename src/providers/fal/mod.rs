//! fal: anybody's models behind one queue.
//!
//! - There is no list of models: the operator describes those that are used.
//! - A create answers with the addresses of its task; they are used as they are, since they cannot be built from the model's name. The key
//!   goes to them only where they are on the account's own host.
//! - A task that is said to be completed may have failed: the status may carry an error, and so may the answer that has the results.
//! - The key stands behind the word `Key`.
//!
//! Left out: the signature of calls to us, which say no more than which task to poll; logs; the headers for priority, for the time to
//! start, and for how long files are kept. A task can be cancelled in the queue and, if the model looks for it, while it runs.

mod errors;
mod response;
mod task;

#[cfg(test)]
pub(super) mod tests;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use self::task::{Address, Addresses};
use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::described::{Described, DescribedModel, DescriptionError};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled, RemoteResult, ResultSource};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, Method, WireRequest, WireResponse};
use crate::domain::UnixMs;

/// The usual base URL.
pub const BASE_URL: &str = "https://queue.fal.run";

/// An account at fal.
#[derive(Clone, Debug)]
pub struct Fal {
    account: Account,
    described: Described,
}

impl Fal {
    /// An account, with the models that are used. Fails with [`DescriptionError`].
    pub fn new(account: Account, models: Vec<DescribedModel>) -> Result<Self, DescriptionError> {
        // Two parts at least, and none that means a step up.
        let has_form = |name: &str| name.contains('/') && name.split('/').count() <= 8 && name.split('/').all(is_identifier);
        let described = Described::new(models, has_form, "owner/name, with more behind slashes where it has more")?;
        Ok(Self { account, described })
    }

    fn call(&self, method: Method, url: Url) -> WireRequest {
        let authorization = SecretString::from(format!("Key {}", self.account.key().expose_secret()));
        WireRequest::new(method, url, authorization)
    }

    /// A call to an address of a task, where that is one of the account's host.
    fn call_to(&self, method: Method, id: &str, address: Address) -> Option<WireRequest> {
        let addresses = Addresses::read(id, &self.account)?;
        Some(self.call(method, addresses.url(address)))
    }
}

impl Provider for Fal {
    fn name(&self) -> &'static str {
        "fal"
    }

    fn models(&self) -> &[Model] {
        self.described.models()
    }

    fn task_name<'a>(&self, id: &'a str) -> &'a str {
        Addresses::request_of(id)
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
        let Some(details) = self.described.of(model) else {
            return Err(RequestRefusal::new("model", model, self.name(), "a model that is described"));
        };
        let input = details.inputs.write(model, checked)?;
        let mut url = self.account.url(&format!("/{model}"));
        if let Some(callback) = &options.callback_url {
            url.query_pairs_mut().append_pair("fal_webhook", callback);
        }
        Ok(self.call(Method::Post, url).with_body(Value::from(input)))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(&self.account, response)
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        self.call_to(Method::Get, &task.id, Address::Status).ok_or_else(ProviderFailure::bad_task_id)
    }

    fn read_polled(&self, task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        if Addresses::read(&task.id, &self.account).is_none() {
            return Err(ProviderFailure::bad_task_id());
        }
        response::polled(self.described.of(&task.model), task, known, response)
    }

    fn fetch(&self, result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        let ResultSource::File(file) = &result.source else { return None };
        let (_, id) = file.split_once(' ')?;
        self.call_to(Method::Get, id, Address::Response)
    }

    fn read_fetched(&self, result: &RemoteResult, response: &WireResponse<'_>) -> Result<Vec<RemoteResult>, ProviderFailure> {
        let model = match &result.source {
            ResultSource::File(file) => file.split(' ').next().unwrap_or_default(),
            _ => "",
        };
        response::fetched(self.described.of(model), response)
    }

    fn cancel(&self, task: &RemoteTask, _known: Known, _now: UnixMs) -> Option<WireRequest> {
        self.call_to(Method::Put, &task.id, Address::Cancel)
    }

    fn read_cancelled(
        &self,
        _task: &RemoteTask,
        known: Known,
        response: &WireResponse<'_>,
    ) -> Result<Cancellation, ProviderFailure> {
        response::cancelled(known, response)
    }
}
