//! Attention in blocks: scores of 56 queries × 128 keys at a time, softmax on the way, values weighed by the same register tile.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::loops::{PANEL, RunningSoftmax, scale, scale_in_place, softmax_block};
use super::math::Lane;
use super::matrix::Values;
use super::memory::Shared;
use super::portable::{self, Rows};
use super::tile::{HEIGHT, Operand, Segment, Tile, multiply};
use super::{KernelPath, Kernels};
use crate::error::{Error, Result};
use crate::ops::arena::{Arena, Scratch};
use crate::ops::interrupt::Interrupt;

/// Queries of a task: four tiles, so that their scores against a block of keys stay in the first-level cache.
const QUERIES: usize = 4 * HEIGHT;
/// Keys of a block.
const KEYS: usize = 4 * PANEL;

/// Vectors at regular distances: position i of head h starts at `values[i · stride + offset + h · head_channels]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a> {
    /// The values.
    pub(crate) values: Values<'a>,
    /// From one position to the next.
    pub(crate) stride: usize,
    /// Of the first head.
    pub(crate) offset: usize,
}

impl Strided<'_> {
    /// Whether `positions` positions of `channels` channels lie within the values.
    pub(super) fn holds(&self, positions: usize, channels: usize) -> bool {
        let length = match self.values {
            Values::F32(values) => values.len(),
            Values::Bf16(values) => values.len(),
        };
        self.offset + channels <= self.stride && positions * self.stride <= length
    }
}

/// Keys and values of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowKeys<'a> {
    /// Keys.
    pub(crate) keys: Strided<'a>,
    /// Values.
    pub(crate) values: Strided<'a>,
    /// How many.
    pub(crate) count: usize,
}

/// An attention to compute.
pub(crate) struct Problem<'a> {
    /// Queries of all rows.
    pub(crate) queries: Strided<'a>,
    /// Queries per row.
    pub(crate) query_count: usize,
    /// Keys and values, one per row.
    pub(crate) rows: &'a [RowKeys<'a>],
    /// Heads.
    pub(crate) heads: usize,
    /// Channels per head.
    pub(crate) head_channels: usize,
    /// Whether a query sees only the keys at or before its position.
    pub(crate) causal: bool,
    /// Looked at by every task.
    pub(crate) interrupt: &'a Interrupt,
}

/// Computes `problem` into `output` (`[rows, query_count, heads · head_channels]`). On [`KernelPath::Avx512Bf16`] the queries may
/// be bf16 (with an even number of channels per head) and are then multiplied as such; elsewhere they must be f32. Keys and values
/// are converted as they are packed.
pub(crate) fn run<O: Lane>(kernels: Kernels, arena: &Arc<Arena>, problem: &Problem<'_>, output: &mut [O]) -> Result<()> {
    let channels = problem.heads * problem.head_channels;
    let fits = channels > 0
        && output.len() == problem.rows.len() * problem.query_count * channels
        && problem.queries.holds(problem.rows.len() * problem.query_count, channels)
        && problem
            .rows
            .iter()
            .all(|row| row.count > 0 && row.keys.holds(row.count, channels) && row.values.holds(row.count, channels));
    if !fits {
        return Err(Error::Device("the sizes of an attention do not fit each other".into()));
    }
    match problem.queries.values {
        Values::F32(queries) => run_typed(kernels, arena, problem, queries, output),
        Values::Bf16(queries)
            if kernels.path() == KernelPath::Avx512Bf16 && problem.head_channels.is_multiple_of(bf16::GROUP) =>
        {
            run_typed(kernels, arena, problem, queries, output)
        }
        Values::Bf16(_) => Err(Error::Device("attention on these kernels takes f32 queries".into())),
    }
}

/// Where a row's packed keys and values start.
struct PackedRow {
    keys: usize,
    values: usize,
    key_panels: usize,
}

/// Keys as panels of 32 keys `[head][panel][channel][32]`, values as panels of 32 channels `[head][panel][key][32]`; keys and
/// channels that fill up a panel are zero.
struct Packed<T: Operand> {
    rows: Vec<PackedRow>,
    keys: Scratch<T>,
    values: Scratch<T>,
}

impl<T: Operand> Packed<T> {
    fn new(arena: &Arc<Arena>, problem: &Problem<'_>) -> Result<Self> {
        let (heads, depth) = (problem.heads, problem.head_channels.next_multiple_of(T::GROUP));
        let value_panels = problem.head_channels.div_ceil(PANEL);
        let (mut key_length, mut value_length) = (0, 0);
        let mut rows = Vec::with_capacity(problem.rows.len());
        for row in problem.rows {
            let key_panels = row.count.div_ceil(PANEL);
            rows.push(PackedRow { keys: key_length, values: value_length, key_panels });
            key_length += heads * key_panels * PANEL * depth;
            value_length += heads * value_panels * PANEL * key_panels * PANEL;
        }
        let mut keys = arena.take::<T>(key_length)?;
        let mut values = arena.take::<T>(value_length)?;
        let (mut keys_left, mut values_left) = (&mut *keys, &mut *values);
        let mut jobs = Vec::new();
        for (row, packed) in problem.rows.iter().zip(&rows) {
            for head in 0..heads {
                let (these, rest) = keys_left.split_at_mut(packed.key_panels * PANEL * depth);
                keys_left = rest;
                jobs.extend(
                    these.chunks_exact_mut(PANEL * depth).enumerate().map(|(panel, target)| (row, head, panel, true, target)),
                );
                let length = packed.key_panels * PANEL * PANEL;
                let (these, rest) = values_left.split_at_mut(value_panels * length);
                values_left = rest;
                jobs.extend(these.chunks_exact_mut(length).enumerate().map(|(panel, target)| (row, head, panel, false, target)));
            }
        }
        let channels = problem.head_channels;
        jobs.into_par_iter().for_each(|(row, head, panel, is_keys, target)| {
            let first = head * channels;
            match (is_keys, if is_keys { row.keys.values } else { row.values.values }) {
                (true, Values::F32(values)) => pack_keys(values, row.keys, row.count, first..first + channels, panel, target),
                (true, Values::Bf16(values)) => pack_keys(values, row.keys, row.count, first..first + channels, panel, target),
                (false, Values::F32(values)) => {
                    pack_values(values, row.values, row.count, first..first + channels, panel, target);
                }
                (false, Values::Bf16(values)) => {
                    pack_values(values, row.values, row.count, first..first + channels, panel, target);
                }
            }
        });
        Ok(Self { rows, keys, values })
    }
}

/// One panel of 32 keys: `target[channel][32]`, groups of channels interleaved.
fn pack_keys<S: Lane, T: Operand>(
    source: &[S],
    strided: Strided<'_>,
    count: usize,
    channels: std::ops::Range<usize>,
    panel: usize,
    target: &mut [T],
) {
    target.fill(T::narrow(0.0));
    for lane in 0..PANEL.min(count - panel * PANEL) {
        let from = (panel * PANEL + lane) * strided.stride + strided.offset;
        let key = &source[from + channels.start..from + channels.end];
        for (group, target) in key.chunks(T::GROUP).zip(target.chunks_exact_mut(T::GROUP * PANEL)) {
            for (value, target) in group.iter().zip(&mut target[lane * T::GROUP..]) {
                *target = T::narrow(value.widen());
            }
        }
    }
}

/// One panel of 32 channels: `target[key][32]`, groups of keys interleaved.
fn pack_values<S: Lane, T: Operand>(
    source: &[S],
    strided: Strided<'_>,
    count: usize,
    channels: std::ops::Range<usize>,
    panel: usize,
    target: &mut [T],
) {
    target.fill(T::narrow(0.0));
    let channels = channels.start + panel * PANEL..channels.end.min(channels.start + (panel + 1) * PANEL);
    for key in 0..count {
        let from = key * strided.stride + strided.offset;
        let value = &source[from + channels.start..from + channels.end];
        let target = &mut target[key / T::GROUP * T::GROUP * PANEL + key % T::GROUP..];
        for (value, target) in value.iter().zip(target.iter_mut().step_by(T::GROUP)) {
            *target = T::narrow(value.widen());
        }
    }
}

fn run_typed<T: Operand, O: Lane>(
    kernels: Kernels,
    arena: &Arc<Arena>,
    problem: &Problem<'_>,
    queries: &[T],
    output: &mut [O],
) -> Result<()> {
    let packed = Packed::<T>::new(arena, problem)?;
    let parts = problem.query_count.div_ceil(QUERIES);
    // SAFETY: a task writes its own head of its own queries, and no two tasks have both in common.
    let output = unsafe { Shared::new(output) };
    // tasks of one head follow each other: its keys and values stay in the cache
    (0..problem.rows.len() * problem.heads * parts).into_par_iter().with_max_len(4).try_for_each(|task| {
        problem.interrupt.check()?;
        let (head, part) = (task / parts, task % parts);
        let (row, head) = (head / problem.heads, head % problem.heads);
        let first = part * QUERIES;
        let task = Task { row, head, first, count: QUERIES.min(problem.query_count - first) };
        task.run(kernels, arena, problem, &packed, queries, &output)
    })
}

/// A block of queries of one head.
struct Task {
    row: usize,
    head: usize,
    first: usize,
    count: usize,
}

impl Task {
    fn run<T: Operand, O: Lane>(
        &self,
        kernels: Kernels,
        arena: &Arc<Arena>,
        problem: &Problem<'_>,
        packed: &Packed<T>,
        queries: &[T],
        output: &Shared<'_, O>,
    ) -> Result<()> {
        let channels = problem.head_channels;
        let depth = channels.next_multiple_of(T::GROUP);
        let value_panels = channels.div_ceil(PANEL);
        let PackedRow { keys, values, key_panels } = packed.rows[self.row];
        let keys = &packed.keys[keys + self.head * key_panels * PANEL * depth..][..key_panels * PANEL * depth];
        let value_length = key_panels * PANEL * PANEL;
        let values = &packed.values[values + self.head * value_panels * value_length..][..value_panels * value_length];

        let mut scores = arena.take::<f32>(QUERIES * KEYS)?;
        let mut weights = arena.take::<T>(QUERIES * KEYS)?;
        let mut sums = arena.take::<f32>(value_panels * QUERIES * PANEL)?;
        let mut running = [RunningSoftmax::START; QUERIES];
        let query_rows = self.query_rows(problem, queries, depth);

        let factor = 1.0 / (channels as f32).sqrt();
        let count = problem.rows[self.row].count;
        let seen = if problem.causal { count.min(self.first + self.count) } else { count };
        for first_key in (0..seen).step_by(KEYS) {
            let block = KEYS.min(seen - first_key);
            let width = block.next_multiple_of(PANEL);
            for panel in 0..width / PANEL {
                let panel_keys = &keys[(first_key / PANEL + panel) * PANEL * depth..][..PANEL * depth];
                self.product(kernels, &query_rows, depth, panel_keys, (&mut scores[panel * PANEL..], KEYS), false);
            }
            for query in 0..self.count {
                let visible = if problem.causal { (self.first + query + 1).saturating_sub(first_key).min(block) } else { block };
                let row = query * KEYS..query * KEYS + width;
                let correction = softmax_block(
                    kernels.level(),
                    &mut scores[row.clone()],
                    visible,
                    factor,
                    &mut running[query],
                    &mut weights[row],
                );
                if first_key > 0 && correction.to_bits() != 1.0_f32.to_bits() {
                    for panel in sums.chunks_exact_mut(QUERIES * PANEL) {
                        scale_in_place(kernels.level(), &mut panel[query * PANEL..(query + 1) * PANEL], correction);
                    }
                }
            }
            let weight_rows = TileRows::regular(&weights, KEYS, width);
            for (panel, sums) in sums.chunks_exact_mut(QUERIES * PANEL).enumerate() {
                let panel_values = &values[panel * value_length + first_key * PANEL..][..width * PANEL];
                self.product(kernels, &weight_rows, width, panel_values, (sums, PANEL), first_key > 0);
            }
        }

        for (query, running) in running[..self.count].iter().enumerate() {
            let position = self.row * problem.query_count + self.first + query;
            let target = output.piece((position * problem.heads + self.head) * channels, channels);
            for (target, sums) in target.chunks_mut(PANEL).zip(sums.chunks_exact(QUERIES * PANEL)) {
                let sums = &sums[query * PANEL..query * PANEL + target.len()];
                scale(kernels.level(), sums, 1.0 / running.sum, target);
            }
        }
        Ok(())
    }

    /// Row pointers of this task's queries; the surplus ones repeat the first.
    fn query_rows<'a, T: Operand>(&self, problem: &Problem<'_>, queries: &'a [T], depth: usize) -> TileRows<'a, T> {
        let Strided { stride, offset, .. } = problem.queries;
        let start = (self.row * problem.query_count + self.first) * stride + offset + self.head * problem.head_channels;
        let values = &queries[start..];
        let pointers = std::array::from_fn(|query| {
            let query = if query < self.count { query } else { 0 };
            values[query * stride..][..depth].as_ptr()
        });
        TileRows { values, stride, pointers }
    }

    /// `sums (+)= rows · panel` for this task's queries.
    fn product<T: Operand>(
        &self,
        kernels: Kernels,
        rows: &TileRows<'_, T>,
        depth: usize,
        panel: &[T],
        (sums, sums_stride): (&mut [f32], usize),
        accumulate: bool,
    ) {
        if kernels.path() == KernelPath::Gemm {
            if let (Some(left), Some(right)) = (T::as_f32(rows.values), T::as_f32(panel)) {
                let left = Rows { values: left, stride: rows.stride };
                let right = Rows { values: right, stride: PANEL };
                portable::multiply((self.count, PANEL, depth), sums, sums_stride, left, right, accumulate);
            }
            return;
        }
        let segments = [Segment { tap: 0, channel: 0, length: depth }];
        let tile = Tile {
            segments: &segments,
            rows: &rows.pointers,
            rows_stride: QUERIES,
            first: 0,
            panel,
            sums,
            sums_stride,
            accumulate,
        };
        // SAFETY: only AVX-512 paths come here, with bf16 only the one that has BF16 products (see `run`); every pointer was taken
        // from a slice of at least `depth` values.
        unsafe { multiply(tile, self.count) };
    }
}

/// The left side of a product, both as pointers and as a regular matrix.
struct TileRows<'a, T> {
    values: &'a [T],
    stride: usize,
    pointers: [*const T; QUERIES],
}

impl<'a, T: Operand> TileRows<'a, T> {
    /// Rows of `depth` values, `stride` apart.
    fn regular(values: &'a [T], stride: usize, depth: usize) -> Self {
        Self { values, stride, pointers: std::array::from_fn(|row| values[row * stride..][..depth].as_ptr()) }
    }
}
