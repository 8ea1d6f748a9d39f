//! Zhipu's platform (bigmodel.cn, z.ai): CogVideoX and Vidu films, CogView pictures.
//!
//! - A task is polled by `id`; `request_id` is our own id, and a second create under it is refused.
//! - An empty balance is an HTTP 429, and so are allowances of a day.
//! - Nothing can be cancelled: we stop following, and the task may be billed all the same.

mod errors;
mod models;
mod request;
mod response;
mod token;

#[cfg(test)]
mod tests;

use secrecy::{ExposeSecret, SecretString};

use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, AccountError, Method, WireRequest, WireResponse};
use crate::domain::UnixMs;

/// The usual base URL of the Chinese site.
pub const CHINA_BASE_URL: &str = "https://open.bigmodel.cn/api/paas/v4";
/// The usual base URL of the international site.
pub const INTERNATIONAL_BASE_URL: &str = "https://api.z.ai/api/paas/v4";

/// How a call proves whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// By the key itself.
    #[default]
    Key,
    /// By a token of three and a half minutes that is signed with the key's second half.
    SignedToken,
}

/// An account at Zhipu.
#[derive(Clone, Debug)]
pub struct Zhipuai {
    account: Account,
    authentication: Authentication,
}

impl Zhipuai {
    /// An account. Fails with [`AccountError`] for signed tokens with a key that cannot sign.
    pub fn new(account: Account, authentication: Authentication) -> Result<Self, AccountError> {
        if authentication == Authentication::SignedToken && token::parts(account.key().expose_secret()).is_none() {
            return Err(AccountError::KeyForm);
        }
        Ok(Self { account, authentication })
    }

    fn call(&self, method: Method, path: &str, now: UnixMs) -> WireRequest {
        let token = match self.authentication {
            Authentication::Key => None,
            Authentication::SignedToken => token::sign(self.account.key(), now),
        };
        let authorization =
            token.map_or_else(|| self.account.bearer(), |token| SecretString::from(format!("Bearer {}", token.expose_secret())));
        WireRequest::new(method, self.account.url(path), authorization)
    }
}

impl Provider for Zhipuai {
    fn name(&self) -> &'static str {
        "zhipuai"
    }

    fn models(&self) -> &[Model] {
        &models::MODELS
    }

    fn following(&self, model: &str) -> Following {
        Following {
            first_pause_ms: 5_000,
            most_pause_ms: 15_000,
            deadline_seconds: 20 * 60,
            link_seconds: 60 * 60,
            cancels_queued: false,
            knows_our_id: !models::makes_pictures(model),
        }
    }

    fn write_create(
        &self,
        model: &str,
        checked: &Validated<'_>,
        options: &CreateOptions,
        now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        let path = request::path(model, checked.request.kind);
        Ok(self.call(Method::Post, path, now).with_body(request::body(model, checked, options)))
    }

    fn read_created(&self, model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        if models::answers_at_once(model) { response::created_image(response) } else { response::created(response) }
    }

    fn poll(&self, task: &RemoteTask, now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        task.check_id()?;
        Ok(self.call(Method::Get, &format!("/async-result/{}", task.id), now))
    }

    fn read_polled(&self, _task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(known, response)
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
