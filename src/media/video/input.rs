//! Opening files for reading, without letting them open others.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::Dictionary;
use ffmpeg_next::format::{self, context::Input};

use super::error::MediaError;
use super::library;

/// Opens a file with one of FFmpeg's readers of these names (separated by commas) and no other. Playlists, which could name any file of the
/// machine or of its network, are never among them, and only plain files are opened.
pub(super) fn open(path: &Path, formats: &str) -> Result<Result<Input, ffmpeg::Error>, MediaError> {
    library::start();
    let options = [("protocol_whitelist", "file"), ("format_whitelist", formats)];
    let options: Dictionary<'_> = options.into_iter().collect();
    Ok(format::input_with_dictionary(&library::address(path)?, options))
}
