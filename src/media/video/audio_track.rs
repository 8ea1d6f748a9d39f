//! The sound of a film being written.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{self, Flags, Parameters, encoder};
use ffmpeg_next::format::context::Output;
use ffmpeg_next::format::{Sample, sample};
use ffmpeg_next::frame::Audio;
use ffmpeg_next::{ChannelLayout, Packet, Rational};

use super::audio_source::{AudioSource, SAMPLE_RATE};
use super::error::MediaError;
use super::filter::is_waiting;
use crate::domain::VideoCodec;

/// Bits a second of stereo sound: transparent for both codecs.
const BIT_RATE: usize = 192_000;

/// Sound on its way from a file into a film.
pub(super) struct AudioTrack {
    source: AudioSource,
    encoder: encoder::audio::Encoder,
    name: &'static str,
    /// Which stream of the film it is.
    stream: usize,
    /// Samples that the encoder got.
    sent: u64,
    /// Samples that the film has time for.
    wanted: u64,
    /// Samples by which the encoder's first packet lies before the beginning.
    delay: u64,
    /// Whether the container is of Matroska's kind: its times begin with that packet, and it says how much to leave out. A time before the
    /// beginning would make FFmpeg's muxer show all pictures later.
    counts_delay: bool,
}

impl AudioTrack {
    /// Adds a stream for the sound of a file: AAC, or Opus in WebM.
    pub(super) fn add(output: &mut Output, path: &Path, codec: VideoCodec, global_header: bool) -> Result<Self, MediaError> {
        let source = AudioSource::open(path)?;
        let (name, format) = match codec {
            VideoCodec::Vp9 | VideoCodec::Av1 => ("libopus", Sample::F32(sample::Type::Packed)),
            _ => ("aac", Sample::F32(sample::Type::Planar)),
        };
        let refused = |error: ffmpeg::Error| MediaError::NoEncoder { codec: name, reason: error.to_string() };
        let found = encoder::find_by_name(name).ok_or(ffmpeg::Error::EncoderNotFound).map_err(refused)?;
        let mut audio = codec::Context::new_with_codec(found).encoder().audio().map_err(refused)?;
        audio.set_rate(SAMPLE_RATE as i32);
        audio.set_format(format);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_bit_rate(BIT_RATE);
        audio.set_time_base(sample_seconds());
        if global_header {
            audio.set_flags(Flags::GLOBAL_HEADER);
        }
        let encoder = audio.open().map_err(refused)?;
        let mut stream = output.add_stream(codec::Id::None).map_err(MediaError::failed("adding the sound"))?;
        stream.set_time_base(sample_seconds());
        stream.set_parameters(Parameters::from(&*encoder));
        let stream = stream.index();
        let counts_delay = matches!(codec, VideoCodec::Vp9 | VideoCodec::Av1 | VideoCodec::Ffv1);
        Ok(Self { source, encoder, name, stream, sent: 0, wanted: 0, delay: 0, counts_delay })
    }

    /// FFmpeg's name of the encoder.
    pub(super) fn encoder(&self) -> &'static str {
        self.name
    }

    /// Writes what lies before a sample; whole packets of it, since the rest comes with the next frame.
    pub(super) fn write_until(&mut self, samples: u64, output: &mut Output, path: &Path) -> Result<(), MediaError> {
        self.wanted = samples;
        while self.sent + u64::from(self.packet_samples()) <= self.room() {
            self.send(self.packet_samples() as usize, output, path)?;
        }
        Ok(())
    }

    /// Writes what is left of the film's time, and ends.
    pub(super) fn finish(&mut self, output: &mut Output, path: &Path) -> Result<(), MediaError> {
        let rest = self.room().saturating_sub(self.sent) as usize;
        if rest > 0 {
            self.send(rest, output, path)?;
        }
        self.encoder.send_eof().map_err(MediaError::failed("encoding the sound"))?;
        self.write_encoded(output, path)
    }

    /// Samples that go in without the film becoming longer.
    fn room(&self) -> u64 {
        if self.counts_delay { self.wanted.saturating_sub(self.delay) } else { self.wanted }
    }

    fn packet_samples(&self) -> u32 {
        self.encoder.frame_size().max(1)
    }

    fn send(&mut self, count: usize, output: &mut Output, path: &Path) -> Result<(), MediaError> {
        let samples = self.source.read(count)?;
        let format = self.encoder.format();
        let mut frame = Audio::new(format, count, ChannelLayout::STEREO);
        if frame.planes() == 0 {
            return Err(MediaError::Failed { doing: "encoding the sound", reason: "out of memory".to_owned() });
        }
        frame.set_rate(SAMPLE_RATE);
        if format.is_planar() {
            for (to, (left, _)) in frame.plane_mut::<f32>(0).iter_mut().zip(&samples) {
                *to = *left;
            }
            for (to, (_, right)) in frame.plane_mut::<f32>(1).iter_mut().zip(&samples) {
                *to = *right;
            }
        } else {
            frame.plane_mut::<(f32, f32)>(0).copy_from_slice(&samples);
        }
        frame.set_pts(Some(self.sent as i64));
        self.sent += count as u64;
        self.encoder.send_frame(&frame).map_err(MediaError::failed("encoding the sound"))?;
        self.write_encoded(output, path)
    }

    fn write_encoded(&mut self, output: &mut Output, path: &Path) -> Result<(), MediaError> {
        let Some(time_base) = output.stream(self.stream).map(|stream| stream.time_base()) else { return Ok(()) };
        let mut packet = Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(error) if is_waiting(error) => return Ok(()),
                Err(error) => return Err(MediaError::failed("encoding the sound")(error)),
            }
            self.delay = self.delay.max(packet.pts().unwrap_or(0).min(0).unsigned_abs());
            if self.counts_delay {
                let later = |time: i64| time + self.delay as i64;
                packet.set_pts(packet.pts().map(later));
                packet.set_dts(packet.dts().map(later));
            }
            packet.set_stream(self.stream);
            packet.rescale_ts(sample_seconds(), time_base);
            packet.write_interleaved(output).map_err(MediaError::writing(path))?;
        }
    }
}

fn sample_seconds() -> Rational {
    Rational::new(1, SAMPLE_RATE as i32)
}
