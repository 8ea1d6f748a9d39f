//! What the three requests for pictures have in common: size, number, and the names of fields.

use crate::api::error::{ApiError, ErrorKind};
use crate::domain::{Frame, ModelLimits, Ratio};
use crate::models::named_size::{NamedSize, size_for_aspect};

/// Most pictures of one request, whatever the model allows.
const MAX_PICTURES: i128 = 10;

/// What `size` asks for. Nothing leaves it to the model, or to the picture that is begun with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::api::openai) struct AskedPixels {
    /// Pixels across.
    pub(in crate::api::openai) width: Option<i128>,
    /// Pixels down.
    pub(in crate::api::openai) height: Option<i128>,
    /// The shape that they were made of.
    pub(in crate::api::openai) shape: Option<Ratio>,
}

/// Width and height that `size` asks for.
pub(in crate::api::openai) fn asked_pixels(size: Option<&str>, limits: &ModelLimits) -> Result<AskedPixels, ApiError> {
    let text = size.unwrap_or("auto");
    match NamedSize::read(text) {
        Some(NamedSize::Auto) => Ok(AskedPixels::default()),
        Some(NamedSize::Pixels(width, height)) => Ok(AskedPixels { width: Some(width), height: Some(height), shape: None }),
        Some(NamedSize::Aspect(across, down)) => {
            let (width, height) = size_for_aspect(limits, across, down);
            let shape = match text.parse() {
                Ok(Frame::Ratio(shape)) => Some(shape),
                _ => None,
            };
            Ok(AskedPixels { width: Some(width.into()), height: Some(height.into()), shape })
        }
        Some(NamedSize::ShortSide(_) | NamedSize::Shaped(..)) | None => {
            let shown: String = text.chars().take(32).collect();
            let problem = format!("is '{shown}'; allowed: auto, WIDTHxHEIGHT in pixels, or a shape such as 16:9");
            Err(ApiError::invalid("size", problem))
        }
    }
}

/// How many pictures `n` asks for.
pub(in crate::api::openai) fn checked_count(n: Option<i128>, limits: &ModelLimits) -> Result<Option<i128>, ApiError> {
    let most = MAX_PICTURES.min(limits.max_images.into());
    match n {
        Some(number) if !(1..=most).contains(&number) => {
            Err(ApiError::invalid("n", format!("is {number}; allowed: 1 to {most}")))
        }
        other => Ok(other),
    }
}

/// A prompt that says something.
pub(super) fn checked_prompt(prompt: String) -> Result<String, ApiError> {
    if prompt.is_empty() { Err(ApiError::invalid("prompt", "is empty")) } else { Ok(prompt) }
}

/// Native field names become this surface's own; `picture` is what the request calls the picture to begin with.
pub(super) fn in_openai_words(error: ApiError, picture: &'static str) -> ApiError {
    match error.field() {
        // The words say which of the two sides it is.
        Some("width" | "height") => error.with_field("size"),
        Some("resolution") => error.renamed("size"),
        Some("num_images") => error.renamed("n"),
        Some("init_image") => error.renamed(picture),
        Some("scenes[0].prompt") => error.renamed("prompt"),
        Some("scenes[0].negative_prompt") => error.renamed("negative_prompt"),
        Some("max_guidance_scale") => error.renamed("guidance_scale"),
        _ => error,
    }
}

/// A field that OpenAI knows and this server does not.
pub(super) fn unsupported(field: &'static str, problem: &'static str) -> ApiError {
    ApiError::about(ErrorKind::UnsupportedField, field, problem)
}
