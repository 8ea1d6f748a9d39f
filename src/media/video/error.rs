//! What can go wrong with a film.

use std::io;
use std::path::Path;

use ffmpeg_next as ffmpeg;

/// Why a film could not be read or written. Files are named without their folders, since users see the line.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A setting that cannot be.
    #[error("{field}: {reason}")]
    Setting {
        /// Which setting.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A frame of another size than the film's.
    #[error("a frame has {width}x{height} pixels; the film has {film_width}x{film_height}")]
    FrameSize {
        /// The frame's pixels across.
        width: u32,
        /// The frame's pixels down.
        height: u32,
        /// The film's pixels across.
        film_width: u32,
        /// The film's pixels down.
        film_height: u32,
    },
    /// No encoder of the codec works here.
    #[error("this machine's FFmpeg libraries cannot encode {codec}: {reason}")]
    NoEncoder {
        /// The codec.
        codec: &'static str,
        /// What each encoder said.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk is full: '{file}' could not be written; make room and try again")]
    StorageFull {
        /// The file's name.
        file: String,
    },
    /// Writing failed.
    #[error("'{file}' could not be written: {reason}")]
    Write {
        /// The file's name.
        file: String,
        /// What the system or FFmpeg said.
        reason: String,
    },
    /// The file is no film that can be decoded.
    #[error("'{file}' is no video that can be decoded: {reason}")]
    NotVideo {
        /// The file's name.
        file: String,
        /// What FFmpeg said.
        reason: String,
    },
    /// The file is no sound that can be decoded.
    #[error("'{file}' is no audio that can be decoded: {reason}; send WAV, MP3, FLAC, AAC, M4A, Ogg or Opus")]
    NotAudio {
        /// The file's name.
        file: String,
        /// What FFmpeg said.
        reason: String,
    },
    /// A clip is shorter than the film needs it.
    #[error("'{file}' has {frames} frames; {needed} are needed")]
    TooFewFrames {
        /// The file's name.
        file: String,
        /// Frames that it has.
        frames: u64,
        /// Frames that are needed.
        needed: u64,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A filter or an encoder failed at something that should work.
    #[error("{doing} failed: {reason}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What FFmpeg said.
        reason: String,
    },
}

impl MediaError {
    /// A setting that cannot be.
    pub(crate) fn setting(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { field, reason: reason.into() }
    }

    /// What FFmpeg said while something was done that has nothing to do with a file.
    pub(super) fn failed(doing: &'static str) -> impl Fn(ffmpeg::Error) -> Self {
        move |error| Self::Failed { doing, reason: error.to_string() }
    }

    /// What FFmpeg said while a file was written.
    pub(super) fn writing(path: &Path) -> impl Fn(ffmpeg::Error) -> Self + use<> {
        let file = file_name(path);
        move |error| match error {
            ffmpeg::Error::Other { errno } => Self::written(&file, &io::Error::from_raw_os_error(errno)),
            other => Self::Write { file: file.clone(), reason: other.to_string() },
        }
    }

    /// What the system said while a file was written.
    pub(super) fn storing(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let file = file_name(path);
        move |error| Self::written(&file, &error)
    }

    fn written(file: &str, error: &io::Error) -> Self {
        let file = file.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::StorageFull { file },
            _ => Self::Write { file, reason: error.to_string() },
        }
    }

    /// What FFmpeg said while a film was read.
    pub(super) fn reading(path: &Path) -> impl Fn(ffmpeg::Error) -> Self + use<> {
        let file = file_name(path);
        move |error| Self::NotVideo { file: file.clone(), reason: error.to_string() }
    }
}

/// A file's name without its folders.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let path = Path::new("/some/where/film.mp4");
        for errno in [ffmpeg::error::ENOSPC, ffmpeg::error::EFBIG] {
            let error = MediaError::writing(path)(ffmpeg::Error::Other { errno });
            assert!(matches!(&error, MediaError::StorageFull { file } if file == "film.mp4"), "{error}");
        }
        let error = MediaError::writing(path)(ffmpeg::Error::Other { errno: ffmpeg::error::EACCES });
        assert!(error.to_string().starts_with("'film.mp4' could not be written: Permission denied"), "{error}");
        assert!(matches!(MediaError::writing(path)(ffmpeg::Error::InvalidData), MediaError::Write { .. }));
    }
}
