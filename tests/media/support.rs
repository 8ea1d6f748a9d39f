//! Films to test with, and what ffprobe says of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use framewright::domain::{FrameRate, VideoCodec};
use framewright::media::video::{FilmMetadata, Frame, MediaError, VideoReader, VideoSettings, WrittenFilm, encode};
use serde_json::Value;

/// Nobody asks to stop.
pub(crate) fn never() -> bool {
    false
}

/// A frame whose number can be told from its pixels, coarse enough to live through lossy codecs: a ramp, a block that moves, and the
/// number as the brightness of the frame's left strip.
pub(crate) fn numbered(width: u32, height: u32, number: u64) -> Frame {
    let strip = (number % 16) as u8 * 15;
    Frame::from_fn(width, height, |x, y| {
        if x < width / 4 {
            [strip; 3]
        } else if (x + y + 2 * number as u32) % 64 < 16 {
            [200, 60, 40]
        } else {
            [(x * 160 / width) as u8, (y * 160 / height) as u8, 90]
        }
    })
    .unwrap()
}

/// The number modulo 16 that [`numbered`] put in.
pub(crate) fn number_of(frame: &Frame) -> u64 {
    (u64::from(frame.pixel(frame.width() / 8, frame.height() / 2)[0]) + 7) / 15
}

/// A film that stands still.
pub(crate) fn repeated(frame: &Frame, frames: usize) -> Vec<Result<Frame, MediaError>> {
    (0..frames).map(|_| Ok(frame.clone())).collect()
}

/// A film of [`numbered`] frames.
pub(crate) fn numbered_film(path: &Path, settings: &VideoSettings, frames: u64) -> WrittenFilm {
    let source = (0..frames).map(|number| Ok(numbered(settings.width, settings.height, number)));
    encode(path, settings, &FilmMetadata::default(), source, &never).unwrap()
}

/// A lossless clip of one colour.
pub(crate) fn plain_clip(path: &Path, (width, height): (u32, u32), colour: [u8; 3], frames: u64) -> PathBuf {
    let settings = VideoSettings::new(width, height, FrameRate::FILM).with_codec(VideoCodec::Ffv1);
    let source = repeated(&Frame::filled(width, height, colour).unwrap(), frames as usize);
    encode(path, &settings, &FilmMetadata::default(), source, &never).unwrap();
    path.to_owned()
}

/// All frames of a film.
pub(crate) fn frames_of(path: &Path) -> Vec<Frame> {
    VideoReader::open(path).unwrap().map(Result::unwrap).collect()
}

/// What ffprobe says of the file; frames are decoded and counted.
pub(crate) fn ffprobe(path: &Path) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_format", "-show_streams", "-of", "json"])
        .arg(path)
        .output()
        .expect("ffprobe is installed by scripts/setup.sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The stream of a kind of what [`ffprobe`] said.
pub(crate) fn stream<'a>(probed: &'a Value, kind: &str) -> &'a Value {
    let streams = probed["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["codec_type"] == kind).unwrap_or(&Value::Null)
}

/// A number that ffprobe wrote as a string.
pub(crate) fn number(value: &Value) -> f64 {
    value.as_str().unwrap_or_else(|| panic!("{value} is no number")).parse().unwrap()
}

/// A file of sound made by FFmpeg's own program.
pub(crate) fn tone(path: &Path, seconds: f64, further: &[&str]) -> PathBuf {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &format!("sine=frequency=440:sample_rate=44100:duration={seconds}")])
        .args(further)
        .arg(path)
        .output()
        .expect("ffmpeg is installed by scripts/setup.sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path.to_owned()
}
