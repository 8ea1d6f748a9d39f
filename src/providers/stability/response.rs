//! Stability's answers.

use super::errors::class_of;
use crate::providers::body::{elements, object_within, text};
use crate::providers::failure::{Call, FailureClass, ProviderFailure};
use crate::providers::outcome::{Created, Finished, RemoteResult, ResultKind, ResultSource, Usage};
use crate::providers::wire::{MOST_PICTURES_BODY_BYTES, WireResponse};

/// The answer to a create: a picture, or why there is none.
pub(super) fn created(response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
    let body = object_within(MOST_PICTURES_BODY_BYTES, Call::Create, response)?;
    if !response.is_success() {
        let name = text(&body["name"]);
        let class = Call::Create.class(class_of(name.as_deref(), response.status), response.status, name.is_some());
        let message = elements(&body["errors"]).find_map(text).or_else(|| text(&body["message"])).unwrap_or_default();
        let code = name.unwrap_or_else(|| format!("http_{}", response.status));
        return Err(ProviderFailure::new(class, &code, &message).after(response.retry_after_seconds()));
    }
    // What was filtered may come as a blurred picture: the reason counts before the picture.
    if let Some(reason) = text(&body["finish_reason"]) {
        match reason.as_str() {
            "SUCCESS" => {}
            "CONTENT_FILTERED" => {
                let message = "the picture was filtered";
                return Err(ProviderFailure::new(FailureClass::Moderation, &reason, message));
            }
            _ => return Err(ProviderFailure::new(FailureClass::TaskFailed, &reason, "the picture was not finished")),
        }
    }
    match body["image"].as_str().and_then(ResultSource::inline) {
        Some(source) => {
            let source = match source {
                ResultSource::Inline { media_type: None, bytes } => {
                    ResultSource::Inline { media_type: Some("image/png".to_owned()), bytes }
                }
                other => other,
            };
            let results = vec![RemoteResult::new(source, ResultKind::Picture)];
            Ok(Created::Finished(Finished { results, usage: Usage::default(), rewritten_prompt: None }))
        }
        None => Err(ProviderFailure::unreadable(Call::Create, response.status, "the answer has no picture")),
    }
}
