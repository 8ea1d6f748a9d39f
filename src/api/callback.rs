//! Callbacks in requests: which link is to be told of what.

use serde_json::{Value, json};

use super::error::ApiError;
use super::links::{LinkSigner, NATIVE_LINK_SECONDS};
use super::native::task_document::content_path;
use super::state::ApiState;
use crate::domain::{Callback, CallbackEvent, CallbackFormat, Job, UnixMs};
use crate::net::egress::UserUrl;
use crate::webhooks::{self, JobOutputs};

/// The field of the link.
const URL: &str = "callback_url";
/// The field of what is told.
const EVENTS: &str = "callback_events";

/// What a request says of its callback.
#[derive(Clone, Debug, Default)]
pub(super) struct CallbackOrder {
    /// The link.
    pub(super) url: Option<String>,
    /// What it is told; absent: how the task ended.
    pub(super) events: Option<Vec<String>>,
}

impl CallbackOrder {
    /// The callback, its link judged as far as that needs no look-up. Links to results will begin with `base_url`.
    pub(super) fn checked(self, state: &ApiState, base_url: &str) -> Result<Option<Callback>, ApiError> {
        let Some(url) = self.url else {
            return match self.events {
                Some(_) => Err(ApiError::invalid(EVENTS, format!("has a meaning only with {URL}"))),
                None => Ok(None),
            };
        };
        let url = judged(state, &url)?;
        let events = self.events.map_or_else(|| Ok(CallbackEvent::TERMINAL.to_vec()), parse_events)?;
        Ok(Some(callback(&url, events, CallbackFormat::Standard, Some(base_url.to_owned()))))
    }
}

/// A callback in MiniMax's words, of every state but the first, whose receiver has stood MiniMax's challenge: it was sent
/// `{"challenge": …}` and gave the same back within 3 s. For surfaces that speak MiniMax's dialect: hand the result over in the submission.
pub(super) async fn minimax_callback(state: &ApiState, url: &str) -> Result<Callback, ApiError> {
    let url = judged(state, url)?;
    webhooks::challenge(&state.egress, &url)
        .await
        .map_err(|error| ApiError::invalid(URL, format!("is not called, because its challenge failed: {error}")))?;
    let events = CallbackEvent::ALL.into_iter().filter(|event| *event != CallbackEvent::Accepted).collect();
    Ok(callback(&url, events, CallbackFormat::Minimax, None))
}

fn judged(state: &ApiState, url: &str) -> Result<UserUrl, ApiError> {
    state.egress.policy().check(url.trim()).map_err(|refusal| ApiError::invalid(URL, format!("is not called: {refusal}")))
}

fn callback(url: &UserUrl, events: Vec<CallbackEvent>, format: CallbackFormat, base_url: Option<String>) -> Callback {
    Callback { url: url.as_str().to_owned(), host: url.host().to_owned(), events, format, base_url }
}

fn parse_events(words: Vec<String>) -> Result<Vec<CallbackEvent>, ApiError> {
    let known = || CallbackEvent::ALL.map(CallbackEvent::as_str).join(", ");
    if words.is_empty() {
        return Err(ApiError::invalid(EVENTS, format!("is empty; name some of {}, or leave it out for the ends", known())));
    }
    let parse = |word: String| {
        CallbackEvent::parse(&word).ok_or_else(|| {
            let shown: String = word.chars().take(32).collect();
            ApiError::invalid(EVENTS, format!("has '{shown}'; allowed: {}", known()))
        })
    };
    words.into_iter().map(parse).collect()
}

/// What callbacks show of completed tasks: links that need no key and expire.
#[derive(Clone, Debug)]
pub struct CallbackOutputs(LinkSigner);

impl CallbackOutputs {
    /// Links signed by `links`.
    pub fn new(links: LinkSigner) -> Self {
        Self(links)
    }
}

impl JobOutputs for CallbackOutputs {
    fn outputs(&self, job: &Job, base_url: &str, now: UnixMs) -> Vec<Value> {
        let id = job.id.to_string();
        let expires = UnixMs(now.0.saturating_add(NATIVE_LINK_SECONDS * 1000));
        let link = |what: &str, index: usize| self.0.sign(base_url, &content_path(&id, what, index), "", expires);
        let files =
            job.result.iter().flat_map(|result| result.artifacts.iter().map(|artifact| (artifact, result.seed_of(artifact))));
        files
            .enumerate()
            .map(|(index, (artifact, seed))| {
                json!({
                    "url": link("result", index),
                    "thumbnail_url": link("thumbnail", index),
                    "media_type": artifact.media_type,
                    "width": artifact.width,
                    "height": artifact.height,
                    "seed": seed,
                    "bytes": artifact.bytes,
                    "sha256": artifact.sha256,
                })
            })
            .collect()
    }
}
