//! What a kernel is: the innermost product, of inputs behind row pointers with panels of packed weights.

use std::sync::Arc;

use super::math::Lane;
use crate::error::Result;
use crate::ops::arena::Arena;

/// A piece of K: `length` channels of one tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Tap of the convolution, row by row.
    pub(crate) tap: usize,
    /// First channel.
    pub(crate) channel: usize,
    /// Channels, a multiple of [`Kernel::GROUP`].
    pub(crate) length: usize,
}

/// The inputs of a block of K: one pointer to a row of channels per (tap, position).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a, T> {
    /// The K of this block, in the order of the packed weights.
    pub(crate) segments: &'a [Segment],
    /// `pointers[tap · stride + position]`: the input row that a tap sees at a position.
    pub(crate) pointers: &'a [*const T],
    /// Positions per tap in `pointers`: `count` rounded up to a multiple of [`Kernel::HEIGHT`], or more.
    pub(crate) stride: usize,
    /// Positions.
    pub(crate) count: usize,
    /// The values behind the pointers.
    pub(crate) borrow: std::marker::PhantomData<&'a [T]>,
}

/// Where the sums of a product go.
#[derive(Debug)]
pub(crate) struct Sums<'a> {
    /// Position i at `values[i · stride ..][.. PANEL]`. Positions up to the next multiple of [`Kernel::HEIGHT`] may be written.
    pub(crate) values: &'a mut [f32],
    /// See `values`.
    pub(crate) stride: usize,
    /// Whether to add to what is there.
    pub(crate) accumulate: bool,
}

/// A way to multiply. The order of additions of a sum depends on the segments alone, never on the positions beside it.
pub(crate) trait Kernel {
    /// What is multiplied.
    type Value: Lane;
    /// What a thread holds while it multiplies.
    type Session;
    /// Inputs, prepared for all panels of a block.
    type Inputs<'a>;

    /// Consecutive k that lie side by side for each output.
    const GROUP: usize;
    /// A block's k come in multiples of this; zeros fill it up.
    const STEP: usize;
    /// Longest block of K, a multiple of [`Kernel::STEP`]: a panel of it stays in the first-level cache while the positions pass by.
    const BLOCK: usize;
    /// K of the blocks together whose inputs are prepared at once. Within them a panel's sums are completed before the next panel's
    /// begin: they, and the weights that stream by, leave the inputs in the second-level cache.
    const CHUNK: usize;
    /// Positions that are computed together.
    const HEIGHT: usize;
    /// Positions of a task at most, a multiple of twice the height.
    const TASK_POSITIONS: usize;
    /// Panels of a task at most.
    const TASK_PANELS: usize;
    /// Queries of a task of attention, a multiple of the height.
    const TASK_QUERIES: usize;
    /// Keys of a block of attention, a multiple of the panel: of so many at a time the softmax takes maximum and sum.
    const TASK_KEYS: usize;

    /// Readies the thread.
    ///
    /// # Safety
    /// The processor must have the kernel's instructions.
    unsafe fn begin() -> Self::Session;

    /// Prepares inputs.
    ///
    /// # Safety
    /// Every pointer up to the count rounded up to a multiple of [`Kernel::HEIGHT`] must be readable over the channels of its
    /// segments, for `'a`.
    unsafe fn prepare<'a>(arena: &Arc<Arena>, rows: Rows<'a, Self::Value>) -> Result<Self::Inputs<'a>>;

    /// Sums of inputs · panel for all positions. `panel`: [`super::loops::PANEL`] values per k, groups of k interleaved; `next`: the
    /// panel that comes next, if any, to be fetched meanwhile. The bounds of the slices are checked.
    ///
    /// # Safety
    /// The processor must have the kernel's instructions, and what the inputs were prepared from must still be readable.
    unsafe fn multiply(
        session: &Self::Session,
        inputs: &Self::Inputs<'_>,
        panel: &[Self::Value],
        next: &[Self::Value],
        sums: Sums<'_>,
    );

    /// Brings a packed panel, or several that lie together, from the order of the packing (`[k][32]`, groups of k interleaved; whole steps)
    /// into the one in which [`Kernel::multiply`] reads it. Once, after everything in it is there.
    fn seal(_panel: &mut [Self::Value]) {}

    /// The values as f32, when that is what they are.
    fn as_f32(values: &[Self::Value]) -> Option<&[f32]>;
}
