//! Creates for Kling.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::providers::fields::Fields;
use crate::providers::protocol::CreateOptions;
use crate::providers::request::{PictureRole, PictureSource};
use crate::providers::validate::{FrameChoice, RequestRefusal, Validated};

/// The body. Fails with [`RequestRefusal`] for sound without the quality that has some.
pub(super) fn body(model: &str, checked: &Validated<'_>, options: &CreateOptions) -> Result<Value, RequestRefusal> {
    let (request, mode) = (checked.request, checked.mode);
    let with_sound = request.audio == Some(true);
    let quality = match (request.quality.as_deref(), mode.qualities) {
        (Some(asked), _) => Some(asked),
        // The only quality that can do it; the provider's own default is the other one.
        (None, [only]) => Some(*only),
        (None, _) => with_sound.then_some("pro"),
    };
    if with_sound && quality != Some("pro") {
        return Err(RequestRefusal::new("audio", "true", model, "false, or true with quality pro"));
    }
    let ratio = match checked.frame {
        FrameChoice::TierAndRatio(_, ratio) => ratio,
        FrameChoice::Untold | FrameChoice::Size(_) => None,
    };
    let sound = Validated::switch(mode.audio, request.audio).map(|on| if on { "on" } else { "off" });
    let negative = request.negative_prompt.clone().filter(|negative| !negative.is_empty());
    Ok(Fields::default()
        .with("model_name", model)
        .maybe("prompt", checked.prompt())
        .maybe("negative_prompt", negative)
        .maybe("image", picture(checked, PictureRole::FirstFrame))
        .maybe("image_tail", picture(checked, PictureRole::LastFrame))
        .maybe("mode", quality)
        .maybe("sound", sound)
        // A number is refused.
        .maybe("duration", checked.seconds.map(|seconds| seconds.to_string()))
        .maybe("aspect_ratio", ratio.map(|ratio| ratio.to_string()))
        .maybe("callback_url", options.callback_url.clone())
        .maybe("external_task_id", options.our_id.clone())
        .into())
}

/// A link, or base64 with nothing in front.
fn picture(checked: &Validated<'_>, role: PictureRole) -> Option<String> {
    checked.request.pictures_of(role).next().map(|picture| match &picture.source {
        PictureSource::Link(link) => link.clone(),
        PictureSource::Bytes { bytes, .. } => BASE64_STANDARD.encode(bytes),
    })
}
