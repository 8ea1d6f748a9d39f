//! The one contract of all providers: create → read created → poll → read polled → fetch → cancel.

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled, RemoteResult, Underway};
use super::request::{GenerationKind, GenerationRequest};
use super::validate::{RequestRefusal, Validated, validate};
use super::wire::{WireRequest, WireResponse};
use crate::domain::UnixMs;

/// What a create carries beside the request.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// An id of ours by which the provider knows the request again. Only where [`Following::knows_our_id`] says so it is sent.
    pub our_id: Option<String>,
    /// Where the provider may call when something happens. Polling goes on all the same.
    pub callback_url: Option<String>,
}

/// A task as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTask {
    /// The provider's id.
    pub id: String,
    /// The model's name, as it was asked for: some providers have other routes for other models.
    pub model: String,
    /// What is made from what: some have other routes for other kinds.
    pub kind: GenerationKind,
}

impl RemoteTask {
    /// Refuses an id that means something in a URL: no provider gave it.
    pub(super) fn check_id(&self) -> Result<(), ProviderFailure> {
        if is_identifier(&self.id) { Ok(()) } else { Err(ProviderFailure::bad_task_id()) }
    }
}

/// What is known of a task before a poll's answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How far it was. A word that nobody knows leaves it there.
    pub state: Underway,
    /// How many polls were answered before.
    pub polls: u32,
}

/// A provider's wire, pure: values in, values out. An implementation is an account and its settings; tasks are polled, fetched and
/// cancelled with the one that made them.
pub trait Provider: Send + Sync {
    /// Its name in settings and messages.
    fn name(&self) -> &str;

    /// Its models, of tables or of the configuration.
    fn models(&self) -> &[Model];

    /// What is probably not meant in what was told of it, one line for each thing.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it calls a task itself, of the id that the task has here.
    fn task_name<'a>(&self, id: &'a str) -> &'a str {
        id
    }

    /// How its tasks are followed. Of `model`, since generations of a provider's wire differ.
    fn following(&self, model: &str) -> Following;

    /// The call that makes a task of a checked request. Fails with [`RequestRefusal`] where this account cannot express it.
    fn write_create(
        &self,
        model: &str,
        checked: &Validated<'_>,
        options: &CreateOptions,
        now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal>;

    /// Reads the answer to a create. Fails with [`ProviderFailure`]; an answer that cannot be read is of unknown outcome.
    fn read_created(&self, model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure>;

    /// The call that asks how far a task is. Fails with [`ProviderFailure`] for an id that no provider gave.
    fn poll(&self, task: &RemoteTask, now: UnixMs) -> Result<WireRequest, ProviderFailure>;

    /// Reads the answer to a poll. Fails with [`ProviderFailure`] where the poll failed, not the task.
    fn read_polled(&self, task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure>;

    /// The call that makes links of a result which is a [`ResultSource::File`](super::ResultSource::File); none for others. The links may
    /// be asked for anew.
    fn fetch(&self, _result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        None
    }

    /// Reads the answer to [`Self::fetch`]: what the result stood for, at least one. Fails with [`ProviderFailure`], of the class
    /// [`FailureClass::TaskFailed`](super::FailureClass::TaskFailed) or one about the request where the task failed after all.
    fn read_fetched(&self, result: &RemoteResult, _response: &WireResponse<'_>) -> Result<Vec<RemoteResult>, ProviderFailure> {
        Ok(vec![result.clone()])
    }

    /// The call whose answer's body is a result itself, where that is to be had with the account's credential alone; none where its link
    /// opens for whoever has it, as with most. The body is a film or a picture of any length: [`WireRequest::most_answer_bytes`] is no
    /// bound of it. Its credential is for this host alone: where the answer is a redirect, what it leads to is opened as a link.
    fn download(&self, _result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        None
    }

    /// The call that cancels a task which waits; none where the provider has no such call. Then we stop following the task, and it may be
    /// billed all the same.
    fn cancel(&self, task: &RemoteTask, known: Known, now: UnixMs) -> Option<WireRequest>;

    /// Reads the answer to a cancellation of a task of which so much was known. Fails with [`ProviderFailure`].
    fn read_cancelled(
        &self,
        task: &RemoteTask,
        known: Known,
        response: &WireResponse<'_>,
    ) -> Result<Cancellation, ProviderFailure>;
}

/// The model of a name among a provider's.
pub fn model<'a>(provider: &'a dyn Provider, name: &str) -> Option<&'a Model> {
    provider.models().iter().find(|model| model.is_called(name))
}

/// Checks a request against the tables and writes its create. Fails with [`RequestRefusal`]; nothing was spent then.
pub fn create(
    provider: &dyn Provider,
    model_name: &str,
    request: &GenerationRequest,
    options: &CreateOptions,
    now: UnixMs,
) -> Result<WireRequest, RequestRefusal> {
    let Some(model) = model(provider, model_name) else {
        let names: Vec<&str> = provider.models().iter().map(|model| model.name).collect();
        return Err(RequestRefusal::new("model", model_name, provider.name(), names.join(", ")));
    };
    let checked = validate(model, request)?;
    provider.write_create(model_name, &checked, options, now)
}
