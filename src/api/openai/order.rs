//! A request to `/v1/images/generations`: its fields, and what they ask for once checked.

use serde::Deserialize;
use utoipa::ToSchema;

use super::picture_size::PictureSize;
use crate::api::error::{ApiError, ErrorKind};
use crate::api::output_format::{OutputEncoding, OutputFormat};
use crate::api::whole_number::WholeNumber;
use crate::domain::ModelLimits;
use crate::models::parameters::ImageParameters;

/// Most pictures of one request, whatever the model allows.
const MAX_PICTURES: i128 = 10;
/// Most partial pictures of one request.
const MAX_PARTIALS: i128 = 3;

/// OpenAI's fields, and the extensions that other servers have too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CreateImagesRequest {
    /// What the picture shows.
    #[schema(example = "a large red circle on a blue background")]
    prompt: String,
    /// The model; absent: the default image model.
    pub(super) model: Option<String>,
    /// How many pictures, 1 to 10; absent: 1.
    #[schema(value_type = Option<u32>)]
    n: Option<WholeNumber>,
    /// `auto`, `WxH` in pixels, or a shape such as `16:9`; absent: `auto`.
    size: Option<String>,
    /// Accepted for compatibility, and echoed: `auto`, `low`, `medium`, `high`, `standard` or `hd`.
    quality: Option<String>,
    /// Accepted for compatibility: `vivid` or `natural`.
    style: Option<String>,
    /// `url` (the default; a link that needs no key for an hour) or `b64_json` (always, when streaming).
    response_format: Option<String>,
    /// `png` (the default), `jpeg` or `webp`.
    output_format: Option<String>,
    /// Quality of a JPEG, 0 to 100; absent: 100.
    #[schema(value_type = Option<u32>)]
    output_compression: Option<WholeNumber>,
    /// `auto` or `opaque`; no model here makes transparent pictures.
    background: Option<String>,
    /// Accepted for compatibility: `auto` or `low`. Nothing is moderated here.
    moderation: Option<String>,
    /// How many partial pictures a stream shows before the picture itself, 0 to 3; absent: 0.
    #[schema(value_type = Option<u32>)]
    partial_images: Option<WholeNumber>,
    /// Answer with server-sent events.
    stream: Option<bool>,
    /// Accepted for compatibility.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    user: Option<String>,
    /// Extension: what the picture must not show.
    negative_prompt: Option<String>,
    /// Extension: sampler steps.
    #[schema(value_type = Option<u32>)]
    num_inference_steps: Option<WholeNumber>,
    /// Extension: classifier-free guidance.
    guidance_scale: Option<f64>,
    /// Extension: seed of the first picture; absent: random.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeNumber>,
    /// Extension: a sampler's name.
    sampler: Option<String>,
}

/// How the answer is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The pictures' files.
    pub(super) encoding: OutputEncoding,
    /// Links instead of base64.
    pub(super) as_url: bool,
    /// Events instead of one answer.
    pub(super) stream: bool,
    /// Partial pictures in all.
    pub(super) partial_images: u32,
    /// Echoed.
    pub(super) quality: String,
}

impl CreateImagesRequest {
    /// Checks what a model has no say in, and names the rest in neutral words.
    pub(super) fn into_order(self, limits: &ModelLimits) -> Result<(ImageParameters, Delivery), ApiError> {
        if self.prompt.is_empty() {
            return Err(ApiError::invalid("prompt", "is empty"));
        }
        let delivery = self.delivery()?;
        let size_text = self.size.as_deref().unwrap_or("auto");
        let size = PictureSize::parse(size_text).ok_or_else(|| {
            let shown: String = size_text.chars().take(32).collect();
            ApiError::invalid("size", format!("is '{shown}'; allowed: auto, WIDTHxHEIGHT in pixels, or a shape such as 16:9"))
        })?;
        let pixels = size.pixels(limits);
        if let Some(WholeNumber(number)) = self.n
            && !(1..=MAX_PICTURES.min(limits.max_images.into())).contains(&number)
        {
            return Err(ApiError::invalid(
                "n",
                format!("is {number}; allowed: 1 to {}", MAX_PICTURES.min(limits.max_images.into())),
            ));
        }
        let parameters = ImageParameters {
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            width: pixels.map(|(width, _)| width),
            height: pixels.map(|(_, height)| height),
            num_inference_steps: self.num_inference_steps.map(|number| number.0),
            guidance_scale: self.guidance_scale,
            seed: self.seed.map(|number| number.0),
            sampler: self.sampler,
            num_images: self.n.map(|number| number.0),
            init_image_size: None,
            has_mask: false,
            strength: None,
        };
        Ok((parameters, delivery))
    }

    fn delivery(&self) -> Result<Delivery, ApiError> {
        let quality = one_of("quality", self.quality.as_deref(), &["auto", "low", "medium", "high", "standard", "hd"])?;
        one_of("style", self.style.as_deref(), &["vivid", "natural"])?;
        one_of("moderation", self.moderation.as_deref(), &["auto", "low"])?;
        match self.background.as_deref() {
            Some("transparent") => {
                return Err(ApiError::about(
                    ErrorKind::UnsupportedField,
                    "background",
                    "is 'transparent', which this model cannot make; allowed: auto, opaque",
                ));
            }
            other => one_of("background", other, &["auto", "opaque"])?,
        };
        let stream = self.stream.unwrap_or(false);
        let response_format = match self.response_format.as_deref() {
            Some("url") if stream => {
                return Err(ApiError::about(
                    ErrorKind::UnsupportedField,
                    "response_format",
                    "is 'url', which a stream cannot carry; allowed with stream: b64_json",
                ));
            }
            other => one_of("response_format", other, &["url", "b64_json"])?,
        };
        let partial_images = in_range("partial_images", self.partial_images, 0..=MAX_PARTIALS)?.unwrap_or(0);
        if partial_images > 0 && !stream {
            return Err(ApiError::invalid("partial_images", "has a meaning only with stream: true"));
        }
        Ok(Delivery {
            encoding: self.encoding()?,
            as_url: response_format == "url",
            stream,
            partial_images: partial_images as u32,
            quality: quality.to_owned(),
        })
    }

    fn encoding(&self) -> Result<OutputEncoding, ApiError> {
        let format = match one_of("output_format", self.output_format.as_deref(), &["png", "jpeg", "webp"])? {
            "jpeg" => OutputFormat::Jpeg,
            "webp" => OutputFormat::Webp,
            _ => OutputFormat::Png,
        };
        let compression = in_range("output_compression", self.output_compression, 0..=100)?.unwrap_or(100);
        if format != OutputFormat::Jpeg && compression != 100 {
            return Err(ApiError::invalid(
                "output_compression",
                format!("is {compression}, but {} files are lossless here; allowed: 100", format.as_str()),
            ));
        }
        Ok(OutputEncoding { format, quality: compression.clamp(1, 100) as u8 })
    }
}

/// What this surface calls a native field.
pub(super) fn field_name(native: &str) -> Option<&'static str> {
    match native {
        "width" | "height" => Some("size"),
        "num_images" => Some("n"),
        _ => None,
    }
}

/// The value, or the first allowed one when absent.
fn one_of<'a>(field: &'static str, value: Option<&str>, allowed: &[&'a str]) -> Result<&'a str, ApiError> {
    let Some(value) = value else { return Ok(allowed.first().copied().unwrap_or_default()) };
    allowed.iter().find(|known| **known == value).copied().ok_or_else(|| {
        let shown: String = value.chars().take(32).collect();
        ApiError::invalid(field, format!("is '{shown}'; allowed: {}", allowed.join(", ")))
    })
}

fn in_range(
    field: &'static str,
    value: Option<WholeNumber>,
    range: std::ops::RangeInclusive<i128>,
) -> Result<Option<i128>, ApiError> {
    match value {
        Some(WholeNumber(number)) if !range.contains(&number) => {
            Err(ApiError::invalid(field, format!("is {number}; allowed: {} to {}", range.start(), range.end())))
        }
        other => Ok(other.map(|number| number.0)),
    }
}
