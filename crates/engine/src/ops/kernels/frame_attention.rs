//! Attention over the frames of a clip: a small attention for every position and head. The frames of a position lie a whole frame
//! apart and are read where they are.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::attention::Strided;
use super::kernel::Segment;
use super::loops::{PANEL, RunningSoftmax, scale, softmax_block};
use super::math::Lane;
use super::matrix::Values;
use super::memory::Shared;
use super::portable::{self, Rows};
use super::tile::{HEIGHT, Operand, Tile, multiply};
use super::{KernelPath, Kernels};
use crate::error::{Error, Result};
use crate::ops::arena::{Arena, Scratch};
use crate::ops::interrupt::Interrupt;

/// Positions of a task.
const POSITIONS: usize = 16;

/// An attention to compute. Queries, keys and values are `[clips, frames, positions, stride]`.
pub(crate) struct Problem<'a> {
    /// Queries.
    pub(crate) queries: Strided<'a>,
    /// Keys.
    pub(crate) keys: Strided<'a>,
    /// Values.
    pub(crate) values: Strided<'a>,
    /// Clips.
    pub(crate) clips: usize,
    /// Frames per clip.
    pub(crate) frames: usize,
    /// Positions per frame.
    pub(crate) positions: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// Channels per head.
    pub(crate) head_channels: usize,
    /// Looked at by every task.
    pub(crate) interrupt: &'a Interrupt,
}

/// Computes `problem` into `output` (`[clips, frames, positions, heads · head_channels]`). On paths that multiply bf16 the queries may be
/// bf16 (with an even number of channels per head) and are then multiplied as such; elsewhere they must be f32. Keys and values
/// are converted as they are packed.
///
/// The matrix unit is not asked: the frames of a clip fill little more than one of its tiles, and its inputs would have to be prepared
/// anew for every position and head.
pub(crate) fn run<O: Lane>(kernels: Kernels, arena: &Arc<Arena>, problem: &Problem<'_>, output: &mut [O]) -> Result<()> {
    let channels = problem.heads * problem.head_channels;
    let positions = problem.clips * problem.frames * problem.positions;
    let fits = channels > 0
        && problem.frames > 0
        && output.len() == positions * channels
        && [problem.queries, problem.keys, problem.values].iter().all(|part| part.holds(positions, channels));
    if !fits {
        return Err(Error::Device("the sizes of an attention over frames do not fit each other".into()));
    }
    match problem.queries.values {
        Values::F32(queries) => run_typed(kernels, arena, problem, queries, output),
        Values::Bf16(queries) if kernels.path().multiplies_bf16() && problem.head_channels.is_multiple_of(bf16::GROUP) => {
            run_typed(kernels, arena, problem, queries, output)
        }
        Values::Bf16(_) => Err(Error::Device("attention on these kernels takes f32 queries".into())),
    }
}

fn run_typed<T: Operand, O: Lane>(
    kernels: Kernels,
    arena: &Arc<Arena>,
    problem: &Problem<'_>,
    queries: &[T],
    output: &mut [O],
) -> Result<()> {
    let parts = problem.positions.div_ceil(POSITIONS);
    // SAFETY: a task writes its own positions of all frames of its clip, and no two tasks have both in common.
    let output = unsafe { Shared::new(output) };
    (0..problem.clips * parts).into_par_iter().with_max_len(4).try_for_each(|task| {
        problem.interrupt.check()?;
        let (clip, part) = (task / parts, task % parts);
        let mut work = Work::new(arena, problem)?;
        for position in part * POSITIONS..((part + 1) * POSITIONS).min(problem.positions) {
            for head in 0..problem.heads {
                let place = Place { clip, position, head };
                match problem.keys.values {
                    Values::F32(keys) => work.pack_keys(problem, place, keys),
                    Values::Bf16(keys) => work.pack_keys(problem, place, keys),
                }
                match problem.values.values {
                    Values::F32(values) => work.pack_values(problem, place, values),
                    Values::Bf16(values) => work.pack_values(problem, place, values),
                }
                work.attend(kernels, problem, place, queries, &output);
            }
        }
        Ok(())
    })
}

/// One of the small attentions.
#[derive(Clone, Copy)]
struct Place {
    clip: usize,
    position: usize,
    head: usize,
}

impl Place {
    /// The vector of this place in `frame`, counted over all frames of all positions.
    fn index(self, problem: &Problem<'_>, frame: usize) -> usize {
        (self.clip * problem.frames + frame) * problem.positions + self.position
    }

    /// Where the vector of `frame` begins in a part of the problem.
    fn start(self, problem: &Problem<'_>, part: Strided<'_>, frame: usize) -> usize {
        self.index(problem, frame) * part.stride + part.offset + self.head * problem.head_channels
    }
}

/// What a task works in, the same memory for all of its small attentions.
struct Work<T: Operand> {
    /// Frames in whole panels: keys of a score's row, and rows of packed values.
    width: usize,
    /// Channels of a head in whole groups.
    depth: usize,
    /// `[panel][channel][32 frames]`, groups of channels interleaved; frames and channels that fill up are zero.
    keys: Scratch<T>,
    /// `[panel][frame][32 channels]`, groups of frames interleaved; frames and channels that fill up are zero.
    values: Scratch<T>,
    /// `[frame][width]`.
    scores: Scratch<f32>,
    /// `[frame][width]`.
    weights: Scratch<T>,
    /// `[14 frames][32]`, one panel of channels at a time.
    sums: Scratch<f32>,
    pointers: Vec<*const T>,
}

impl<T: Operand> Work<T> {
    fn new(arena: &Arc<Arena>, problem: &Problem<'_>) -> Result<Self> {
        let width = problem.frames.next_multiple_of(PANEL);
        let depth = problem.head_channels.next_multiple_of(T::GROUP);
        let rows = problem.frames.next_multiple_of(HEIGHT);
        let mut keys = arena.take::<T>(width * depth)?;
        let mut values = arena.take::<T>(problem.head_channels.next_multiple_of(PANEL) * width)?;
        // What fills up stays as it is from one small attention to the next.
        keys.fill(T::narrow(0.0));
        values.fill(T::narrow(0.0));
        let mut weights = arena.take::<T>(rows * width)?;
        weights.fill(T::narrow(0.0));
        let (scores, sums) = (arena.take::<f32>(rows * width)?, arena.take::<f32>(HEIGHT * PANEL)?);
        Ok(Self { width, depth, keys, values, scores, weights, sums, pointers: vec![std::ptr::null(); rows] })
    }

    fn pack_keys<S: Lane>(&mut self, problem: &Problem<'_>, place: Place, source: &[S]) {
        for frame in 0..problem.frames {
            let key = &source[place.start(problem, problem.keys, frame)..][..problem.head_channels];
            let (panel, lane) = (frame / PANEL, frame % PANEL);
            let target = &mut self.keys[panel * PANEL * self.depth..][..PANEL * self.depth];
            for (group, target) in key.chunks(T::GROUP).zip(target.chunks_exact_mut(T::GROUP * PANEL)) {
                for (value, target) in group.iter().zip(&mut target[lane * T::GROUP..]) {
                    *target = T::narrow(value.widen());
                }
            }
        }
    }

    fn pack_values<S: Lane>(&mut self, problem: &Problem<'_>, place: Place, source: &[S]) {
        for frame in 0..problem.frames {
            let value = &source[place.start(problem, problem.values, frame)..][..problem.head_channels];
            let row = frame / T::GROUP * T::GROUP * PANEL + frame % T::GROUP;
            for (value, target) in value.chunks(PANEL).zip(self.values.chunks_exact_mut(self.width * PANEL)) {
                for (value, target) in value.iter().zip(target[row..].iter_mut().step_by(T::GROUP)) {
                    *target = T::narrow(value.widen());
                }
            }
        }
    }

    fn attend<O: Lane>(&mut self, kernels: Kernels, problem: &Problem<'_>, place: Place, queries: &[T], output: &Shared<'_, O>) {
        let (frames, channels) = (problem.frames, problem.head_channels);
        let (width, depth) = (self.width, self.depth);
        let query = |frame: usize| &queries[place.start(problem, problem.queries, frame)..];
        for (frame, pointer) in self.pointers.iter_mut().enumerate() {
            // the surplus ones repeat the first
            *pointer = query(if frame < frames { frame } else { 0 })[..depth].as_ptr();
        }
        let rows = TileRows { values: query(0), stride: problem.positions * problem.queries.stride, pointers: &self.pointers };
        for (panel, keys) in self.keys.chunks_exact(PANEL * depth).enumerate() {
            product(kernels, &rows, (frames, depth), keys, &mut self.scores[panel * PANEL..], width);
        }

        let factor = 1.0 / (channels as f32).sqrt();
        let mut inverse_sums = [0.0_f32; HEIGHT];
        let mut first = 0;
        while first < frames {
            let count = HEIGHT.min(frames - first);
            for (frame, inverse) in (first..first + count).zip(&mut inverse_sums) {
                let mut running = RunningSoftmax::START;
                let row = frame * width..(frame + 1) * width;
                let (scores, weights) = (&mut self.scores[row.clone()], &mut self.weights[row]);
                softmax_block(kernels.level(), scores, frames, factor, &mut running, weights);
                *inverse = 1.0 / running.sum;
            }
            for (offset, pointer) in self.pointers[..HEIGHT].iter_mut().enumerate() {
                *pointer = self.weights[(first + offset) * width..][..width].as_ptr();
            }
            let rows = TileRows { values: &self.weights[first * width..], stride: width, pointers: &self.pointers[..HEIGHT] };
            for (panel, values) in self.values.chunks_exact(width * PANEL).enumerate() {
                product(kernels, &rows, (count, width), values, &mut self.sums, PANEL);
                let here = panel * PANEL..channels.min((panel + 1) * PANEL);
                for ((frame, sums), inverse) in (first..).zip(self.sums.chunks_exact(PANEL)).zip(&inverse_sums[..count]) {
                    let start = (place.index(problem, frame) * problem.heads + place.head) * channels;
                    let target = output.piece(start + here.start, here.len());
                    scale(kernels.level(), &sums[..here.len()], *inverse, target);
                }
            }
            first += count;
        }
    }
}

/// The left side of a product, both as pointers (a multiple of [`HEIGHT`] of them) and as a regular matrix.
struct TileRows<'a, T> {
    values: &'a [T],
    stride: usize,
    pointers: &'a [*const T],
}

/// `sums = rows · panel` for the first `count` rows of `depth` values.
fn product<T: Operand>(
    kernels: Kernels,
    rows: &TileRows<'_, T>,
    (count, depth): (usize, usize),
    panel: &[T],
    sums: &mut [f32],
    sums_stride: usize,
) {
    if kernels.path() == KernelPath::Gemm {
        if let (Some(left), Some(right)) = (T::as_f32(rows.values), T::as_f32(panel)) {
            let left = Rows { values: left, stride: rows.stride };
            portable::multiply((count, PANEL, depth), sums, sums_stride, left, Rows { values: right, stride: PANEL }, false);
        }
        return;
    }
    let segments = [Segment { tap: 0, channel: 0, length: depth }];
    let tile = Tile {
        segments: &segments,
        rows: rows.pointers,
        rows_stride: rows.pointers.len(),
        first: 0,
        panel,
        sums,
        sums_stride,
        accumulate: false,
    };
    // SAFETY: only AVX-512 paths come here, with bf16 only those that have BF16 products (see `run`); every pointer was taken from a
    // slice of at least `depth` values.
    unsafe { multiply(tile, count) };
}
