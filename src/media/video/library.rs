//! The FFmpeg libraries themselves: brought up once, and handed paths only as they can take them.

use std::path::Path;
use std::sync::Once;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::util::log;

use super::error::{MediaError, file_name};

static START: Once = Once::new();

/// Brings the libraries up. Everything that calls FFmpeg begins with this.
pub(super) fn start() {
    START.call_once(|| {
        // FFmpeg 5 and later need no registration; older ones do. Neither can fail.
        let _ = ffmpeg::init();
        // It writes to the standard error of whoever runs it; what it has to say comes back as errors.
        log::set_level(log::Level::Quiet);
    });
}

/// A file for FFmpeg: `file:` keeps names with a colon from being taken for protocols. Fails with [`MediaError::Setting`] for a path that
/// is not UTF-8, or holds a zero byte, since the wrapper would panic on those.
pub(super) fn address(path: &Path) -> Result<String, MediaError> {
    match path.to_str() {
        Some(text) if !text.contains('\0') => Ok(format!("file:{text}")),
        _ => Err(MediaError::setting("path", format!("'{}' is not UTF-8", file_name(path)))),
    }
}
