//! Kling: films from prompts and pictures.
//!
//! - A call carries a token of half an hour, signed with the account's secret key; its times are seconds.
//! - Lengths are texts, and pictures in the body are base64 without the `data:` in front.
//! - Films from prompts and from pictures have a route each; a task is polled on the one that made it.
//! - HTTP 200 with a `code` other than 0 is an error. An empty account is an HTTP 429.
//! - The provider knows a task by an id of ours, which must be new.
//!
//! Left out, since how they are written is not known well enough: `cfg_scale`, commands to the camera, brushes, voices, several shots.
//! By which code a repeated id of ours is refused is not known either; it reads as a request that is not taken. Nothing can be cancelled.

mod errors;
mod models;
mod request;
mod response;

#[cfg(test)]
mod tests;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::json_web_token;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::request::GenerationKind;
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, AccountError, Method, WireRequest, WireResponse, check_name};
use crate::domain::UnixMs;

/// The usual base URL in China.
pub const CHINA_BASE_URL: &str = "https://api-beijing.klingai.com";
/// The usual base URL everywhere else.
pub const INTERNATIONAL_BASE_URL: &str = "https://api-singapore.klingai.com";

/// How long a token is good, seconds.
const LIFE_SECONDS: i64 = 1800;
/// How long before it was signed a token begins to be good, seconds: clocks differ.
const BEFORE_SECONDS: i64 = 5;

/// An account at Kling.
#[derive(Clone, Debug)]
pub struct Kling {
    account: Account,
    access_key: String,
    secret_key: SecretString,
}

impl Kling {
    /// An account. Its key is the secret key, which the access key beside it names, or both as `access_key.secret_key`: every account has
    /// an access key of its own, so that several accounts need the latter. Fails with [`AccountError`].
    pub fn new(account: Account, access_key: Option<String>) -> Result<Self, AccountError> {
        let key = account.key().expose_secret();
        let (access_key, secret_key) = match (key.split_once('.'), access_key) {
            (Some((access_key, secret_key)), _) => (access_key.to_owned(), secret_key),
            (None, Some(access_key)) => (access_key, key),
            (None, None) => return Err(AccountError::AccessKey),
        };
        check_name("access_key", &access_key)?;
        if secret_key.is_empty() {
            return Err(AccountError::Key);
        }
        let secret_key = SecretString::from(secret_key);
        Ok(Self { account, access_key, secret_key })
    }

    fn call(&self, method: Method, path: &str, now: UnixMs) -> WireRequest {
        let seconds = now.0.div_euclid(1000);
        let expires = seconds.saturating_add(LIFE_SECONDS);
        let claims = json!({ "iss": self.access_key, "exp": expires, "nbf": seconds.saturating_sub(BEFORE_SECONDS) });
        let token = json_web_token::sign(r#"{"alg":"HS256","typ":"JWT"}"#, &claims, self.secret_key.expose_secret());
        // Keys of every length sign, so there is always one.
        let token = token.unwrap_or_else(|| SecretString::from(""));
        WireRequest::new(method, self.account.url(path), SecretString::from(format!("Bearer {}", token.expose_secret())))
    }
}

/// The route of a kind.
fn path(kind: GenerationKind) -> &'static str {
    match kind {
        GenerationKind::TextToVideo => "/v1/videos/text2video",
        _ => "/v1/videos/image2video",
    }
}

impl Provider for Kling {
    fn name(&self) -> &'static str {
        "kling"
    }

    fn models(&self) -> &[Model] {
        &models::MODELS
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 5_000,
            most_pause_ms: 15_000,
            deadline_seconds: 30 * 60,
            link_seconds: 60 * 60,
            cancels_queued: false,
            knows_our_id: true,
        }
    }

    fn write_create(
        &self,
        model: &str,
        checked: &Validated<'_>,
        options: &CreateOptions,
        now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        let body = request::body(model, checked, options)?;
        Ok(self.call(Method::Post, path(checked.request.kind), now).with_body(body))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        task.check_id()?;
        Ok(self.call(Method::Get, &format!("{}/{}", path(task.kind), task.id), now))
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
