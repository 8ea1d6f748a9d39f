//! Frames through networks: larger ones, and ones between others.

use std::cell::RefCell;

use framewright_engine::interpolate::{Encoded, Interpolator};
use framewright_engine::ops::{Interrupt, Ops};
use framewright_engine::upscale::Upscaler;
use framewright_engine::vision::RgbPicture;
use serde_json::Value;

use super::error::FilmError;
use super::tools::{FilmTools, Opened};
use crate::domain::FilmRequest;
use crate::media::video::{Between, Frame, MediaError};

/// What the networks of a scene share: which ones the film asks for, who stops them, and which of them computed last.
pub(super) struct Studio<'a> {
    film: &'a FilmRequest,
    tools: &'a FilmTools,
    interrupt: &'a Interrupt,
    last: RefCell<Option<(&'static str, Ops)>>,
}

impl<'a> Studio<'a> {
    pub(super) fn new(film: &'a FilmRequest, tools: &'a FilmTools, interrupt: &'a Interrupt) -> Self {
        Self { film, tools, interrupt, last: RefCell::new(None) }
    }

    /// Says that `name` computes now: what another network before it took for its activations goes back to the system.
    fn turn_of(&self, name: &'static str, ops: &Ops) {
        let before = self.last.replace(Some((name, ops.clone())));
        if let Some((other, ops)) = before
            && other != name
        {
            ops.release_scratch();
        }
    }
}

/// Makes frames between frames by RIFE. The network is read for the first of them. Memory: two frames with their features, 34 bytes a pixel
/// each, and what the network takes, about 400 bytes a pixel.
pub(super) struct Betweens<'a> {
    studio: &'a Studio<'a>,
    opened: Option<Opened<Interpolator>>,
    /// Frames that the network has looked at, with their numbers: the one before, and the one after.
    encoded: [Option<(u64, Encoded)>; 2],
}

impl<'a> Betweens<'a> {
    pub(super) fn new(studio: &'a Studio<'a>) -> Self {
        Self { studio, opened: None, encoded: [None, None] }
    }

    /// The frame that lies between two.
    pub(super) fn make(&mut self, between: &Between<'_>) -> Result<Frame, FilmError> {
        let Studio { film, tools, interrupt, .. } = self.studio;
        let Opened { network, ops, .. } = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(tools.interpolator(film.interpolation_network.as_ref(), interrupt)?),
        };
        self.studio.turn_of("RIFE", ops);
        let failed = |error| FilmError::network("RIFE", error);
        let encode = |frame: &Frame| network.encode(&picture(frame.clone()), interrupt).map_err(failed);
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
        let made = network.between_encoded(first, second, between.time(), interrupt).map_err(failed)?;
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
    studio: &'a Studio<'a>,
    opened: Option<Opened<Upscaler>>,
}

impl<'a> Enlarger<'a> {
    pub(super) fn new(studio: &'a Studio<'a>) -> Self {
        Self { studio, opened: None }
    }

    /// The frame, two or four times as wide and high.
    pub(super) fn enlarge(&mut self, small: Frame) -> Result<Frame, FilmError> {
        let Studio { film, tools, interrupt, .. } = self.studio;
        let Opened { network, ops, .. } = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(tools.upscaler(film.upscaling_network.as_ref(), interrupt)?),
        };
        self.studio.turn_of("Real-ESRGAN", ops);
        let large = network.upscale(&picture(small), interrupt);
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

#[cfg(test)]
#[path = "networks_tests.rs"]
mod tests;
