//! The file formats that pictures are handed out in. Those made here are stored as PNG, those of providers as they came; any other
//! format is made on the way out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_jpeg, encode_png, encode_webp};

/// How many stored pictures are converted at a time, whoever asks: each takes a processor and its pixels' memory.
static CONVERSIONS: Semaphore = Semaphore::const_new(4);

/// A file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OutputFormat {
    /// Lossless; of a picture made here, with its parameters and manifest inside.
    #[default]
    Png,
    /// Lossy.
    Jpeg,
    /// Lossless.
    Webp,
}

/// A format and, for JPEG, a quality of 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutputEncoding {
    pub(super) format: OutputFormat,
    pub(super) quality: u8,
}

impl OutputFormat {
    /// Its name in requests and answers.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    /// Its media type.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

impl OutputEncoding {
    /// The query that makes a content route serve a picture that is stored as `media_type` in this encoding; empty for files as they are
    /// stored.
    pub(super) fn query(self, media_type: &str) -> String {
        match self.format {
            OutputFormat::Png if media_type == OutputFormat::Png.media_type() => String::new(),
            OutputFormat::Png => "format=png".to_owned(),
            OutputFormat::Jpeg => format!("format=jpeg&quality={}", self.quality),
            OutputFormat::Webp => "format=webp".to_owned(),
        }
    }

    /// A picture that is stored as `media_type`, in this encoding. A JPEG is made anew for its quality.
    pub(super) async fn encode(self, stored: Bytes, media_type: &str) -> Result<Bytes, ApiError> {
        if self.format != OutputFormat::Jpeg && self.format.media_type() == media_type {
            return Ok(stored);
        }
        let permit = CONVERSIONS.acquire().await.map_err(ApiError::internal)?;
        tokio::task::spawn_blocking(move || {
            // Held by the work itself: a client that hangs up does not stop it.
            let _permit = permit;
            let picture = decode_image(&stored).map_err(ApiError::internal)?;
            self.encode_rgb(picture.width, picture.height, &picture.rgb)
        })
        .await
        .map_err(ApiError::internal)?
    }

    /// Pixels in this encoding. Blocking.
    pub(super) fn encode_rgb(self, width: u32, height: u32, rgb: &[u8]) -> Result<Bytes, ApiError> {
        let encoded = match self.format {
            OutputFormat::Png => encode_png(width, height, rgb, &PngText::default()),
            OutputFormat::Jpeg => encode_jpeg(width, height, rgb, self.quality),
            OutputFormat::Webp => encode_webp(width, height, rgb),
        };
        Ok(encoded.map_err(ApiError::internal)?.into())
    }
}
