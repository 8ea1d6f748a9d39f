//! The picture to start from, and the mask of it, as clients send them: base64, bare or in a data URL, or a link.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::error::ApiError;
use super::film_submission::OrderedFile;
use super::linked_file::{LinkedFiles, MOST_LINKED_BYTES, is_link};
use crate::media::decode::{DecodeError, DecodedImage, decode_image};
use crate::media::encode::{PngText, encode_png};
use crate::media::mask::{MaskReading, decode_mask};

/// How many pictures are decoded at a time: each may take as much memory as the largest allowed picture.
const DECODED_AT_A_TIME: usize = 2;

/// With or without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A user's picture, decoded and encoded again, so that nothing of the original file is left but its pixels.
#[derive(Clone, Debug)]
pub struct InitImage {
    /// The picture as PNG.
    pub png: Bytes,
    /// Pixels across and down.
    pub size: (u32, u32),
}

/// Fetches users' pictures where they are links, and decodes them off the async threads, a few at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InitImageDecoder {
    permits: Arc<Semaphore>,
    linked_files: LinkedFiles,
}

impl InitImageDecoder {
    /// A decoder of pictures that are sent, or linked to.
    pub fn new(linked_files: LinkedFiles) -> Self {
        Self { permits: Arc::new(Semaphore::new(DECODED_AT_A_TIME)), linked_files }
    }

    /// Decodes a file that came as `field`, or that it links to.
    pub(super) async fn decode_file(&self, field: impl Into<String>, file: OrderedFile) -> Result<InitImage, ApiError> {
        self.decode_with(field.into(), file, decode_image).await
    }

    /// Decodes a mask that came as `field`: white where to repaint.
    pub(super) async fn decode_mask(
        &self,
        field: impl Into<String>,
        file: OrderedFile,
        reading: MaskReading,
    ) -> Result<InitImage, ApiError> {
        self.decode_with(field.into(), file, move |bytes| decode_mask(bytes, reading)).await
    }

    async fn decode_with(
        &self,
        field: String,
        file: OrderedFile,
        decode: impl Fn(&[u8]) -> Result<DecodedImage, DecodeError> + Send + 'static,
    ) -> Result<InitImage, ApiError> {
        let file = match file {
            OrderedFile::Text(link) if is_link(&link) => {
                OrderedFile::Bytes(self.linked_files.fetch(&field, &link, MOST_LINKED_BYTES).await?)
            }
            OrderedFile::Text(text) => OrderedFile::Text(base64_of(&field, text)?),
            OrderedFile::Bytes(bytes) => OrderedFile::Bytes(bytes),
        };
        self.beside_others(move || match file {
            OrderedFile::Text(text) => decode_base64_picture(&field, &text, decode),
            OrderedFile::Bytes(bytes) => decode_picture(&field, &bytes, decode),
        })
        .await
    }

    /// Other work on a picture of a user's, within the same bound.
    pub(super) async fn beside_others<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(ApiError::internal)?;
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        working.await.map_err(ApiError::internal)?
    }
}

/// The base64 part of a data URL, or the whole text.
pub(super) fn base64_of(field: &str, text: String) -> Result<String, ApiError> {
    if !text.chars().take(5).collect::<String>().eq_ignore_ascii_case("data:") {
        return Ok(text);
    }
    match text.split_once(',') {
        Some((head, data)) if head.to_ascii_lowercase().ends_with(";base64") => Ok(data.to_owned()),
        _ => Err(ApiError::invalid(field.to_owned(), "is a data URL without ';base64,'")),
    }
}

fn decode_base64_picture(
    field: &str,
    text: &str,
    decode: impl Fn(&[u8]) -> Result<DecodedImage, DecodeError>,
) -> Result<InitImage, ApiError> {
    let bytes = BASE64
        .decode(text.trim())
        .map_err(|error| ApiError::invalid(field.to_owned(), format!("is not base64 of a PNG, JPEG or WebP picture: {error}")))?;
    decode_picture(field, &bytes, decode)
}

fn decode_picture(
    field: &str,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<DecodedImage, DecodeError>,
) -> Result<InitImage, ApiError> {
    let picture = decode(bytes).map_err(|error| ApiError::invalid(field.to_owned(), format!("cannot be used: {error}")))?;
    let png = encode_png(picture.width, picture.height, &picture.rgb, &PngText::default()).map_err(ApiError::internal)?;
    Ok(InitImage { png: png.into(), size: (picture.width, picture.height) })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::error::ErrorKind;

    #[rstest]
    #[case("aGVsbG8=", "aGVsbG8=")]
    #[case("data:image/png;base64,aGVsbG8=", "aGVsbG8=")]
    #[case("DATA:image/png;BASE64,aGVsbG8=", "aGVsbG8=")]
    fn base64_is_found(#[case] text: &str, #[case] data: &str) {
        assert_eq!(base64_of("init_image", text.to_owned()).unwrap(), data);
    }

    #[rstest]
    #[case("data:image/png,abc", ErrorKind::InvalidValue)]
    #[case("data:", ErrorKind::InvalidValue)]
    fn other_texts_are_refused(#[case] text: &str, #[case] kind: ErrorKind) {
        let error = base64_of("init_image", text.to_owned()).unwrap_err();
        assert_eq!((error.kind(), error.field()), (kind, Some("init_image")));
    }

    #[rstest]
    #[case("")]
    #[case("%%%")]
    #[case("aGVsbG8gd29ybGQ=")]
    fn what_is_no_picture_is_refused(#[case] text: &str) {
        let error = decode_base64_picture("init_image", text, decode_image).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidValue, Some("init_image")));
    }
}
