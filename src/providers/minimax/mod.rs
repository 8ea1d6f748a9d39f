//! MiniMax: Hailuo's films.
//!
//! - The first generation answers HTTP 200 whatever happens; `base_resp.status_code` says what did.
//! - A finished task has a file, and the file's link is one more call; it lives an hour and can be asked for anew.
//! - The second generation (`MiniMax-H3`) has routes, words and errors of its own. Its cancellation removes what has ended already.

pub mod callback;
mod errors;
mod models;
mod request;
mod response;

#[cfg(test)]
mod tests;

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled, RemoteResult, ResultSource, Underway};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, AccountError, Method, WireRequest, WireResponse, check_name};
use crate::domain::UnixMs;

/// Where the account is. A key of one site is wrong at the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// China.
    China,
    /// Everywhere else.
    International,
}

impl Site {
    /// The usual base URL.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::China => "https://api.minimaxi.com",
            Self::International => "https://api.minimax.io",
        }
    }
}

/// An account at MiniMax.
#[derive(Clone, Debug)]
pub struct Minimax {
    account: Account,
    site: Site,
    group_id: Option<String>,
}

impl Minimax {
    /// An account at a site, with the group that older accounts must name. Fails with [`AccountError`].
    pub fn new(account: Account, site: Site, group_id: Option<String>) -> Result<Self, AccountError> {
        if let Some(group_id) = &group_id {
            check_name("group_id", group_id)?;
        }
        Ok(Self { account, site, group_id })
    }

    /// A call; `query` is made of identifiers that were checked.
    fn call(&self, method: Method, path: &str, query: Option<&str>) -> WireRequest {
        let mut url = self.account.url(path);
        url.set_query(query);
        WireRequest::new(method, url, self.account.bearer())
    }
}

impl Provider for Minimax {
    fn name(&self) -> &'static str {
        "minimax"
    }

    fn models(&self) -> &[Model] {
        &models::MODELS
    }

    fn following(&self, model: &str) -> Following {
        Following {
            first_pause_ms: 10_000,
            most_pause_ms: 20_000,
            deadline_seconds: 30 * 60,
            link_seconds: 60 * 60,
            cancels_queued: models::is_second_generation(model),
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
        if models::is_second_generation(model) {
            let body = request::second_generation(model, checked, options);
            return Ok(self.call(Method::Post, "/v2/video_generation", None).with_body(body));
        }
        let body = request::first_generation(self, model, checked, options)?;
        let query = self.group_id.as_ref().map(|group| format!("GroupId={group}"));
        Ok(self.call(Method::Post, "/v1/video_generation", query.as_deref()).with_body(body))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        task.check_id()?;
        Ok(if models::is_second_generation(&task.model) {
            self.call(Method::Get, &format!("/v2/query/video_generation/{}", task.id), None)
        } else {
            self.call(Method::Get, "/v1/query/video_generation", Some(&format!("task_id={}", task.id)))
        })
    }

    fn read_polled(&self, task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        if models::is_second_generation(&task.model) {
            response::polled_second(known, response)
        } else {
            response::polled(known, response)
        }
    }

    fn fetch(&self, result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        match &result.source {
            ResultSource::File(id) if is_identifier(id) => {
                Some(self.call(Method::Get, "/v1/files/retrieve", Some(&format!("file_id={id}"))))
            }
            _ => None,
        }
    }

    fn read_fetched(&self, result: &RemoteResult, response: &WireResponse<'_>) -> Result<Vec<RemoteResult>, ProviderFailure> {
        response::fetched(result, response).map(|result| vec![result])
    }

    fn cancel(&self, task: &RemoteTask, known: Known, _now: UnixMs) -> Option<WireRequest> {
        // Only what is known to wait: of a task that has ended this call would remove the result.
        let possible = models::is_second_generation(&task.model) && known.state == Underway::Queued && is_identifier(&task.id);
        possible.then(|| self.call(Method::Delete, &format!("/v2/video_generation/{}", task.id), None))
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
