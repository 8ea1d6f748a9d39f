//! What providers make: a real film and a real picture, both small.

use std::sync::OnceLock;

use framewright::domain::FrameRate;
use framewright::media::encode::{PngText, encode_png};
use framewright::media::video::{FilmMetadata, Frame, VideoSettings, encode};

/// Twelve frames of 64x48 pixels, half a second, as MP4.
pub(crate) fn film() -> Vec<u8> {
    static FILM: OnceLock<Vec<u8>> = OnceLock::new();
    FILM.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("film.mp4");
        let frames = (0..12_u8).map(|number| Frame::filled(64, 48, [number * 20, 90, 160]));
        encode(&path, &VideoSettings::new(64, 48, FrameRate::FILM), &FilmMetadata::default(), frames, &|| false).unwrap();
        std::fs::read(path).unwrap()
    })
    .clone()
}

/// A PNG of 40x30 pixels.
pub(crate) fn picture() -> Vec<u8> {
    encode_png(40, 30, &[120; 40 * 30 * 3], &PngText::default()).unwrap()
}
