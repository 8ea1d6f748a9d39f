//! Creates for Veo.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::providers::fields::Fields;
use crate::providers::request::{PictureRole, PictureSource};
use crate::providers::validate::{FrameChoice, Validated};

/// The body: what is seen, and how.
pub(super) fn body(checked: &Validated<'_>) -> Value {
    let request = checked.request;
    let instance = Fields::default()
        .maybe("prompt", checked.prompt())
        .maybe("image", picture(checked, PictureRole::FirstFrame))
        .maybe("lastFrame", picture(checked, PictureRole::LastFrame));
    let (tier, ratio) = match checked.frame {
        FrameChoice::TierAndRatio(tier, ratio) => (tier, ratio),
        FrameChoice::Untold | FrameChoice::Size(_) => (None, None),
    };
    let parameters = Fields::default()
        .maybe("aspectRatio", ratio.map(|ratio| ratio.to_string()))
        .maybe("resolution", tier.map(|tier| tier.name().to_ascii_lowercase()))
        .maybe("durationSeconds", checked.seconds)
        .maybe("negativePrompt", request.negative_prompt.clone().filter(|negative| !negative.is_empty()));
    json!({ "instances": [Value::from(instance)], "parameters": Value::from(parameters) })
}

/// A picture itself. Links were refused by the tables.
fn picture(checked: &Validated<'_>, role: PictureRole) -> Option<Value> {
    checked.request.pictures_of(role).find_map(|picture| match &picture.source {
        PictureSource::Bytes { format, bytes } => {
            Some(json!({ "bytesBase64Encoded": BASE64_STANDARD.encode(bytes), "mimeType": format.media_type() }))
        }
        PictureSource::Link(_) => None,
    })
}
