//! Creates for DashScope, in both of its protocols.

use serde_json::{Value, json};

use super::Aliyun;
use super::models::{is_between_frames, speaks_media};
use crate::providers::fields::Fields;
use crate::providers::frame::{PixelSize, Ratio, Tier};
use crate::providers::request::{GenerationKind, PictureRole, PictureSource};
use crate::providers::validate::{FrameChoice, RequestRefusal, Validated};
use crate::providers::wire::{Method, WireRequest};

const VIDEO: &str = "/services/aigc/video-generation/video-synthesis";
const BETWEEN_FRAMES: &str = "/services/aigc/image2video/video-synthesis";
const IMAGE: &str = "/services/aigc/text2image/image-synthesis";

/// A create. Fails with [`RequestRefusal`] for several shots without the rewriting that would make them.
pub(super) fn create(provider: &Aliyun, model: &str, checked: &Validated<'_>) -> Result<WireRequest, RequestRefusal> {
    let asked = checked.request;
    if asked.shot_type.as_deref() == Some("multi") && asked.prompt_extension == Some(false) {
        return Err(RequestRefusal::new("shot_type", "multi", model, "single, or multi with prompt_extension"));
    }
    let model = provider.region.name_of(model);
    let path = match checked.request.kind {
        GenerationKind::TextToImage => IMAGE,
        _ if is_between_frames(&model) => BETWEEN_FRAMES,
        _ => VIDEO,
    };
    let (input, parameters) = (input(&model, checked), parameters(checked));
    let body = json!({ "model": model, "input": Value::from(input), "parameters": Value::from(parameters) });
    // Without this header the call is refused: it would have to wait for the result.
    let mut request = provider.call(Method::Post, path).with_header("X-DashScope-Async", "enable").with_body(body);
    if checked
        .request
        .pictures
        .iter()
        .any(|picture| matches!(&picture.source, PictureSource::Link(link) if link.starts_with("oss://")))
    {
        request = request.with_header("X-DashScope-OssResourceResolve", "enable");
    }
    Ok(request)
}

fn input(model: &str, checked: &Validated<'_>) -> Fields {
    let request = checked.request;
    let negative = request.negative_prompt.clone().filter(|negative| !negative.is_empty());
    let input = Fields::default().maybe("prompt", checked.prompt()).maybe("negative_prompt", negative);
    let (first, last) = (checked.picture(PictureRole::FirstFrame), checked.picture(PictureRole::LastFrame));
    match request.kind {
        GenerationKind::TextToVideo => input.maybe("audio_url", request.audio_link.clone()),
        // The route would take `img_url` from these too, answer 200, and let the task fail.
        _ if speaks_media(model) => {
            let media = [("first_frame", first), ("last_frame", last), ("driving_audio", request.audio_link.clone())];
            let media = media.into_iter().filter_map(|(kind, url)| Some(json!({ "type": kind, "url": url? })));
            input.with("media", media.collect::<Vec<Value>>())
        }
        GenerationKind::ImageToVideo => input.maybe("img_url", first).maybe("audio_url", request.audio_link.clone()),
        GenerationKind::FirstLastFrame => input.maybe("first_frame_url", first).maybe("last_frame_url", last),
        GenerationKind::TextToImage | GenerationKind::SubjectReference => input,
    }
}

fn parameters(checked: &Validated<'_>) -> Fields {
    let (request, mode) = (checked.request, checked.mode);
    let parameters = match checked.frame {
        FrameChoice::Untold => Fields::default(),
        FrameChoice::Size(PixelSize { width, height }) => Fields::default().with("size", format!("{width}*{height}")),
        FrameChoice::TierAndRatio(tier, ratio) => {
            Fields::default().maybe("resolution", tier.map(Tier::name)).maybe("ratio", ratio.as_ref().map(Ratio::to_string))
        }
    };
    parameters
        .maybe("duration", checked.seconds)
        .maybe("n", (mode.most_results > 1).then(|| request.count.unwrap_or(1)))
        .maybe("shot_type", request.shot_type.clone())
        .maybe("prompt_extend", Validated::switch(mode.prompt_extension, request.prompt_extension))
        .maybe("watermark", Validated::switch(mode.watermark, request.watermark))
        .maybe("seed", request.seed)
}
