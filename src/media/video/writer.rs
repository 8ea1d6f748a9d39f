//! Writing a film, frame by frame.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::format::context::Output;
use ffmpeg_next::format::{self, Pixel, flag};
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Dictionary, Packet};

use super::audio_source::SAMPLE_RATE;
use super::audio_track::AudioTrack;
use super::encoder::{self, OpenEncoder, frame_seconds, frames_a_second};
use super::error::{MediaError, file_name};
use super::filter::{FilterChain, PictureFormat, is_waiting};
use super::frame::Frame;
use super::hvc1;
use super::library;
use super::settings::{FilmMetadata, VideoSettings};
use super::unfinished::Unfinished;
use crate::domain::VideoCodec;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFilm {
    /// Frames in the file.
    pub frames: u64,
    /// FFmpeg's name of the encoder that wrote them: `libx264`, `h264_nvenc`. Hardware that was preferred may not have been there.
    pub encoder: &'static str,
    /// FFmpeg's name of the encoder of the sound, if there is any.
    pub audio_encoder: Option<&'static str>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes a film to a file, which appears only when it is whole.
///
/// Memory: the encoder's lookahead of at most 64 MiB of frames beside its references, two frames on the way to it, and packets of a second
/// or two. libwebp and GIF hold no more than two frames, but an animated WebP's compressed frames stay until the end.
pub struct VideoWriter {
    settings: VideoSettings,
    // Before `file`: the muxer lets its file go before that is taken away.
    output: Output,
    file: Unfinished,
    open: OpenEncoder,
    filters: FilterChain,
    audio: Option<AudioTrack>,
    frames: u64,
}

impl VideoWriter {
    /// Begins a film without sound. Fails with [`MediaError::Setting`] for what cannot be, [`MediaError::NoEncoder`] when no encoder works,
    /// and as writing fails.
    pub fn create(path: &Path, settings: &VideoSettings, metadata: &FilmMetadata) -> Result<Self, MediaError> {
        Self::create_with_audio(path, settings, metadata, None)
    }

    /// Begins a film with the sound of a file, which is cut, or followed by silence, so that it is exactly as long as the film. Fails like
    /// [`VideoWriter::create`], and with [`MediaError::NotAudio`].
    pub fn create_with_audio(
        path: &Path,
        settings: &VideoSettings,
        metadata: &FilmMetadata,
        audio: Option<&Path>,
    ) -> Result<Self, MediaError> {
        settings.check()?;
        if audio.is_some() && !settings.codec.carries_audio() {
            return Err(MediaError::setting(
                "audio",
                format!("{} has no sound; use h264, h265, vp9 or av1", settings.codec.name()),
            ));
        }
        library::start();
        let file = Unfinished::new(path);
        let failed = MediaError::writing(path);
        let mut output = format::output_as(&library::address(file.path())?, container(settings.codec)).map_err(&failed)?;
        let global_header = output.format().flags().contains(flag::Flags::GLOBAL_HEADER);
        let open = encoder::open(settings, global_header)?;
        let mut stream = output.add_stream(ffmpeg::codec::Id::None).map_err(&failed)?;
        stream.set_time_base(frame_seconds(settings.frame_rate));
        stream.set_avg_frame_rate(frames_a_second(settings.frame_rate));
        stream.set_rate(frames_a_second(settings.frame_rate));
        stream.set_parameters(Parameters::from(&*open.encoder));
        let audio = audio.map(|audio| AudioTrack::add(&mut output, audio, settings.codec, global_header)).transpose()?;
        output.set_metadata(described(metadata));
        output.write_header_with(muxing(settings)).map_err(&failed)?;
        let filters = FilterChain::of_pictures(
            PictureFormat {
                pixel: Pixel::RGB24,
                width: settings.width,
                height: settings.height,
                time_base: frame_seconds(settings.frame_rate),
                frame_rate: frames_a_second(settings.frame_rate),
            },
            open.filters,
            "converting colours",
        )?;
        Ok(Self { settings: settings.clone(), output, file, open, filters, audio, frames: 0 })
    }

    /// FFmpeg's name of the encoder.
    pub fn encoder(&self) -> &'static str {
        self.open.name
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The next frame. Fails with [`MediaError::FrameSize`] for one of another size, [`MediaError::StorageFull`] when the disk is full, and
    /// as writing fails; after a failure the film is lost.
    pub fn push(&mut self, frame: &Frame) -> Result<(), MediaError> {
        if (frame.width(), frame.height()) != (self.settings.width, self.settings.height) {
            return Err(MediaError::FrameSize {
                width: frame.width(),
                height: frame.height(),
                film_width: self.settings.width,
                film_height: self.settings.height,
            });
        }
        self.filters.push(frame.to_ffmpeg(self.frames as i64)?)?;
        self.frames += 1;
        self.encode_filtered()?;
        self.write_audio()
    }

    /// Ends the film, syncs it to disk and puts it in its place. Fails with [`MediaError::Setting`] when there are no frames, and as writing
    /// fails; then there is no file.
    pub fn finish(mut self) -> Result<WrittenFilm, MediaError> {
        if self.frames == 0 {
            return Err(MediaError::setting("frames", "a film has at least one"));
        }
        self.filters.finish()?;
        self.encode_filtered()?;
        self.open.encoder.send_eof().map_err(MediaError::failed("encoding"))?;
        self.write_encoded()?;
        if let Some(audio) = &mut self.audio {
            audio.finish(&mut self.output, self.file.destination())?;
        }
        let failed = MediaError::writing(self.file.destination());
        self.output.write_trailer().map_err(&failed)?;
        let Self { settings, output, file, open, audio, frames, .. } = self;
        // The muxer closes the file before it is synced.
        drop(output);
        let storing = MediaError::storing(file.destination());
        if settings.codec == VideoCodec::H265 {
            hvc1::tag(file.path()).map_err(&storing)?;
        }
        let bytes = std::fs::metadata(file.path()).map_err(&storing)?.len();
        file.publish().map_err(&storing)?;
        Ok(WrittenFilm { frames, encoder: open.name, audio_encoder: audio.as_ref().map(AudioTrack::encoder), bytes })
    }

    fn encode_filtered(&mut self) -> Result<(), MediaError> {
        while let Some(mut frame) = self.filters.pull::<Video>()? {
            encoder::tag(&mut frame);
            // Every frame may begin a group unless the encoder decides: a kind that a filter left over would force it.
            frame.set_kind(ffmpeg::picture::Type::None);
            self.open.encoder.send_frame(&frame).map_err(MediaError::failed("encoding"))?;
            self.write_encoded()?;
        }
        Ok(())
    }

    fn write_encoded(&mut self) -> Result<(), MediaError> {
        let failed = MediaError::writing(self.file.destination());
        let stream_time_base = self.output.stream(0).map(|stream| stream.time_base());
        let Some(stream_time_base) = stream_time_base else { return Ok(()) };
        let mut packet = Packet::empty();
        loop {
            match self.open.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(error) if is_waiting(error) => return Ok(()),
                Err(error) => return Err(MediaError::failed("encoding")(error)),
            }
            packet.set_stream(0);
            // Without it the last frame would be shown for no time at all.
            packet.set_duration(1);
            packet.rescale_ts(frame_seconds(self.settings.frame_rate), stream_time_base);
            packet.write_interleaved(&mut self.output).map_err(&failed)?;
        }
    }

    fn write_audio(&mut self) -> Result<(), MediaError> {
        let Some(audio) = &mut self.audio else { return Ok(()) };
        let samples = self.settings.frame_rate.units_of(self.frames, SAMPLE_RATE);
        audio.write_until(samples, &mut self.output, self.file.destination())
    }
}

/// Writes a film from a stream of frames. The interrupt is looked at before each one. Fails like [`VideoWriter`], and with
/// [`MediaError::Interrupted`].
pub fn encode(
    path: &Path,
    settings: &VideoSettings,
    metadata: &FilmMetadata,
    frames: impl IntoIterator<Item = Result<Frame, MediaError>>,
    interrupted: &dyn Fn() -> bool,
) -> Result<WrittenFilm, MediaError> {
    let mut writer = VideoWriter::create(path, settings, metadata)?;
    for frame in frames {
        if interrupted() {
            return Err(MediaError::Interrupted);
        }
        writer.push(&frame?)?;
    }
    writer.finish()
}

/// FFmpeg's name of a codec's container.
fn container(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 | VideoCodec::H265 => "mp4",
        VideoCodec::Vp9 | VideoCodec::Av1 => "webm",
        VideoCodec::Gif => "gif",
        VideoCodec::WebP => "webp",
        VideoCodec::Ffv1 => "matroska",
    }
}

fn described(metadata: &FilmMetadata) -> Dictionary<'static> {
    let entries = [("title", &metadata.title), ("comment", &metadata.comment)];
    let present = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), without_zeros(value.as_deref()?))));
    present.collect()
}

/// A zero byte would end the text, and panics in the wrapper.
fn without_zeros(text: &str) -> String {
    text.replace('\0', "")
}

/// Options of the muxers; each takes those that it knows.
fn muxing(settings: &VideoSettings) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    match settings.codec {
        VideoCodec::H264 | VideoCodec::H265 => {
            // The index comes first, so that players start before they have the whole file.
            options.set("movflags", "+faststart");
            // The whole file's clock is the frames' own, so that its length is exact too; by default it counts milliseconds.
            options.set("movie_timescale", &settings.frame_rate.numerator().to_string());
        }
        // For ever.
        VideoCodec::Gif | VideoCodec::WebP => options.set("loop", "0"),
        VideoCodec::Vp9 | VideoCodec::Av1 | VideoCodec::Ffv1 => {}
    }
    options
}

impl std::fmt::Debug for VideoWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VideoWriter")
            .field("file", &file_name(self.file.destination()))
            .field("encoder", &self.open.name)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}
