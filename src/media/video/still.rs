//! Pictures out of a film.

use std::path::Path;

use super::error::{MediaError, file_name};
use super::frame::Frame;
use super::reader::VideoReader;
use crate::media::encode::{EncodeError, PngText, encode_jpeg, encode_png, encode_webp, thumbnail as picture_thumbnail};

/// How a picture out of a film is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StillFormat {
    /// Lossless, the largest.
    Png,
    /// JPEG, 1 to 100.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
    /// Lossless WebP.
    WebP,
}

/// A frame as a file's bytes: number `at`, from 0. The interrupt is looked at before every frame on the way there. Fails with
/// [`MediaError::TooFewFrames`] when there is no such frame, and as reading does.
pub fn poster(path: &Path, at: u64, format: StillFormat, interrupted: &dyn Fn() -> bool) -> Result<Vec<u8>, MediaError> {
    encode_still(&frame_at(path, at, interrupted)?, format)
}

/// A frame, scaled down so that its longer side is at most `max_side`, as JPEG. Fails like [`poster`].
pub fn thumbnail(path: &Path, at: u64, max_side: u32, interrupted: &dyn Fn() -> bool) -> Result<Vec<u8>, MediaError> {
    let frame = frame_at(path, at, interrupted)?;
    picture_thumbnail(frame.width(), frame.height(), frame.rgb(), max_side).map_err(encoding)
}

/// A film's last frame, exactly as it was decoded. Fails like [`poster`].
pub fn last_frame(path: &Path, interrupted: &dyn Fn() -> bool) -> Result<Frame, MediaError> {
    let mut reader = VideoReader::open(path)?;
    let mut last = None;
    while let Some(frame) = reader.read()? {
        if interrupted() {
            return Err(MediaError::Interrupted);
        }
        last = Some(frame);
    }
    last.ok_or_else(|| MediaError::TooFewFrames { file: file_name(path), frames: 0, needed: 1 })
}

/// A film's frame of a number, from 0. Fails like [`poster`].
pub fn frame_at(path: &Path, at: u64, interrupted: &dyn Fn() -> bool) -> Result<Frame, MediaError> {
    let mut reader = VideoReader::open(path)?;
    while reader.position() < at {
        if interrupted() {
            return Err(MediaError::Interrupted);
        }
        if !reader.skip_frame()? {
            return Err(MediaError::TooFewFrames { file: file_name(path), frames: reader.position(), needed: at + 1 });
        }
    }
    reader.read_needed(at + 1)
}

/// A frame as a file's bytes.
pub fn encode_still(frame: &Frame, format: StillFormat) -> Result<Vec<u8>, MediaError> {
    let (width, height, rgb) = (frame.width(), frame.height(), frame.rgb());
    match format {
        StillFormat::Png => encode_png(width, height, rgb, &PngText::default()),
        StillFormat::Jpeg { quality } => encode_jpeg(width, height, rgb, quality),
        StillFormat::WebP => encode_webp(width, height, rgb),
    }
    .map_err(encoding)
}

fn encoding(error: EncodeError) -> MediaError {
    MediaError::Failed { doing: "encoding a picture", reason: error.0 }
}
