//! Creates for Replicate.

use serde_json::{Map, Value, json};

use crate::providers::body::is_identifier;
use crate::providers::fields::Fields;
use crate::providers::protocol::CreateOptions;

/// What a model's name says of where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A model, in whatever version its owner runs.
    Model { owner: &'a str, name: &'a str },
    /// A version.
    Version(&'a str),
}

impl<'a> Target<'a> {
    /// `owner/name`, `owner/name:version`, or a version alone, which has 64 digits.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let (model, version) = match text.split_once(':') {
            Some((model, version)) => (model, Some(version)),
            None => (text, None),
        };
        let is_version = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some((owner, name)) = model.split_once('/') else {
            return (version.is_none() && is_version(model)).then_some(Self::Version(model));
        };
        if !is_identifier(owner) || !is_identifier(name) {
            return None;
        }
        match version {
            None => Some(Self::Model { owner, name }),
            Some(version) => is_version(version).then_some(Self::Version(version)),
        }
    }

    /// The route.
    pub(super) fn path(self) -> String {
        match self {
            Self::Model { owner, name } => format!("/models/{owner}/{name}/predictions"),
            Self::Version(_) => "/predictions".to_owned(),
        }
    }

    /// The body.
    pub(super) fn body(self, input: Map<String, Value>, options: &CreateOptions) -> Value {
        let version = match self {
            Self::Model { .. } => None,
            Self::Version(version) => Some(version),
        };
        let webhook = options.callback_url.clone();
        // Of an end alone, not of every line of a log.
        let events = webhook.is_some().then(|| json!(["completed"]));
        Fields::default()
            .maybe("version", version)
            .with("input", Value::from(input))
            .maybe("webhook", webhook)
            .maybe("webhook_events_filter", events)
            .into()
    }
}
