//! Creates in OpenAI's dialect.

use serde_json::Value;

use super::models::{ResponseFormat, has_bounded_shape};
use crate::providers::fields::Fields;
use crate::providers::payload::Part;
use crate::providers::request::{PictureFormat, PictureRole, PictureSource};
use crate::providers::validate::{FrameChoice, RequestRefusal, Validated};

/// The body of a create of pictures. Fails with [`RequestRefusal`] for a shape that a model does not make.
pub(super) fn pictures(model: &str, checked: &Validated<'_>, format: Option<ResponseFormat>) -> Result<Value, RequestRefusal> {
    let request = checked.request;
    if let FrameChoice::Size(size) = checked.frame
        && has_bounded_shape(model)
        && size.long_side() > 3 * size.short_side()
    {
        return Err(RequestRefusal::new("size", size, model, "long by short side up to 3"));
    }
    let several = checked.mode.most_results > 1;
    Ok(Fields::default()
        .with("model", model)
        .maybe("prompt", checked.prompt())
        .maybe("n", several.then(|| request.count.unwrap_or(1)))
        .maybe("size", size(checked))
        .maybe("quality", request.quality.clone())
        .maybe("style", request.style.clone())
        .maybe("response_format", format.map(ResponseFormat::name))
        .into())
}

/// The fields of a create of a film.
pub(super) fn film(model: &str, checked: &Validated<'_>) -> Vec<Part> {
    let mut parts = vec![Part::field("model", model)];
    parts.extend(checked.prompt().map(|prompt| Part::field("prompt", prompt)));
    parts.extend(checked.seconds.map(|seconds| Part::field("seconds", seconds.to_string())));
    parts.extend(size(checked).map(|size| Part::field("size", size)));
    if let Some(picture) = checked.request.pictures_of(PictureRole::FirstFrame).next() {
        parts.push(match &picture.source {
            // In a form, what is in an object has its name in brackets.
            PictureSource::Link(link) => Part::field("input_reference[image_url]", link),
            PictureSource::Bytes { format, bytes } => {
                Part::file("input_reference", file_name(*format), format.media_type(), bytes.clone())
            }
        });
    }
    parts
}

fn file_name(format: PictureFormat) -> &'static str {
    match format {
        PictureFormat::Jpeg => "reference.jpg",
        PictureFormat::Png => "reference.png",
        PictureFormat::Webp => "reference.webp",
        PictureFormat::Bmp => "reference.bmp",
    }
}

fn size(checked: &Validated<'_>) -> Option<String> {
    match checked.frame {
        FrameChoice::Size(size) => Some(size.to_string()),
        FrameChoice::Untold | FrameChoice::TierAndRatio(..) => None,
    }
}
