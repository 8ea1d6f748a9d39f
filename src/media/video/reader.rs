//! Reading a film, frame by frame.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{self, decoder};
use ffmpeg_next::color::{Range, Space};
use ffmpeg_next::format::context::Input;
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Dictionary, Packet, Rational, media};

use super::error::{MediaError, file_name};
use super::filter::{FilterChain, PictureFormat, is_waiting, pixel_name};
use super::frame::{Frame, check_size};
use super::input;

/// FFmpeg's readers of films that we write.
pub(super) const FORMATS: &str = "mov,matroska,gif";

/// Threads of a decoder. FFV1 and H.264 decode faster than their frames are encoded again with a few; each holds a frame.
const DECODER_THREADS: usize = 4;

/// Reads the frames of a film in the order in which they are shown. It holds a handful of frames: those that the decoder refers to, one of
/// each of its threads, and one on its way out.
pub struct VideoReader {
    file: String,
    input: Input,
    stream: usize,
    decoder: decoder::Video,
    conversion: Option<Conversion>,
    packets_ended: bool,
    frames: u64,
}

struct Conversion {
    chain: FilterChain,
    format: PictureFormat,
}

impl VideoReader {
    /// Opens a film: MP4, WebM, Matroska or GIF; an animated WebP is none that FFmpeg reads. Fails with [`MediaError::NotVideo`].
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        let refused = MediaError::reading(path);
        let input = input::open(path, FORMATS)?.map_err(&refused)?;
        let stream = input
            .streams()
            .best(media::Type::Video)
            .ok_or_else(|| MediaError::NotVideo { file: file_name(path), reason: "it has no pictures".to_owned() })?;
        let (index, parameters) = (stream.index(), stream.parameters());
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(DECODER_THREADS).to_string();
        let options: Dictionary<'_> = [("threads", threads.as_str())].into_iter().collect();
        let decoder = codec::Context::from_parameters(parameters)
            .and_then(|context| {
                let decoder = context.decoder();
                let codec = decoder::find(decoder.id()).ok_or(ffmpeg::Error::DecoderNotFound)?;
                decoder.open_as_with(codec, options)
            })
            .and_then(decoder::Opened::video)
            .map_err(&refused)?;
        check_size(decoder.width(), decoder.height())?;
        Ok(Self { file: file_name(path), input, stream: index, decoder, conversion: None, packets_ended: false, frames: 0 })
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.decoder.width()
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.decoder.height()
    }

    /// Frames that were read or skipped.
    pub fn position(&self) -> u64 {
        self.frames
    }

    /// The next frame; nothing after the last. Fails with [`MediaError::NotVideo`] where the file is damaged.
    pub fn read(&mut self) -> Result<Option<Frame>, MediaError> {
        let Some(mut decoded) = self.decode()? else { return Ok(None) };
        decoded.set_pts(Some(self.frames as i64));
        let conversion = match &mut self.conversion {
            Some(conversion) => conversion,
            None => self.conversion.insert(conversion_of(&decoded)?),
        };
        if !conversion.takes(&decoded) {
            return Err(self.refusal("its frames differ in size"));
        }
        conversion.chain.push(decoded)?;
        let converted: Option<Video> = conversion.chain.pull()?;
        let Some(converted) = converted else { return Err(self.refusal("a frame was lost")) };
        Frame::from_ffmpeg(&converted).map(Some)
    }

    /// The next frame, which must be there. Fails like [`VideoReader::read`], and with [`MediaError::TooFewFrames`], which says how many
    /// frames were `needed`.
    pub fn read_needed(&mut self, needed: u64) -> Result<Frame, MediaError> {
        let frame = self.read()?;
        frame.ok_or_else(|| MediaError::TooFewFrames { file: self.file.clone(), frames: self.frames, needed })
    }

    /// Passes over a frame without converting it; false after the last.
    pub fn skip_frame(&mut self) -> Result<bool, MediaError> {
        Ok(self.decode()?.is_some())
    }

    fn decode(&mut self) -> Result<Option<Video>, MediaError> {
        let mut frame = Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    self.frames += 1;
                    return Ok(Some(frame));
                }
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(error) if !is_waiting(error) => return Err(self.refusal(&error.to_string())),
                Err(_) if self.packets_ended => return Ok(None),
                Err(_) => self.feed()?,
            }
        }
    }

    /// Gives the decoder a packet, or the end.
    fn feed(&mut self) -> Result<(), MediaError> {
        let mut packet = Packet::empty();
        match packet.read(&mut self.input) {
            Ok(()) if packet.stream() == self.stream => {
                self.decoder.send_packet(&packet).map_err(|error| self.refusal(&error.to_string()))
            }
            Ok(()) => Ok(()),
            Err(ffmpeg::Error::Eof) => {
                self.packets_ended = true;
                self.decoder.send_eof().map_err(|error| self.refusal(&error.to_string()))
            }
            Err(error) => Err(self.refusal(&error.to_string())),
        }
    }

    fn refusal(&self, reason: &str) -> MediaError {
        MediaError::NotVideo { file: self.file.clone(), reason: reason.to_owned() }
    }
}

impl Iterator for VideoReader {
    type Item = Result<Frame, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Conversion {
    fn takes(&self, frame: &Video) -> bool {
        (self.format.pixel, self.format.width, self.format.height) == (frame.format(), frame.width(), frame.height())
    }
}

/// The way from a film's frames to RGB24: by its own matrix and range; a film that does not say has BT.601 within 16…235, as players guess.
fn conversion_of(frame: &Video) -> Result<Conversion, MediaError> {
    let matrix = match frame.color_space() {
        Space::BT709 => "bt709",
        Space::BT2020NCL | Space::BT2020CL => "bt2020",
        _ => "bt601",
    };
    let range = if frame.color_range() == Range::JPEG { "pc" } else { "tv" };
    let filters = if pixel_name(frame.format()).starts_with("yuv") {
        let flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp";
        format!("scale=flags={flags}:in_color_matrix={matrix}:in_range={range},format=rgb24")
    } else {
        "format=rgb24".to_owned()
    };
    let format = PictureFormat {
        pixel: frame.format(),
        width: frame.width(),
        height: frame.height(),
        time_base: Rational::new(1, 1000),
        frame_rate: Rational::new(1000, 1),
    };
    Ok(Conversion { chain: FilterChain::of_pictures(format, &filters, "converting colours")?, format })
}

impl std::fmt::Debug for VideoReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VideoReader").field("file", &self.file).field("frames", &self.frames).finish_non_exhaustive()
    }
}
