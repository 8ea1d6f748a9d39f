//! Creates for MiniMax, in both generations.

use serde_json::{Value, json};

use super::{Minimax, Site};
use crate::providers::fields::Fields;
use crate::providers::frame::{Ratio, Tier};
use crate::providers::protocol::CreateOptions;
use crate::providers::request::PictureRole;
use crate::providers::validate::{FrameChoice, RequestRefusal, Validated};

/// The body of the first generation. Fails with [`RequestRefusal`] for a mark on a site that has none, and for a shorter rewriting where
/// there is to be no rewriting.
pub(super) fn first_generation(
    provider: &Minimax,
    model: &str,
    checked: &Validated<'_>,
    options: &CreateOptions,
) -> Result<Value, RequestRefusal> {
    let (request, mode) = (checked.request, checked.mode);
    if request.fast_pretreatment == Some(true) && request.prompt_extension == Some(false) {
        return Err(RequestRefusal::new("fast_pretreatment", "true", model, "false, or true with prompt_extension"));
    }
    let watermark = match (provider.site, request.watermark) {
        (Site::International, Some(true)) => {
            return Err(RequestRefusal::new("watermark", "true", model, "false: the international site has no such mark"));
        }
        (Site::International, _) => None,
        (Site::China, asked) => asked,
    };
    let (tier, _) = tier_and_ratio(checked);
    // One subject with an array of one picture; a picture alone is refused.
    let subject = checked.picture(PictureRole::Reference).map(|picture| json!([{ "type": "character", "image": [picture] }]));
    Ok(Fields::default()
        .with("model", model)
        .maybe("prompt", checked.prompt())
        .maybe("first_frame_image", checked.picture(PictureRole::FirstFrame))
        .maybe("last_frame_image", checked.picture(PictureRole::LastFrame))
        .maybe("subject_reference", subject)
        .maybe("duration", checked.seconds)
        .maybe("resolution", tier.map(Tier::name))
        .maybe("prompt_optimizer", Validated::switch(mode.prompt_extension, request.prompt_extension))
        .maybe("fast_pretreatment", Validated::switch(mode.fast_pretreatment, request.fast_pretreatment))
        .maybe("aigc_watermark", watermark)
        .maybe("callback_url", options.callback_url.clone())
        .into())
}

/// The body of the second generation.
pub(super) fn second_generation(model: &str, checked: &Validated<'_>, options: &CreateOptions) -> Value {
    let (tier, ratio) = tier_and_ratio(checked);
    let mut content = Vec::new();
    content.extend(checked.prompt().map(|prompt| json!({ "type": "text", "text": prompt })));
    for (role, name) in [(PictureRole::FirstFrame, "first_frame"), (PictureRole::LastFrame, "last_frame")] {
        let picture = checked.picture(role);
        content.extend(picture.map(|url| json!({ "type": "image_url", "image_url": { "url": url }, "role": name })));
    }
    Fields::default()
        .with("model", model)
        .with("content", content)
        .maybe("resolution", tier.map(Tier::name))
        .maybe("duration", checked.seconds)
        .with("ratio", ratio.map_or_else(|| "adaptive".to_owned(), |ratio| ratio.to_string()))
        .maybe("callback_url", options.callback_url.clone())
        .into()
}

fn tier_and_ratio(checked: &Validated<'_>) -> (Option<Tier>, Option<Ratio>) {
    match checked.frame {
        FrameChoice::TierAndRatio(tier, ratio) => (tier, ratio),
        FrameChoice::Untold | FrameChoice::Size(_) => (None, None),
    }
}
