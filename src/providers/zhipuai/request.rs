//! Creates for Zhipu.

use serde_json::Value;

use super::models::answers_at_once;
use crate::providers::fields::Fields;
use crate::providers::frame::{Ratio, Tier};
use crate::providers::protocol::CreateOptions;
use crate::providers::request::{GenerationKind, Picture, PictureRole};
use crate::providers::validate::{FrameChoice, Validated};

/// The route.
pub(super) fn path(model: &str, kind: GenerationKind) -> &'static str {
    match kind {
        GenerationKind::TextToImage if answers_at_once(model) => "/images/generations",
        GenerationKind::TextToImage => "/async/images/generations",
        _ => "/videos/generations",
    }
}

/// The body.
pub(super) fn body(model: &str, checked: &Validated<'_>, options: &CreateOptions) -> Value {
    let (request, mode) = (checked.request, checked.mode);
    let (size, ratio) = match checked.frame {
        FrameChoice::Untold => (None, None),
        FrameChoice::Size(size) => (Some(size.to_string()), None),
        FrameChoice::TierAndRatio(tier, ratio) => (tier.and_then(size_of), ratio.as_ref().map(Ratio::to_string)),
    };
    // Only films know a request by its id.
    let our_id = options.our_id.clone().filter(|_| request.kind != GenerationKind::TextToImage);
    Fields::default()
        .with("model", model)
        .maybe("prompt", checked.prompt())
        .maybe("image_url", pictures(checked))
        .maybe("size", size)
        .maybe("aspect_ratio", ratio)
        .maybe("duration", checked.seconds)
        .maybe("fps", request.frames_per_second)
        .maybe("quality", request.quality.clone())
        .maybe("style", request.style.clone())
        .maybe("movement_amplitude", request.movement_amplitude.clone())
        .maybe("with_audio", Validated::switch(mode.audio, request.audio))
        .maybe("watermark_enabled", Validated::switch(mode.watermark, request.watermark))
        .maybe("request_id", our_id)
        .into()
}

/// One picture is a text; where there may be several they are an array, be it of one.
fn pictures(checked: &Validated<'_>) -> Option<Value> {
    let request = checked.request;
    let array = |roles: &[PictureRole]| -> Option<Value> {
        Some(roles.iter().flat_map(|role| request.pictures_of(*role)).map(Picture::url).collect::<Vec<String>>().into())
    };
    match request.kind {
        GenerationKind::ImageToVideo => checked.picture(PictureRole::FirstFrame).map(Value::from),
        GenerationKind::FirstLastFrame => array(&[PictureRole::FirstFrame, PictureRole::LastFrame]),
        GenerationKind::SubjectReference => array(&[PictureRole::Reference]),
        GenerationKind::TextToVideo | GenerationKind::TextToImage => None,
    }
}

/// The size that models with a shape of their own field are told: always the wide one.
fn size_of(tier: Tier) -> Option<String> {
    match tier {
        Tier::P720 => Some("1280x720".to_owned()),
        Tier::P1080 => Some("1920x1080".to_owned()),
        _ => None,
    }
}
