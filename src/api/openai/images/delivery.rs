//! How the pictures are wanted: their files, links or base64, events or one answer.

use crate::api::error::{ApiError, ErrorKind};
use crate::api::output_format::{OutputEncoding, OutputFormat};

/// Most partial pictures of one request.
const MAX_PARTIALS: i128 = 3;
/// Qualities that answers may echo.
const ANSWERED_QUALITIES: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// Which route answers; it names the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Operation {
    /// `/v1/images/generations`.
    #[default]
    Generation,
    /// `/v1/images/edits`.
    Edit,
}

impl Operation {
    /// The event of a partial picture.
    pub(super) const fn partial_event(self) -> &'static str {
        match self {
            Self::Generation => "image_generation.partial_image",
            Self::Edit => "image_edit.partial_image",
        }
    }

    /// The event of a finished picture.
    pub(super) const fn completed_event(self) -> &'static str {
        match self {
            Self::Generation => "image_generation.completed",
            Self::Edit => "image_edit.completed",
        }
    }
}

/// What a request says of the answer. Absent fields have their defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct AskedDelivery {
    pub(super) operation: Operation,
    pub(super) quality: Option<String>,
    pub(super) background: Option<String>,
    pub(super) response_format: Option<String>,
    pub(super) output_format: Option<String>,
    pub(super) output_compression: Option<i128>,
    pub(super) partial_images: Option<i128>,
    pub(super) stream: bool,
}

/// How the answer is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The route.
    pub(super) operation: Operation,
    /// The pictures' files.
    pub(super) encoding: OutputEncoding,
    /// Links instead of base64.
    pub(super) as_url: bool,
    /// Events instead of one answer.
    pub(super) stream: bool,
    /// Partial pictures in all.
    pub(super) partial_images: u32,
    /// Echoed.
    quality: String,
}

impl AskedDelivery {
    /// Checks what no model has a say in.
    pub(super) fn checked(self) -> Result<Delivery, ApiError> {
        let quality =
            one_of("quality", self.quality.as_deref(), &["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"])?;
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
        let response_format = match self.response_format.as_deref() {
            Some("url") if self.stream => {
                return Err(ApiError::about(
                    ErrorKind::UnsupportedField,
                    "response_format",
                    "is 'url', which a stream cannot carry; allowed with stream: b64_json",
                ));
            }
            other => one_of("response_format", other, &["url", "b64_json"])?,
        };
        let partial_images = in_range("partial_images", self.partial_images, 0..=MAX_PARTIALS)?.unwrap_or(0);
        if partial_images > 0 && !self.stream {
            return Err(ApiError::invalid("partial_images", "has a meaning only with stream: true"));
        }
        Ok(Delivery {
            operation: self.operation,
            encoding: self.encoding()?,
            as_url: response_format == "url",
            stream: self.stream,
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

impl Delivery {
    /// The quality that a whole answer echoes, where OpenAI's answers know it.
    pub(super) fn answered_quality(&self) -> Option<String> {
        ANSWERED_QUALITIES.contains(&self.quality.as_str()).then(|| self.quality.clone())
    }

    /// The quality that an event echoes.
    pub(super) fn event_quality(&self) -> String {
        self.answered_quality().unwrap_or_else(|| "auto".to_owned())
    }
}

/// The value, or the first allowed one when absent.
pub(super) fn one_of<'a>(field: &'static str, value: Option<&str>, allowed: &[&'a str]) -> Result<&'a str, ApiError> {
    let Some(value) = value else { return Ok(allowed.first().copied().unwrap_or_default()) };
    allowed.iter().find(|known| **known == value).copied().ok_or_else(|| {
        let shown: String = value.chars().take(32).collect();
        ApiError::invalid(field, format!("is '{shown}'; allowed: {}", allowed.join(", ")))
    })
}

fn in_range(field: &'static str, value: Option<i128>, range: std::ops::RangeInclusive<i128>) -> Result<Option<i128>, ApiError> {
    match value {
        Some(number) if !range.contains(&number) => {
            Err(ApiError::invalid(field, format!("is {number}; allowed: {} to {}", range.start(), range.end())))
        }
        other => Ok(other),
    }
}
