//! Frames through networks: larger ones, and ones between others.

use framewright_engine::interpolate::{Encoded, Interpolator};
use framewright_engine::ops::Interrupt;
use framewright_engine::upscale::Upscaler;
use framewright_engine::vision::RgbPicture;
use serde_json::Value;

use super::error::FilmError;
use super::tools::{FilmTools, Opened};
use crate::media::video::{Between, Frame, MediaError};

/// Makes frames between frames by RIFE. The network is read for the first of them. Memory: two frames with their features, 34 bytes a pixel
/// each, and what the network takes, about 400 bytes a pixel.
pub(super) struct Betweens<'a> {
    tools: &'a FilmTools,
    interrupt: &'a Interrupt,
    opened: Option<Opened<Interpolator>>,
    /// Frames that the network has looked at, with their numbers: the one before, and the one after.
    encoded: [Option<(u64, Encoded)>; 2],
}

impl<'a> Betweens<'a> {
    pub(super) fn new(tools: &'a FilmTools, interrupt: &'a Interrupt) -> Self {
        Self { tools, interrupt, opened: None, encoded: [None, None] }
    }

    /// The frame that lies between two.
    pub(super) fn make(&mut self, between: &Between<'_>) -> Result<Frame, FilmError> {
        let Opened { network, .. } = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(self.tools.interpolator(self.interrupt)?),
        };
        let failed = |error| FilmError::network("RIFE", error);
        let encode = |frame: &Frame| network.encode(&picture(frame.clone()), self.interrupt).map_err(failed);
        let Between { number, first, second, .. } = *between;
        let [before, after] = &mut self.encoded;
        if before.as_ref().is_none_or(|(known, _)| *known != number) {
            // Time goes on: what was after is before, or is seen no more.
            *before = match after.take().filter(|(known, _)| *known == number) {
                Some(known) => Some(known),
                None => Some((number, encode(first)?)),
            };
        }
        if after.as_ref().is_none_or(|(known, _)| *known != number + 1) {
            *after = Some((number + 1, encode(second)?));
        }
        let (Some((_, first)), Some((_, second))) = (before, after) else { return Err(FilmError::Missing("a frame")) };
        let made = network.between_encoded(first, second, between.time(), self.interrupt).map_err(failed)?;
        Ok(frame(made)?)
    }

    /// What a result says of the network, if it was needed.
    pub(super) fn facts(&self) -> Value {
        self.opened.as_ref().map_or(Value::Null, |opened| opened.facts.clone())
    }
}

/// Enlarges frames by Real-ESRGAN. The network is read for the first of them. Memory: what it takes for a tile, at most 0.7 GB, and the
/// enlarged frame.
pub(super) struct Enlarger<'a> {
    tools: &'a FilmTools,
    interrupt: &'a Interrupt,
    opened: Option<Opened<Upscaler>>,
}

impl<'a> Enlarger<'a> {
    pub(super) fn new(tools: &'a FilmTools, interrupt: &'a Interrupt) -> Self {
        Self { tools, interrupt, opened: None }
    }

    /// The frame, two or four times as wide and high.
    pub(super) fn enlarge(&mut self, small: Frame) -> Result<Frame, FilmError> {
        let Opened { network, .. } = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(self.tools.upscaler(self.interrupt)?),
        };
        let large = network.upscale(&picture(small), self.interrupt);
        Ok(frame(large.map_err(|error| FilmError::network("Real-ESRGAN", error))?)?)
    }

    /// What a result says of the network, if it was needed.
    pub(super) fn facts(&self) -> Value {
        self.opened.as_ref().map_or(Value::Null, |opened| opened.facts.clone())
    }
}

fn picture(frame: Frame) -> RgbPicture {
    RgbPicture { width: frame.width() as usize, height: frame.height() as usize, bytes: frame.into_rgb() }
}

fn frame(picture: RgbPicture) -> Result<Frame, MediaError> {
    Frame::new(picture.width as u32, picture.height as u32, picture.bytes)
}
