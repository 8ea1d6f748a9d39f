//! Creates for Runway.

use serde_json::{Value, json};

use super::models::PROMPT_UNITS;
use crate::providers::fields::Fields;
use crate::providers::frame::PixelSize;
use crate::providers::request::{GenerationKind, PictureRole, PictureSource};
use crate::providers::validate::{FrameChoice, RequestRefusal, Validated};

/// Most bytes of a picture's link.
const MOST_LINK_BYTES: usize = 2048;

/// The body. Fails with [`RequestRefusal`] for a prompt that is too long as the provider counts, and for links that it does not open.
pub(super) fn body(model: &str, checked: &Validated<'_>) -> Result<Value, RequestRefusal> {
    let (request, mode) = (checked.request, checked.mode);
    let units = request.prompt.encode_utf16().count();
    if units > PROMPT_UNITS {
        let allowed = format!("{PROMPT_UNITS} UTF-16 code units; an emoji is two or more");
        return Err(RequestRefusal::new("prompt", format!("{units} UTF-16 code units"), model, allowed));
    }
    for picture in &request.pictures {
        if let PictureSource::Link(link) = &picture.source
            && (!link.starts_with("https://") || link.len() > MOST_LINK_BYTES)
        {
            let allowed = format!("up to {MOST_LINK_BYTES} bytes that begin with https://");
            return Err(RequestRefusal::new(picture.role.field(), format!("a link of {} bytes", link.len()), model, allowed));
        }
    }
    let ratio = match checked.frame {
        FrameChoice::Size(PixelSize { width, height }) => Some(format!("{width}:{height}")),
        FrameChoice::Untold | FrameChoice::TierAndRatio(..) => None,
    };
    Ok(Fields::default()
        .with("model", model)
        .maybe("promptText", checked.prompt())
        .maybe("promptImage", pictures(checked))
        .maybe("ratio", ratio)
        .maybe("duration", checked.seconds)
        .maybe("audio", Validated::switch(mode.audio, request.audio))
        .maybe("seed", request.seed)
        .into())
}

/// One picture is a text; two are an array that says where each belongs.
fn pictures(checked: &Validated<'_>) -> Option<Value> {
    let first = checked.picture(PictureRole::FirstFrame)?;
    if checked.request.kind != GenerationKind::FirstLastFrame {
        return Some(first.into());
    }
    let last = checked.picture(PictureRole::LastFrame)?;
    Some(json!([{ "uri": first, "position": "first" }, { "uri": last, "position": "last" }]))
}
