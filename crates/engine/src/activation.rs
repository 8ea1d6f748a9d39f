//! What flows between operations.

use crate::ops::storage::Storage;

/// The shape of an [`Activation`]: `rows` of a batch, each `height × width` positions of `channels` values, channels last.
///
/// A sequence of tokens is `height = 1, width = tokens`; a vector per row is `height = width = 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the batch.
    pub rows: usize,
    /// Positions down.
    pub height: usize,
    /// Positions across.
    pub width: usize,
    /// Values per position.
    pub channels: usize,
}

impl Shape {
    /// An image-like shape.
    pub const fn new(rows: usize, height: usize, width: usize, channels: usize) -> Self {
        Self { rows, height, width, channels }
    }
    /// A sequence of `tokens` per row.
    pub const fn sequence(rows: usize, tokens: usize, channels: usize) -> Self {
        Self::new(rows, 1, tokens, channels)
    }
    /// One vector per row.
    pub const fn vectors(rows: usize, channels: usize) -> Self {
        Self::new(rows, 1, 1, channels)
    }
    /// Positions per row.
    pub const fn positions(&self) -> usize {
        self.height * self.width
    }
    /// Values in all.
    pub const fn elements(&self) -> usize {
        self.rows * self.positions() * self.channels
    }
    /// The same positions with another number of channels.
    #[must_use]
    pub const fn with_channels(&self, channels: usize) -> Self {
        Self { channels, ..*self }
    }
}

/// A value between two operations: plain memory from the scratch arena on the CPU, a candle tensor elsewhere.
///
/// Stream activations (the residual stream) are f32 on the CPU; operand activations (inputs of the next matrix product) are in the
/// working precision. Dropping an activation returns its memory to the arena it came from.
#[derive(Debug)]
pub struct Activation {
    pub(crate) shape: Shape,
    pub(crate) storage: Storage,
}

impl Activation {
    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}
