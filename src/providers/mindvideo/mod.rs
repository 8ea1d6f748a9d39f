//! MindVideo: the web application's own interface, which is not public.
//!
//! There are no documents and no promises: it may change, or be closed to programs, at any time, and its terms may forbid to use it so. The
//! operator brings the session's token and the application's key; none is shipped. Known are two calls and the words below. Not known:
//! other words of tasks, codes of errors, limits, how long links live, cancellation, the renewal of tokens, films from pictures.
//!
//! - Every call is signed anew in `i-sign`; neither path nor body is part of the signature.
//! - A page for people in place of an answer is the site's defence against programs. It is reported and not got round.
//! - The web application publishes what it makes. Here nothing is published unless the operator says so.

mod models;
mod response;
mod signature;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;

pub use models::Bot;

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::randomness::{NoRandomness, Randomness};
use super::validate::{FrameChoice, RequestRefusal, Validated};
use super::wire::{Account, AccountError, Method, WireRequest, WireResponse, check_name};
use crate::domain::UnixMs;

/// The usual base URL.
pub const BASE_URL: &str = "https://api.mindvideo.ai/api/v2";
/// Where the web application is, as it says of itself in its calls.
const ORIGIN: &str = "https://www.mindvideo.ai";

/// What an account has beside its token.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The application's key, which signs.
    pub app_key: SecretString,
    /// `i-lang`.
    pub language: String,
    /// `i-version`: that of the web application which the key belongs to.
    pub version: String,
    /// Whether what is made is published.
    pub is_public: bool,
    /// Models beside those that are known.
    pub bots: Vec<Bot>,
}

impl Settings {
    /// What the web application says of itself, and nothing published.
    pub fn new(app_key: SecretString) -> Self {
        Self { app_key, language: "zh-CN".to_owned(), version: "1.0.8".to_owned(), is_public: false, bots: Vec::new() }
    }
}

/// An account at MindVideo. Its key is the session's token; a task is polled with the token that made it.
#[derive(Clone, Debug)]
pub struct Mindvideo {
    account: Account,
    settings: Settings,
    bots: Vec<Bot>,
    models: Vec<Model>,
    randomness: Arc<dyn Randomness>,
}

impl Mindvideo {
    /// An account. Fails with [`AccountError`] for a language or a version that no header can carry, and for a model's name that is none.
    pub fn new(account: Account, settings: Settings, randomness: Arc<dyn Randomness>) -> Result<Self, AccountError> {
        check_name("language", &settings.language)?;
        check_name("version", &settings.version.replace('.', "-"))?;
        for bot in &settings.bots {
            check_name("model", &bot.model.replace('.', "-"))?;
        }
        let bots = models::all(&settings.bots);
        let models = bots.iter().map(models::table).collect();
        Ok(Self { account, settings, bots, models, randomness })
    }

    fn call(&self, method: Method, path: &str, now: UnixMs) -> Result<WireRequest, NoRandomness> {
        let mut nonce = [0; 8];
        self.randomness.fill(&mut nonce)?;
        let signature = signature::sign(&self.settings.app_key, nonce, now);
        Ok(WireRequest::new(method, self.account.url(path), self.account.bearer())
            .with_secret_header("i-sign", signature)
            .with_header("i-lang", &self.settings.language)
            .with_header("i-version", &self.settings.version)
            .with_header("Accept", "application/json, text/plain, */*")
            .with_header("Origin", ORIGIN)
            .with_header("Referer", format!("{ORIGIN}/")))
    }
}

impl Provider for Mindvideo {
    fn name(&self) -> &'static str {
        "mindvideo"
    }

    fn models(&self) -> &[Model] {
        &self.models
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 5_000,
            most_pause_ms: 5_000,
            deadline_seconds: 10 * 60,
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
        now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        let refused = |allowed: &str| RequestRefusal::new("model", model, self.name(), allowed);
        let known = self.models.iter().position(|known| known.is_called(model));
        let bot = known.and_then(|index| self.bots.get(index)).ok_or_else(|| refused("a model with a bot"))?;
        let size = match checked.frame {
            FrameChoice::Size(size) => Some(size.to_string()),
            FrameChoice::Untold | FrameChoice::TierAndRatio(..) => None,
        };
        let body = json!({
            "type": 1,
            "bot_id": bot.id,
            "options": {
                "prompt": checked.request.prompt, "size": size, "seconds": checked.seconds, "history_images": [],
            },
            "is_public": self.settings.is_public,
            "copy_protection": false,
        });
        let call = self.call(Method::Post, "/creations", now).map_err(|error| refused(&error.to_string()))?;
        Ok(call.with_body(body))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        if !is_identifier(&task.id) {
            return Err(ProviderFailure::bad_task_id());
        }
        let call = self.call(Method::Get, "/creations/task_progress", now);
        let mut call = call.map_err(|error| ProviderFailure::not_sent(&error.to_string()))?;
        call.url.query_pairs_mut().append_pair("ids[]", &task.id);
        Ok(call)
    }

    fn read_polled(&self, _task: &RemoteTask, _known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(response)
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
