//! Attention in blocks: scores of some 60 queries × a few hundred keys at a time, softmax on the way, values weighed by the same kernel.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::kernel::{Kernel, Rows, Segment, Sums};
use super::loops::{PANEL, RunningSoftmax, scale, scale_in_place, softmax_block};
use super::math::Lane;
use super::matrix::Values;
use super::memory::Shared;
use super::portable;
use super::tile::Vectors;
use super::{KernelPath, Kernels};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::{amx::MatrixUnit, split::SplitMatrixUnit};
use crate::error::{Error, Result};
use crate::ops::arena::{Arena, Scratch};
use crate::ops::interrupt::Interrupt;

/// Queries of a task at most: their scores against a block of keys stay in the first-level cache.
const MOST_QUERIES: usize = 64;

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

/// Computes `problem` into `output` (`[rows, query_count, heads · head_channels]`). On paths that multiply bf16 the queries may
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
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Values::F32(queries) if kernels.path() == KernelPath::AmxBf16 => {
            run_typed::<SplitMatrixUnit, O>(kernels, arena, problem, queries, output)
        }
        Values::F32(queries) => run_typed::<Vectors<f32>, O>(kernels, arena, problem, queries, output),
        Values::Bf16(queries)
            if kernels.path().multiplies_bf16() && problem.head_channels.is_multiple_of(Vectors::<bf16>::GROUP) =>
        {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            if kernels.path() == KernelPath::AmxBf16 {
                return run_typed::<MatrixUnit, O>(kernels, arena, problem, queries, output);
            }
            run_typed::<Vectors<bf16>, O>(kernels, arena, problem, queries, output)
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
struct Packed<K: Kernel> {
    rows: Vec<PackedRow>,
    keys: Scratch<K::Value>,
    values: Scratch<K::Value>,
}

impl<K: Kernel> Packed<K> {
    fn new(arena: &Arc<Arena>, problem: &Problem<'_>) -> Result<Self> {
        let (heads, depth) = (problem.heads, problem.head_channels.next_multiple_of(K::STEP));
        let value_panels = problem.head_channels.div_ceil(PANEL);
        let (mut key_length, mut value_length) = (0, 0);
        let mut rows = Vec::with_capacity(problem.rows.len());
        for row in problem.rows {
            let key_panels = row.count.div_ceil(PANEL);
            rows.push(PackedRow { keys: key_length, values: value_length, key_panels });
            key_length += heads * key_panels * PANEL * depth;
            value_length += heads * value_panels * PANEL * key_panels * PANEL;
        }
        let mut keys = arena.take::<K::Value>(key_length)?;
        let mut values = arena.take::<K::Value>(value_length)?;
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
                (true, Values::F32(values)) => {
                    pack_keys::<_, K>(values, row.keys, row.count, first..first + channels, panel, target);
                }
                (true, Values::Bf16(values)) => {
                    pack_keys::<_, K>(values, row.keys, row.count, first..first + channels, panel, target);
                }
                (false, Values::F32(values)) => {
                    pack_values::<_, K>(values, row.values, row.count, first..first + channels, panel, target);
                }
                (false, Values::Bf16(values)) => {
                    pack_values::<_, K>(values, row.values, row.count, first..first + channels, panel, target);
                }
            }
            K::seal(target);
        });
        Ok(Self { rows, keys, values })
    }
}

/// One panel of 32 keys: `target[channel][32]`, groups of channels interleaved.
fn pack_keys<S: Lane, K: Kernel>(
    source: &[S],
    strided: Strided<'_>,
    count: usize,
    channels: std::ops::Range<usize>,
    panel: usize,
    target: &mut [K::Value],
) {
    target.fill(K::Value::narrow(0.0));
    for lane in 0..PANEL.min(count - panel * PANEL) {
        let from = (panel * PANEL + lane) * strided.stride + strided.offset;
        let key = &source[from + channels.start..from + channels.end];
        for (group, target) in key.chunks(K::GROUP).zip(target.chunks_exact_mut(K::GROUP * PANEL)) {
            for (value, target) in group.iter().zip(&mut target[lane * K::GROUP..]) {
                *target = K::Value::narrow(value.widen());
            }
        }
    }
}

/// One panel of 32 channels: `target[key][32]`, groups of keys interleaved.
fn pack_values<S: Lane, K: Kernel>(
    source: &[S],
    strided: Strided<'_>,
    count: usize,
    channels: std::ops::Range<usize>,
    panel: usize,
    target: &mut [K::Value],
) {
    target.fill(K::Value::narrow(0.0));
    let channels = channels.start + panel * PANEL..channels.end.min(channels.start + (panel + 1) * PANEL);
    for key in 0..count {
        let from = key * strided.stride + strided.offset;
        let value = &source[from + channels.start..from + channels.end];
        let target = &mut target[key / K::GROUP * K::GROUP * PANEL + key % K::GROUP..];
        for (value, target) in value.iter().zip(target.iter_mut().step_by(K::GROUP)) {
            *target = K::Value::narrow(value.widen());
        }
    }
}

fn run_typed<K: Kernel, O: Lane>(
    kernels: Kernels,
    arena: &Arc<Arena>,
    problem: &Problem<'_>,
    queries: &[K::Value],
    output: &mut [O],
) -> Result<()> {
    let packed = Packed::<K>::new(arena, problem)?;
    let parts = problem.query_count.div_ceil(K::TASK_QUERIES);
    // SAFETY: a task writes its own head of its own queries, and no two tasks have both in common.
    let output = unsafe { Shared::new(output) };
    // tasks of one head follow each other: its keys and values stay in the cache
    (0..problem.rows.len() * problem.heads * parts).into_par_iter().with_max_len(4).try_for_each(|task| {
        problem.interrupt.check()?;
        let (head, part) = (task / parts, task % parts);
        let (row, head) = (head / problem.heads, head % problem.heads);
        let first = part * K::TASK_QUERIES;
        let task = Task { row, head, first, count: K::TASK_QUERIES.min(problem.query_count - first) };
        task.run::<K, O>(kernels, arena, problem, &packed, queries, &output)
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
    fn run<K: Kernel, O: Lane>(
        &self,
        kernels: Kernels,
        arena: &Arc<Arena>,
        problem: &Problem<'_>,
        packed: &Packed<K>,
        queries: &[K::Value],
        output: &Shared<'_, O>,
    ) -> Result<()> {
        let channels = problem.head_channels;
        let depth = channels.next_multiple_of(K::STEP);
        let value_panels = channels.div_ceil(PANEL);
        let PackedRow { keys, values, key_panels } = packed.rows[self.row];
        let keys = &packed.keys[keys + self.head * key_panels * PANEL * depth..][..key_panels * PANEL * depth];
        let value_length = key_panels * PANEL * PANEL;
        let values = &packed.values[values + self.head * value_panels * value_length..][..value_panels * value_length];

        // rows at powers of two would share a few lines of the cache
        let row_length = K::TASK_KEYS + PANEL;
        let mut scores = arena.take::<f32>(K::TASK_QUERIES * row_length)?;
        let mut weights = arena.take::<K::Value>(K::TASK_QUERIES * row_length)?;
        let mut sums = arena.take::<f32>(value_panels * K::TASK_QUERIES * PANEL)?;
        let mut running = [RunningSoftmax::START; MOST_QUERIES];
        let query_rows = self.query_rows(problem, queries);
        let multiplier = Multiplier::<K>::new(kernels, arena);
        let query_inputs = multiplier.prepare(&query_rows, self.count)?;

        let factor = 1.0 / (channels as f32).sqrt();
        let count = problem.rows[self.row].count;
        let seen = if problem.causal { count.min(self.first + self.count) } else { count };
        for first_key in (0..seen).step_by(K::TASK_KEYS) {
            let block = K::TASK_KEYS.min(seen - first_key);
            let width = block.next_multiple_of(PANEL);
            for panel in 0..width / PANEL {
                let panel_keys = &keys[(first_key / PANEL + panel) * PANEL * depth..][..PANEL * depth];
                let scores = Sums { values: &mut scores[panel * PANEL..], stride: row_length, accumulate: false };
                multiplier.multiply(&query_inputs, panel_keys, scores);
            }
            for query in 0..self.count {
                let visible = if problem.causal { (self.first + query + 1).saturating_sub(first_key).min(block) } else { block };
                let row = query * row_length..query * row_length + width;
                let correction = softmax_block(
                    kernels.level(),
                    &mut scores[row.clone()],
                    visible,
                    factor,
                    &mut running[query],
                    &mut weights[row],
                );
                if first_key > 0 && correction.to_bits() != 1.0_f32.to_bits() {
                    for panel in sums.chunks_exact_mut(K::TASK_QUERIES * PANEL) {
                        scale_in_place(kernels.level(), &mut panel[query * PANEL..(query + 1) * PANEL], correction);
                    }
                }
            }
            let weight_rows = Regular::new(&weights, row_length, width, K::TASK_QUERIES);
            let weight_inputs = multiplier.prepare(&weight_rows, self.count)?;
            for (panel, sums) in sums.chunks_exact_mut(K::TASK_QUERIES * PANEL).enumerate() {
                let panel_values = &values[panel * value_length + first_key * PANEL..][..width * PANEL];
                let sums = Sums { values: sums, stride: PANEL, accumulate: first_key > 0 };
                multiplier.multiply(&weight_inputs, panel_values, sums);
            }
        }

        for (query, running) in running[..self.count].iter().enumerate() {
            let position = self.row * problem.query_count + self.first + query;
            let target = output.piece((position * problem.heads + self.head) * channels, channels);
            for (target, sums) in target.chunks_mut(PANEL).zip(sums.chunks_exact(K::TASK_QUERIES * PANEL)) {
                let sums = &sums[query * PANEL..query * PANEL + target.len()];
                scale(kernels.level(), sums, 1.0 / running.sum, target);
            }
        }
        Ok(())
    }

    /// This task's queries.
    fn query_rows<'a, T: Lane>(&self, problem: &Problem<'_>, queries: &'a [T]) -> Regular<'a, T> {
        let Strided { stride, offset, .. } = problem.queries;
        let start = (self.row * problem.query_count + self.first) * stride + offset + self.head * problem.head_channels;
        Regular::new(&queries[start..], stride, problem.head_channels, self.count)
    }
}

/// The left side of a product: rows at a regular distance.
struct Regular<'a, T> {
    values: &'a [T],
    stride: usize,
    segments: [Segment; 1],
    pointers: [*const T; MOST_QUERIES],
}

impl<'a, T: Lane> Regular<'a, T> {
    /// `count` rows of `depth` values, `stride` apart; surplus pointers repeat the first.
    fn new(values: &'a [T], stride: usize, depth: usize, count: usize) -> Self {
        let pointers = std::array::from_fn(|row| {
            let row = if row < count { row } else { 0 };
            values[row * stride..][..depth].as_ptr()
        });
        Self { values, stride, segments: [Segment { tap: 0, channel: 0, length: depth }], pointers }
    }
}

/// Products of a thread: by a kernel, or over the `gemm` crate on processors that lack all of them.
struct Multiplier<'a, K: Kernel> {
    arena: &'a Arc<Arena>,
    session: Option<K::Session>,
}

/// The left side of products, ready.
struct Left<'a, K: Kernel> {
    rows: &'a Regular<'a, K::Value>,
    count: usize,
    inputs: Option<K::Inputs<'a>>,
}

impl<'a, K: Kernel> Multiplier<'a, K> {
    fn new(kernels: Kernels, arena: &'a Arc<Arena>) -> Self {
        // SAFETY: only AVX-512 paths come here, each with the kernel of its own (see `run`).
        let session = (kernels.path() != KernelPath::Gemm).then(|| unsafe { K::begin() });
        Self { arena, session }
    }

    /// The first `count` rows.
    fn prepare<'b>(&self, rows: &'b Regular<'b, K::Value>, count: usize) -> Result<Left<'b, K>> {
        let inputs = if self.session.is_some() {
            let Regular { segments, pointers, .. } = rows;
            let rows = Rows { segments, pointers, stride: MOST_QUERIES, count, borrow: std::marker::PhantomData };
            // SAFETY: every pointer was taken from a slice of as many values as the segment is long, which is borrowed.
            Some(unsafe { K::prepare(self.arena, rows)? })
        } else {
            None
        };
        Ok(Left { rows, count, inputs })
    }

    /// `sums (+)= rows · panel`.
    fn multiply(&self, left: &Left<'_, K>, panel: &[K::Value], sums: Sums<'_>) {
        if let (Some(session), Some(inputs)) = (&self.session, &left.inputs) {
            // SAFETY: the session was begun on a processor that has the kernel; the rows are borrowed.
            unsafe { K::multiply(session, inputs, panel, &[], sums) };
        } else if let (Some(values), Some(panel)) = (K::as_f32(left.rows.values), K::as_f32(panel)) {
            let size = (left.count, PANEL, left.rows.segments[0].length);
            let (rows, panel) =
                (portable::Rows { values, stride: left.rows.stride }, portable::Rows { values: panel, stride: PANEL });
            portable::multiply(size, sums.values, sums.stride, rows, panel, sums.accumulate);
        }
    }
}
