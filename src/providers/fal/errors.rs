//! fal's errors: what went wrong around a model, and what the model itself refused.

use serde_json::Value;

use crate::providers::body::{elements, text};
use crate::providers::failure::{FailureClass, class_of_status};
use crate::providers::wire::WireResponse;

/// An error, as far as an answer has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    /// Its type.
    pub(super) code: Option<String>,
    /// What is said.
    pub(super) message: String,
}

impl Error {
    /// The error in an answer. Around models it is `detail` and `error_type`, with a header that says the same; from models it is a list.
    pub(super) fn of(body: &Value, response: &WireResponse<'_>) -> Self {
        let header = response.header("X-Fal-Error-Type").map(ToOwned::to_owned);
        let of_model = elements(&body["detail"]).find_map(|detail| Some((text(&detail["type"])?, text(&detail["msg"]))));
        let (of_model, message) = of_model.map_or((None, None), |(code, message)| (Some(code), message));
        let message = message.or_else(|| text(&body["detail"])).or_else(|| text(&body["error"]));
        Self { code: of_model.or_else(|| text(&body["error_type"])).or(header), message: message.unwrap_or_default() }
    }

    /// Whether it is the task's own: errors of the way to it have no type.
    pub(super) fn is_the_tasks(&self) -> bool {
        self.code.is_some()
    }

    /// Its class. Most types say no more than the status. An account without money is locked, and that is said in words alone.
    pub(super) fn class(&self, status: u16) -> FailureClass {
        match self.code.as_deref() {
            Some("content_policy_violation") => FailureClass::Moderation,
            None if status == 403 && self.message.to_ascii_lowercase().contains("user is locked") => FailureClass::Billing,
            _ => class_of_status(status),
        }
    }
}
