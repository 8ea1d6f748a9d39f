//! vidsme: the pictures of a web application's own interface, which is not public.
//!
//! There are no documents and no promises: it may change, or be closed to programs, at any time, and its terms may forbid to use it so. The
//! operator brings the application's id, salt and public key, the user's id and the models; none is shipped. Known are two calls. Not
//! known: the states of a task and how a failed one looks, codes of errors, limits, how long links live, cancellation.
//!
//! - Every call has a signature in its query: a random key, encrypted for the application, which encrypts what is signed.
//! - A page for people in place of an answer is the site's defence against programs. It is reported and not got round.

mod models;
mod response;
mod signature;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rsa::PublicKey;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;

pub use models::Named;

use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::frame::PixelSize;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::randomness::{NoRandomness, Randomness};
use super::validate::{FrameChoice, RequestRefusal, Validated};
use super::wire::{Account, AccountError, Method, WireRequest, WireResponse, check_name};
use crate::domain::UnixMs;

/// The usual base URL.
pub const BASE_URL: &str = "https://api.vidsme.com/api/texttoimg/v1";
/// Where pictures usually are.
pub const PICTURES_URL: &str = "https://art-global.yimeta.ai/";
/// Where the web application is, as it says of itself in its calls.
const ORIGIN: &str = "https://chatsweetie.ai";

/// What an account has beside the user's id.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The application's id.
    pub app_id: String,
    /// The application's salt.
    pub salt: SecretString,
    /// The application's public key, an RSA key of 1024 to 8192 bits as PEM.
    pub public_key: String,
    /// What the paths of pictures are put behind.
    pub pictures_url: String,
    /// The models. There are none unless the operator names them.
    pub models: Vec<Named>,
}

/// Why an account cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// An id, a model's name or a key that calls cannot carry.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// What is no public key.
    #[error("public_key: is no RSA key of 1024 to 8192 bits; write it as PEM, with BEGIN PUBLIC KEY")]
    PublicKey,
    /// What is no address.
    #[error("pictures_url: '{0}' is no address; write https://host/, without a query")]
    PicturesUrl(String),
}

/// An account at vidsme. Its key is the user's id.
#[derive(Clone, Debug)]
pub struct Vidsme {
    account: Account,
    app_id: String,
    salt: SecretString,
    public_key: PublicKey,
    pictures_url: Url,
    named: Vec<Named>,
    models: Vec<Model>,
    randomness: Arc<dyn Randomness>,
}

impl Vidsme {
    /// An account. Fails with [`SettingsError`].
    pub fn new(account: Account, settings: Settings, randomness: Arc<dyn Randomness>) -> Result<Self, SettingsError> {
        check_name("app_id", &settings.app_id)?;
        check_name("user_id", account.key().expose_secret())?;
        for named in &settings.models {
            check_name("model", &named.name.replace('.', "-"))?;
        }
        let public_key = signature::public_key(&settings.public_key).ok_or(SettingsError::PublicKey)?;
        let pictures_url = pictures_url(&settings.pictures_url)
            .ok_or_else(|| SettingsError::PicturesUrl(settings.pictures_url.chars().take(200).collect()))?;
        let models = settings.models.iter().map(models::table).collect();
        let Settings { app_id, salt, models: named, .. } = settings;
        Ok(Self { account, app_id, salt, public_key, pictures_url, named, models, randomness })
    }

    /// A call with its signature.
    fn call(&self, method: Method, now: UnixMs) -> Result<WireRequest, NoRandomness> {
        let signer = signature::Signer { app_id: &self.app_id, salt: &self.salt, public_key: &self.public_key };
        let signed = signer.sign(self.randomness.as_ref(), now)?;
        let mut url = self.account.url("/task");
        url.query_pairs_mut().extend_pairs(signed);
        Ok(WireRequest::unsigned(method, url).with_header("Origin", ORIGIN).with_header("Referer", format!("{ORIGIN}/")))
    }
}

/// The address, with a path that ends with a slash: what is put behind it stays on its host.
fn pictures_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "https" | "http")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    plain.then_some(url)
}

impl Provider for Vidsme {
    fn name(&self) -> &'static str {
        "vidsme"
    }

    fn models(&self) -> &[Model] {
        &self.models
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 3_000,
            most_pause_ms: 3_000,
            deadline_seconds: 4 * 60,
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
        let named = known.and_then(|index| self.named.get(index)).ok_or_else(|| refused("a model that is configured"))?;
        let PixelSize { width, height } = match checked.frame {
            FrameChoice::Size(size) => size,
            FrameChoice::Untold | FrameChoice::TierAndRatio(..) => models::USUAL_SIZE,
        };
        // Nothing is added to the prompt, though the web application does.
        let body = json!({
            "prompt": checked.request.prompt,
            "model": named.wire_name.as_ref().unwrap_or(&named.name),
            "user_id": self.account.key().expose_secret(),
            "height": height,
            "width": width,
        });
        let call = self.call(Method::Post, now).map_err(|error| refused(&error.to_string()))?;
        Ok(call.with_body(body))
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        task.check_id()?;
        let mut call = self.call(Method::Get, now).map_err(|error| ProviderFailure::not_sent(&error.to_string()))?;
        let user_id = self.account.key().expose_secret();
        call.url.query_pairs_mut().append_pair("user_id", user_id).append_pair("job_id", &task.id);
        Ok(call)
    }

    fn read_polled(&self, _task: &RemoteTask, _known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(&self.pictures_url, response)
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
