//! Services that speak OpenAI's dialect, at any base URL: pictures with the call, films by tasks.
//!
//! - Any model that the operator names is possible. Of those in OpenAI's documents the limits are known; of others ours stand in.
//! - Pictures are behind links or in the answer as base64, as the model has it.
//! - A film is asked for with a form, as OpenAI's own clients do even without a file: not all services take JSON. Lengths are texts.
//! - A film is for the account alone: its bytes are behind the same credential.
//! - Deleting a task is the only way to cancel it. There is no word for what was cancelled: it failed with the code `cancelled`.
//! - `insufficient_quota`, with the status of a rate, is an account that cannot pay. The codes of moderation are not documented, so words in
//!   them count.
//!
//! OpenAI itself has announced the end of its films, so this is for others who serve the shape. Left out: streams, edits and variations,
//! remixes, extensions, characters, and `input_reference` by a file's id.

mod errors;
mod models;
mod request;
mod response;

#[cfg(test)]
mod tests;

pub use self::models::{ResponseFormat, ServedModel};

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::described::DescriptionError;
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled, RemoteResult, ResultSource};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::request::GenerationKind;
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, AccountError, MOST_PICTURES_BODY_BYTES, Method, WireRequest, WireResponse, check_name};
use crate::domain::UnixMs;

/// The usual base URL of OpenAI itself.
pub const BASE_URL: &str = "https://api.openai.com/v1";

/// An account at a service that speaks OpenAI's dialect.
#[derive(Clone, Debug)]
pub struct OpenAi {
    account: Account,
    organization: Option<String>,
    project: Option<String>,
    models: Vec<Model>,
    response_formats: Vec<Option<ResponseFormat>>,
}

impl OpenAi {
    /// An account with the models that are used. Fails with [`DescriptionError`].
    pub fn new(account: Account, models: Vec<ServedModel>) -> Result<Self, DescriptionError> {
        let (models, response_formats) = models::told(models)?;
        Ok(Self { account, organization: None, project: None, models, response_formats })
    }

    /// The account's organization and project, where it must name them. Fails with [`AccountError`].
    pub fn with_organization(mut self, organization: Option<String>, project: Option<String>) -> Result<Self, AccountError> {
        for (field, name) in [("organization", &organization), ("project", &project)] {
            if let Some(name) = name {
                check_name(field, name)?;
            }
        }
        (self.organization, self.project) = (organization, project);
        Ok(self)
    }

    fn call(&self, method: Method, path: &str) -> WireRequest {
        let mut request = WireRequest::new(method, self.account.url(path), self.account.bearer());
        if let Some(organization) = &self.organization {
            request = request.with_header("OpenAI-Organization", organization);
        }
        if let Some(project) = &self.project {
            request = request.with_header("OpenAI-Project", project);
        }
        request
    }

    fn response_format(&self, model: &str) -> Option<ResponseFormat> {
        let at = self.models.iter().position(|known| known.is_called(model))?;
        self.response_formats.get(at).copied().flatten()
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn models(&self) -> &[Model] {
        &self.models
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 2_000,
            most_pause_ms: 10_000,
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
        _options: &CreateOptions,
        _now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        if checked.request.kind == GenerationKind::TextToImage {
            let body = request::pictures(model, checked, self.response_format(model))?;
            let call = self.call(Method::Post, "/images/generations").with_body(body);
            return Ok(call.with_most_answer_bytes(MOST_PICTURES_BODY_BYTES));
        }
        Ok(self.call(Method::Post, "/videos").with_parts(request::film(model, checked)))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        // Pictures come with the call: a service that makes these alone may know of no tasks.
        if !is_identifier(&task.id) || task.kind == GenerationKind::TextToImage {
            return Err(ProviderFailure::bad_task_id());
        }
        Ok(self.call(Method::Get, &format!("/videos/{}", task.id)))
    }

    fn read_polled(&self, task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(task, known, response)
    }

    fn download(&self, result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        match &result.source {
            ResultSource::File(id) if is_identifier(id) => Some(self.call(Method::Get, &format!("/videos/{id}/content"))),
            _ => None,
        }
    }

    fn cancel(&self, task: &RemoteTask, _known: Known, _now: UnixMs) -> Option<WireRequest> {
        is_identifier(&task.id).then(|| self.call(Method::Delete, &format!("/videos/{}", task.id)))
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
