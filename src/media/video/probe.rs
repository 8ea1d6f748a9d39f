//! What a film's file holds.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{self, decoder};
use ffmpeg_next::{Packet, media};

use super::error::{MediaError, file_name};
use super::filter::pixel_name;
use super::frame::check_size;
use super::input;
use super::reader::FORMATS;
use crate::domain::FrameRate;

/// What a film's file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoFacts {
    /// FFmpeg's name of the codec: `h264`, `hevc`, `vp9`, `av1`, `gif`, `ffv1`.
    pub codec: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second, on average where they differ.
    pub frame_rate: FrameRate,
    /// Frames, counted one by one.
    pub frames: u64,
    /// Seconds from the first frame's beginning to the last one's end.
    pub duration: f64,
    /// FFmpeg's name of the pixel format: `yuv420p`.
    pub pixel_format: String,
    /// Whether there is sound.
    pub has_audio: bool,
    /// What its colours mean.
    pub colour: ColourFacts,
}

/// What a film says of its colours, in FFmpeg's names; nothing where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColourFacts {
    /// Matrix between RGB and what is coded: `bt709`.
    pub space: Option<String>,
    /// What pure red, green and blue are: `bt709`.
    pub primaries: Option<String>,
    /// How numbers become light: `bt709`.
    pub transfer: Option<String>,
    /// `tv` (16…235) or `pc` (0…255).
    pub range: Option<String>,
}

/// Reads all of a film's packets and says what it holds; nothing is decoded. The interrupt is looked at for every packet. Fails with
/// [`MediaError::NotVideo`], and with [`MediaError::Interrupted`].
pub fn probe(path: &Path, interrupted: &dyn Fn() -> bool) -> Result<VideoFacts, MediaError> {
    let refused = MediaError::reading(path);
    let refuse = |reason: &str| MediaError::NotVideo { file: file_name(path), reason: reason.to_owned() };
    let mut input = input::open(path, FORMATS)?.map_err(&refused)?;
    let has_audio = input.streams().best(media::Type::Audio).is_some();
    let stream = input.streams().best(media::Type::Video).ok_or_else(|| refuse("it has no pictures"))?;
    let (index, time_base) = (stream.index(), stream.time_base());
    let average =
        [stream.avg_frame_rate(), stream.rate()].into_iter().find(|rate| rate.numerator() > 0 && rate.denominator() > 0);
    let decoder =
        codec::Context::from_parameters(stream.parameters()).and_then(|context| context.decoder().video()).map_err(&refused)?;
    check_size(decoder.width(), decoder.height())?;
    let mut packet = Packet::empty();
    let mut frames = 0_u64;
    let mut times: Option<(i64, i64)> = None;
    loop {
        if interrupted() {
            return Err(MediaError::Interrupted);
        }
        match packet.read(&mut input) {
            Ok(()) => {}
            Err(ffmpeg::Error::Eof) => break,
            Err(error) => return Err(refused(error)),
        }
        if packet.stream() != index {
            continue;
        }
        frames += 1;
        if let Some(begins) = packet.pts() {
            let ends = begins.saturating_add(packet.duration());
            let (first, last) = times.unwrap_or((begins, ends));
            times = Some((first.min(begins), last.max(ends)));
        }
    }
    if frames == 0 {
        return Err(refuse("it has no frames"));
    }
    let (first, last) = times.unwrap_or_default();
    let duration = last.saturating_sub(first) as f64 * f64::from(time_base);
    let frame_rate = average
        .and_then(|rate| FrameRate::new(rate.numerator() as u32, rate.denominator() as u32).ok())
        .ok_or_else(|| refuse("its frame rate is not from 1 to 120 a second"))?;
    Ok(VideoFacts {
        codec: decoder.id().name().to_owned(),
        width: decoder.width(),
        height: decoder.height(),
        frame_rate,
        frames,
        duration,
        pixel_format: pixel_name(decoder.format()).to_owned(),
        has_audio,
        colour: colours(&decoder),
    })
}

fn colours(decoder: &decoder::Video) -> ColourFacts {
    ColourFacts {
        space: decoder.color_space().name().map(ToOwned::to_owned),
        primaries: decoder.color_primaries().name().map(ToOwned::to_owned),
        transfer: decoder.color_transfer_characteristic().name().map(ToOwned::to_owned),
        range: decoder.color_range().name().map(ToOwned::to_owned),
    }
}
