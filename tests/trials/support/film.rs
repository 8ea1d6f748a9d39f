//! The frames of a film's file, apart from what else it says.

use std::path::Path;

use framewright::media::video::{Frame, VideoReader};

/// A decoded film.
#[derive(Clone, PartialEq)]
pub(crate) struct Film {
    frames: Vec<Frame>,
}

impl Film {
    pub(crate) fn read(path: &Path) -> Self {
        let mut reader = VideoReader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut frames = Vec::new();
        while let Some(frame) = reader.read().expect("a whole film") {
            frames.push(frame);
        }
        Self { frames }
    }

    pub(crate) fn frames(&self) -> usize {
        self.frames.len()
    }
}
