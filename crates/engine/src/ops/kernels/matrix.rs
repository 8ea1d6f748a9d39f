//! Convolutions and linear layers: the kernel over all positions and outputs, in tasks.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::finish::{Finish, Rectangle, finish_panel};
use super::kernel::{Kernel, Rows, Sums};
use super::loops::PANEL;
use super::math::Lane;
use super::memory::Shared;
use super::pack::{Arrangement, Block, PackedMatrix};
use super::tile::Vectors;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::{KernelPath, amx::MatrixUnit, split::SplitMatrixUnit};
use super::{Kernels, portable};
use crate::error::{Error, Result};
use crate::ops::arena::Arena;

/// Panels of a task at least, when a product is cut finer so that several cores have work.
const TASK_PANELS_LEAST: usize = 4;
/// Tasks that a product should have for every thread: the last ones to finish then wait little for each other.
const TASKS_PER_THREAD: usize = 4;

/// Where the taps of a convolution look. A linear layer is one tap over a row of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Rows of the batch.
    pub(crate) rows: usize,
    /// Height and width of the input.
    pub(crate) input: (usize, usize),
    /// Height and width of the result.
    pub(crate) output: (usize, usize),
    /// Taps down and across.
    pub(crate) kernel: (usize, usize),
    /// Step between outputs.
    pub(crate) stride: usize,
    /// Zeros above and to the left.
    pub(crate) padding: (usize, usize),
}

impl Geometry {
    /// One tap at every position.
    pub(crate) const fn pointwise(rows: usize, positions: usize) -> Self {
        Self { rows, input: (1, positions), output: (1, positions), kernel: (1, 1), stride: 1, padding: (0, 0) }
    }

    /// Positions of a row of the result.
    pub(crate) const fn positions(&self) -> usize {
        self.output.0 * self.output.1
    }

    /// The input position (counted over all rows) that `tap` sees from `position` of `row`; `None` in the padding.
    pub(crate) fn source(&self, row: usize, position: usize, tap: usize) -> Option<usize> {
        let (y, x) = (position / self.output.1, position % self.output.1);
        let (down, across) = (tap / self.kernel.1, tap % self.kernel.1);
        let y = (y * self.stride + down).checked_sub(self.padding.0).filter(|y| *y < self.input.0)?;
        let x = (x * self.stride + across).checked_sub(self.padding.1).filter(|x| *x < self.input.1)?;
        Some((row * self.input.0 + y) * self.input.1 + x)
    }

    /// The input positions that `tap` sees from `positions` of the result (all counted over all rows), as [`Geometry::source`] finds
    /// them one by one.
    pub(crate) fn sources(&self, positions: std::ops::Range<usize>, tap: usize) -> impl Iterator<Item = Option<usize>> {
        let (down, across) = (tap / self.kernel.1, tap % self.kernel.1);
        let (mut row, within) = (positions.start / self.positions(), positions.start % self.positions());
        let (mut y, mut x) = (within / self.output.1, within % self.output.1);
        positions.map(move |_| {
            // where the padding begins, these wrap around to beyond the input
            let seen_y = (y * self.stride + down).wrapping_sub(self.padding.0);
            let seen_x = (x * self.stride + across).wrapping_sub(self.padding.1);
            let inside = seen_y < self.input.0 && seen_x < self.input.1;
            let source = inside.then(|| (row * self.input.0 + seen_y) * self.input.1 + seen_x);
            x += 1;
            if x == self.output.1 {
                (x, y) = (0, y + 1);
                if y == self.output.0 {
                    (y, row) = (0, row + 1);
                }
            }
            source
        })
    }

    /// Whether every tap sees the position it stands on.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.padding == (0, 0) && self.input == self.output
    }
}

/// Values of either stored type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
}

/// A matrix product to compute.
pub(crate) struct Product<'a> {
    /// The weights.
    pub(crate) matrix: &'a PackedMatrix,
    /// The input, in the type of the arrangement.
    pub(crate) input: Values<'a>,
    /// Values from one position of the input to the next.
    pub(crate) input_stride: usize,
    /// The taps.
    pub(crate) geometry: Geometry,
    /// The epilogue.
    pub(crate) finish: Finish<'a>,
}

impl Product<'_> {
    /// Every size that the kernels rely on.
    fn check(&self, input_length: usize, group: usize, output_length: usize) -> Result<()> {
        let Self { matrix, input_stride, geometry, finish, .. } = self;
        let positions = geometry.rows * geometry.positions();
        let input_positions = geometry.rows * geometry.input.0 * geometry.input.1;
        let fits = geometry.kernel.0 * geometry.kernel.1 == matrix.taps()
            && *input_stride >= matrix.in_channels().next_multiple_of(group)
            && input_length >= input_positions * input_stride
            && finish.channels == matrix.out_channels()
            && finish.gated == matrix.gated()
            && finish.bias.len() == matrix.columns()
            && output_length == positions * finish.channels
            && finish.residual.is_none_or(|residual| residual.len() == output_length)
            && finish.blend.is_none_or(|(other, _)| other.len() == output_length)
            && finish.slopes.is_none_or(|slopes| slopes.len() == finish.channels)
            && finish.per_row.is_none_or(|per_row| per_row.len() * finish.positions == positions * finish.channels);
        if fits { Ok(()) } else { Err(Error::Device("the sizes of a matrix product do not fit each other".into())) }
    }
}

/// Computes `product` into `output` (`[rows, positions, channels]`).
pub(crate) fn run<O: Lane>(kernels: Kernels, arena: &Arc<Arena>, product: &Product<'_>, output: &mut [O]) -> Result<()> {
    match (product.input, product.matrix.arrangement()) {
        (Values::F32(input), Arrangement::Panels) => run_panels::<Vectors<f32>, O>(kernels, arena, product, input, output),
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        (Values::F32(input), Arrangement::SplitPanels) => {
            run_panels::<SplitMatrixUnit, O>(kernels, arena, product, input, output)
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        (Values::Bf16(input), Arrangement::PairedPanels) if kernels.path() == KernelPath::AmxBf16 => {
            run_panels::<MatrixUnit, O>(kernels, arena, product, input, output)
        }
        (Values::Bf16(input), Arrangement::PairedPanels) => {
            run_panels::<Vectors<bf16>, O>(kernels, arena, product, input, output)
        }
        (Values::F32(input), Arrangement::Plain) => {
            product.check(input.len(), 1, output.len())?;
            portable::run(kernels, arena, product, input, output)
        }
        _ => Err(Error::Device("the input of a matrix product is not in the type of its weights".into())),
    }
}

/// How a product is cut: positions and panels per task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    positions: usize,
    panels: usize,
}

impl Partition {
    /// The partition of a product by a kernel into some `wanted` tasks. No result depends on it.
    fn of<K: Kernel>(positions: usize, panels: usize, wanted: usize) -> Self {
        let position_parts = positions.div_ceil(K::TASK_POSITIONS).max(1);
        let task_positions = positions.div_ceil(position_parts).next_multiple_of(2 * K::HEIGHT);
        let position_parts = positions.div_ceil(task_positions.max(1)).max(1);
        let most = (panels * position_parts).div_ceil(wanted).clamp(TASK_PANELS_LEAST, K::TASK_PANELS);
        let panel_parts = panels.div_ceil(most).max(1);
        let task_panels = panels.div_ceil(panel_parts);
        // small and narrow: cut the positions finer instead
        let position_parts = position_parts.max(wanted.div_ceil(panel_parts));
        let task_positions = positions.div_ceil(position_parts).next_multiple_of(2 * K::HEIGHT).min(task_positions);
        Self { positions: task_positions.max(K::HEIGHT), panels: task_panels.max(1) }
    }
}

fn run_panels<K: Kernel, O: Lane>(
    kernels: Kernels,
    arena: &Arc<Arena>,
    product: &Product<'_>,
    input: &[K::Value],
    output: &mut [O],
) -> Result<()> {
    product.check(input.len(), K::GROUP, output.len())?;
    let panels = product.matrix.columns() / PANEL;
    let positions = product.geometry.rows * product.geometry.positions();
    let partition = Partition::of::<K>(positions, panels, TASKS_PER_THREAD * rayon::current_num_threads());
    let position_parts = positions.div_ceil(partition.positions);
    let panel_parts = panels.div_ceil(partition.panels);
    // SAFETY: a task writes its own positions of its own panels, and no two tasks have both in common.
    let output = unsafe { Shared::new(output) };
    // Neighbouring tasks share their weights: a thread that takes a run of them reads its weights from the cache.
    (0..position_parts * panel_parts).into_par_iter().with_max_len(1).try_for_each(|task| {
        let (part, panel_part) = (task % position_parts, task / position_parts);
        let first = part * partition.positions;
        let first_panel = panel_part * partition.panels;
        let task = Task {
            positions: first..(first + partition.positions).min(positions),
            panels: first_panel..(first_panel + partition.panels).min(panels),
        };
        task.run::<K, O>(kernels, arena, product, input, &output)
    })
}

/// The blocks of K in runs of at most the kernel's chunk: panel by panel their weights are multiplied with inputs in the cache.
fn chunks<K: Kernel>(blocks: &[Block]) -> Vec<&[Block]> {
    let mut chunks = Vec::new();
    let (mut first, mut depth) = (0, 0);
    for (index, block) in blocks.iter().enumerate() {
        if index > first && depth + block.depth > K::CHUNK {
            chunks.push(&blocks[first..index]);
            (first, depth) = (index, 0);
        }
        depth += block.depth;
    }
    chunks.push(&blocks[first..]);
    chunks
}

/// A rectangle of the result.
struct Task {
    positions: std::ops::Range<usize>,
    panels: std::ops::Range<usize>,
}

impl Task {
    fn run<K: Kernel, O: Lane>(
        &self,
        kernels: Kernels,
        arena: &Arc<Arena>,
        product: &Product<'_>,
        input: &[K::Value],
        output: &Shared<'_, O>,
    ) -> Result<()> {
        let matrix = product.matrix;
        let count = self.positions.len();
        let padded = count.next_multiple_of(K::HEIGHT);
        let pointers = self.pointers::<K>(product, input, padded);
        let chunks = chunks::<K>(matrix.blocks());
        // where a panel's sums are complete before the next ones begin, these take their place
        let kept = if chunks.len() > 1 { self.panels.len() } else { 1 };
        let mut sums = arena.take::<f32>(kept * padded * PANEL)?;
        let weights = matrix.weights::<K::Value>();
        // SAFETY: panels are packed only for paths whose processor features were found, paired ones only with BF16; the matrix unit is
        // asked only on its own path, which alone has split panels.
        let session = unsafe { K::begin() };
        for (index, chunk) in chunks.iter().enumerate() {
            let mut inputs = Vec::with_capacity(chunk.len());
            for block in *chunk {
                let borrow = std::marker::PhantomData;
                let rows = Rows { segments: &block.segments, pointers: &pointers, stride: padded, count, borrow };
                // SAFETY: the pointers of the task are readable over all channels of a position, which the segments stay within.
                inputs.push(unsafe { K::prepare(arena, rows)? });
            }
            for panel in self.panels.clone() {
                let place = if kept > 1 { panel - self.panels.start } else { 0 };
                let sums = &mut sums[place * padded * PANEL..(place + 1) * padded * PANEL];
                for (within, (block, inputs)) in chunk.iter().zip(&inputs).enumerate() {
                    let next = chunk.get(within + 1).map_or((&chunk[0], panel + 1), |block| (block, panel));
                    let next = if next.1 < self.panels.end { next.0.panel(weights, next.1) } else { &[] };
                    let sums = Sums { values: &mut *sums, stride: PANEL, accumulate: index + within > 0 };
                    // SAFETY: as for the session, and the input is borrowed.
                    unsafe { K::multiply(&session, inputs, block.panel(weights, panel), next, sums) };
                }
                if index + 1 == chunks.len() {
                    let rectangle = Rectangle { panel, first: self.positions.start, count };
                    finish_panel(kernels.level(), &product.finish, sums, PANEL, rectangle, output);
                }
            }
        }
        Ok(())
    }

    /// The input row of every (tap, position) of the task, for `padded` positions; the surplus ones are zeros.
    fn pointers<K: Kernel>(&self, product: &Product<'_>, input: &[K::Value], padded: usize) -> Vec<*const K::Value> {
        let Product { matrix, geometry, input_stride, .. } = product;
        let zeros = matrix.zeros::<K::Value>().as_ptr();
        let mut pointers = vec![zeros; matrix.taps() * padded];
        let length = matrix.in_channels().next_multiple_of(K::GROUP);
        for (tap, pointers) in pointers.chunks_exact_mut(padded).enumerate() {
            for (pointer, source) in pointers.iter_mut().zip(geometry.sources(self.positions.clone(), tap)) {
                if let Some(source) = source {
                    *pointer = input[source * input_stride..][..length].as_ptr();
                }
            }
        }
        pointers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_bounded_and_give_several_tasks() {
        for positions in [1, 2, 14, 15, 77, 154, 512, 2048, 8192, 262_144] {
            for panels in [1, 2, 4, 10, 20, 40, 80, 640] {
                check_partition::<Vectors<f32>>(positions, panels);
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                {
                    check_partition::<MatrixUnit>(positions, panels);
                    check_partition::<SplitMatrixUnit>(positions, panels);
                }
            }
        }
    }

    fn check_partition<K: Kernel>(positions: usize, panels: usize) {
        let wanted = 16;
        let partition = Partition::of::<K>(positions, panels, wanted);
        assert!(partition.positions.is_multiple_of(K::HEIGHT) && partition.positions <= K::TASK_POSITIONS);
        assert!(partition.panels >= 1 && partition.panels <= K::TASK_PANELS);
        let tasks = positions.div_ceil(partition.positions) * panels.div_ceil(partition.panels);
        if positions * panels >= 2048 * 10 {
            assert!(tasks >= wanted, "{tasks} tasks for {positions} positions, {panels} panels");
        }
    }

    #[test]
    fn taps_look_where_torch_looks() {
        let geometry = Geometry { rows: 2, input: (4, 5), output: (2, 2), kernel: (3, 3), stride: 2, padding: (0, 0) };
        assert_eq!(geometry.source(1, 3, 0), Some(20 + 2 * 5 + 2));
        // one past the right and the lower edge: the asymmetric padding of the VAE's downsampling
        assert_eq!(geometry.source(0, 3, 8), None);
        let padded = Geometry { rows: 1, input: (4, 5), output: (4, 5), kernel: (3, 3), stride: 1, padding: (1, 1) };
        assert_eq!(padded.source(0, 0, 0), None);
        assert_eq!(padded.source(0, 0, 4), Some(0));
        assert_eq!(padded.source(0, 19, 8), None);
        // over three frames of five positions
        let frames = Geometry { rows: 2, input: (3, 5), output: (3, 5), kernel: (3, 1), stride: 1, padding: (1, 0) };
        assert_eq!([0, 1, 2].map(|tap| frames.source(1, 7, tap)), [Some(15 + 2), Some(15 + 7), Some(15 + 12)]);
        assert_eq!((frames.source(1, 4, 0), frames.source(0, 10, 2)), (None, None));
        for geometry in [geometry, padded, frames] {
            for tap in 0..geometry.kernel.0 * geometry.kernel.1 {
                let positions = geometry.rows * geometry.positions();
                let one_by_one =
                    |position| geometry.source(position / geometry.positions(), position % geometry.positions(), tap);
                for first in 0..positions {
                    assert!(geometry.sources(first..positions, tap).eq((first..positions).map(one_by_one)), "{tap}, {first}");
                }
            }
        }
    }
}
