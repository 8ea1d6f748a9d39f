//! Clips: the frames of a device, kept without loss.

use std::path::Path;

use framewright_engine::vision::RgbPicture;

use super::error::FilmError;
use crate::domain::film::ClipRequest;
use crate::domain::{Artifact, FrameRate, VideoFacts};
use crate::execution::FinishedPicture;
use crate::execution::results::{Attempt, CLIP_CODEC, file_sha256};
use crate::media::video::{self, FilmMetadata, Frame, MediaError, VideoReader, VideoSettings, VideoWriter};
use crate::storage::{ArtifactStorage, thumbnail_key};

/// Stores the frames of a clip, wherever the device left them, one after the other. After an error a part may be there: see
/// [`Attempt::delete_files`].
pub fn store_clip(
    storage: &ArtifactStorage,
    attempt: &Attempt,
    request: &ClipRequest,
    frames: Vec<FinishedPicture>,
) -> Result<Artifact, FilmError> {
    let key = attempt.key(0);
    let frame_rate = FrameRate::new(request.settings.fps, 1).unwrap_or(FrameRate::FILM);
    let draft = storage.draft(&key)?;
    let mut writer = None;
    for picture in frames {
        let RgbPicture { width, height, bytes } = picture.read().map_err(FilmError::Frame)?;
        let frame = Frame::new(width as u32, height as u32, bytes)?;
        let writer = if let Some(writer) = &mut writer {
            writer
        } else {
            let size = (frame.width(), frame.height());
            let settings = VideoSettings::new(size.0, size.1, frame_rate).with_codec(CLIP_CODEC);
            writer.insert((VideoWriter::create(&draft, &settings, &FilmMetadata::default())?, size))
        };
        writer.0.push(&frame)?;
    }
    let (writer, (width, height)) = writer.ok_or(FilmError::Missing("the clip's first frame"))?;
    let written = writer.finish()?;
    let sha256 = file_sha256(&draft).map_err(FilmError::Frame)?;
    storage.keep(&key)?;
    Ok(Artifact {
        thumbnail_key: thumbnail_key(&key),
        media_type: CLIP_CODEC.media_type().to_owned(),
        width,
        height,
        bytes: written.bytes,
        sha256,
        seed: request.seed,
        video: Some(VideoFacts {
            frames: written.frames,
            frame_rate,
            duration_ms: (frame_rate.seconds_of(written.frames) * 1000.0).round() as i64,
            codec: CLIP_CODEC.name().to_owned(),
            sprite_sheet_key: None,
        }),
        key,
    })
}

/// The last frame of a kept clip, exactly as it was.
pub fn last_frame(path: &Path) -> Result<RgbPicture, MediaError> {
    let frame = video::last_frame(path, &|| false)?;
    Ok(RgbPicture { width: frame.width() as usize, height: frame.height() as usize, bytes: frame.into_rgb() })
}

/// The frames of kept clips one after the other; each but the first begins with the last frame of the one before it, which is left out.
pub(super) struct Chain<'a> {
    paths: std::slice::Iter<'a, std::path::PathBuf>,
    reader: Option<VideoReader>,
    is_first: bool,
}

impl<'a> Chain<'a> {
    pub(super) fn new(paths: &'a [std::path::PathBuf]) -> Self {
        Self { paths: paths.iter(), reader: None, is_first: true }
    }

    fn advance(&mut self) -> Result<Option<Frame>, MediaError> {
        loop {
            if let Some(reader) = &mut self.reader
                && let Some(frame) = reader.read()?
            {
                return Ok(Some(frame));
            }
            let Some(path) = self.paths.next() else { return Ok(None) };
            let mut reader = VideoReader::open(path)?;
            if !std::mem::take(&mut self.is_first) {
                reader.skip_frame()?;
            }
            self.reader = Some(reader);
        }
    }
}

impl Iterator for Chain<'_> {
    type Item = Result<Frame, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_follow_each_other_without_the_frame_that_joins_them() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, levels: std::ops::Range<u8>| {
            let path = directory.path().join(name);
            let settings = VideoSettings::new(16, 16, FrameRate::FILM).with_codec(CLIP_CODEC);
            let mut writer = VideoWriter::create(&path, &settings, &FilmMetadata::default()).unwrap();
            for level in levels {
                writer.push(&Frame::filled(16, 16, [level, 255 - level, 7]).unwrap()).unwrap();
            }
            writer.finish().unwrap();
            path
        };
        let paths = [write("a.mkv", 0..5), write("b.mkv", 4..9), write("c.mkv", 8..13)];
        let levels: Vec<u8> = Chain::new(&paths).map(|frame| frame.unwrap().pixel(3, 3)[0]).collect();
        assert_eq!(levels, (0..13).collect::<Vec<u8>>(), "bit for bit");
        let last = last_frame(&paths[1]).unwrap();
        assert_eq!((last.width, &last.bytes[..3]), (16, &[8, 247, 7][..]));
    }
}
