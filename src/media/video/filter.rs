//! A chain of FFmpeg's filters that frames are pushed into and taken out of.

use ffmpeg_next as ffmpeg;
use ffmpeg_next::filter::{self, Graph};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::{Audio, Video};
use ffmpeg_next::{Frame, Rational};

use super::error::MediaError;
use super::library;

/// Name of the chain's beginning.
const SOURCE: &str = "in";
/// Name of the chain's end.
const SINK: &str = "out";

/// What flows through a chain.
pub(super) trait Flowing {
    /// An empty frame to be filled.
    fn empty() -> Self;
    /// The frame beneath.
    fn beneath(&mut self) -> &mut Frame;
}

impl Flowing for Video {
    fn empty() -> Self {
        Self::empty()
    }

    fn beneath(&mut self) -> &mut Frame {
        self
    }
}

impl Flowing for Audio {
    fn empty() -> Self {
        Self::empty()
    }

    fn beneath(&mut self) -> &mut Frame {
        self
    }
}

/// What frames of pictures look like where a chain begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PictureFormat {
    pub pixel: Pixel,
    pub width: u32,
    pub height: u32,
    /// Seconds that one unit of a timestamp lasts.
    pub time_base: Rational,
    /// Frames a second.
    pub frame_rate: Rational,
}

/// A chain of filters. It holds as many frames as its filters do: one or two for scaling and palettes, a few for interpolation.
pub(super) struct FilterChain {
    graph: Graph,
    doing: &'static str,
}

impl FilterChain {
    /// A chain for pictures; `doing` names it in errors.
    pub(super) fn of_pictures(format: PictureFormat, filters: &str, doing: &'static str) -> Result<Self, MediaError> {
        let pixel = pixel_name(format.pixel);
        let arguments = format!(
            "video_size={}x{}:pix_fmt={pixel}:time_base={}/{}:frame_rate={}/{}:pixel_aspect=1/1",
            format.width,
            format.height,
            format.time_base.numerator(),
            format.time_base.denominator(),
            format.frame_rate.numerator(),
            format.frame_rate.denominator(),
        );
        Self::between("buffer", &arguments, "buffersink", filters, doing)
    }

    /// A chain between a source and a sink of FFmpeg's names.
    pub(super) fn between(
        source: &str,
        arguments: &str,
        sink: &str,
        filters: &str,
        doing: &'static str,
    ) -> Result<Self, MediaError> {
        library::start();
        let missing = |name: &str| MediaError::Failed { doing, reason: format!("FFmpeg's filter '{name}' is missing") };
        let failed = MediaError::failed(doing);
        let mut graph = Graph::new();
        graph.add(&filter::find(source).ok_or_else(|| missing(source))?, SOURCE, arguments).map_err(&failed)?;
        graph.add(&filter::find(sink).ok_or_else(|| missing(sink))?, SINK, "").map_err(&failed)?;
        graph
            .output(SOURCE, 0)
            .and_then(|parser| parser.input(SINK, 0))
            .and_then(|parser| parser.parse(filters))
            .and_then(|()| graph.validate())
            .map_err(&failed)?;
        Ok(Self { graph, doing })
    }

    /// Gives the chain a frame, which it takes: nothing is left of it.
    pub(super) fn push(&mut self, mut frame: impl Flowing) -> Result<(), MediaError> {
        let mut source = self.graph.get(SOURCE).ok_or_else(|| self.broken())?;
        source.source().add(frame.beneath()).map_err(MediaError::failed(self.doing))
    }

    /// Says that no more frames come; what is left can be pulled.
    pub(super) fn finish(&mut self) -> Result<(), MediaError> {
        let mut source = self.graph.get(SOURCE).ok_or_else(|| self.broken())?;
        source.source().flush().map_err(MediaError::failed(self.doing))
    }

    /// The next frame, if there is one yet.
    pub(super) fn pull<F: Flowing>(&mut self) -> Result<Option<F>, MediaError> {
        let mut sink = self.graph.get(SINK).ok_or_else(|| self.broken())?;
        let mut frame = F::empty();
        match sink.sink().frame(frame.beneath()) {
            Ok(()) => Ok(Some(frame)),
            Err(error) if is_waiting(error) => Ok(None),
            Err(error) => Err(MediaError::failed(self.doing)(error)),
        }
    }

    fn broken(&self) -> MediaError {
        MediaError::Failed { doing: self.doing, reason: "the chain of filters has no ends".to_owned() }
    }
}

/// FFmpeg's name of a pixel format.
pub(super) fn pixel_name(pixel: Pixel) -> &'static str {
    pixel.descriptor().map_or("none", |descriptor| descriptor.name())
}

/// Whether an error of FFmpeg says that more must be given first, or that all has been taken.
pub(super) fn is_waiting(error: ffmpeg::Error) -> bool {
    matches!(error, ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN })
}
