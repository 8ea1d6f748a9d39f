//! Convolutions and linear layers: the tile over all positions and outputs, in tasks.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::loops::{Finish, PANEL, Rectangle, finish_panel};
use super::math::Lane;
use super::memory::Shared;
use super::pack::{Arrangement, PackedMatrix};
use super::tile::{HEIGHT, Operand, Tile, multiply};
use super::{Kernels, portable};
use crate::error::{Error, Result};
use crate::ops::arena::Arena;

/// Positions of a task at most: 16 tiles. With [`TASK_PANELS`] the sums take at most 573 KB, which leaves room in a second-level
/// cache of 1 MB for the inputs of a block.
const TASK_POSITIONS: usize = 16 * HEIGHT;
/// Panels of a task at most.
const TASK_PANELS: usize = 20;
/// Panels of a task at least, when a product is cut finer so that several cores have work.
const TASK_PANELS_LEAST: usize = 4;
/// Tasks that a product should have, whatever the number of threads.
const TASKS_WANTED: usize = 16;

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
        (Values::F32(input), Arrangement::Panels) => run_panels(kernels, arena, product, input, output),
        (Values::Bf16(input), Arrangement::PairedPanels) => run_panels(kernels, arena, product, input, output),
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
    /// The partition of a product; it depends on nothing but its size.
    pub(crate) fn of(positions: usize, panels: usize) -> Self {
        let position_parts = positions.div_ceil(TASK_POSITIONS).max(1);
        let task_positions = positions.div_ceil(position_parts).next_multiple_of(HEIGHT);
        let position_parts = positions.div_ceil(task_positions.max(1)).max(1);
        let most = (panels * position_parts).div_ceil(TASKS_WANTED).clamp(TASK_PANELS_LEAST, TASK_PANELS);
        let panel_parts = panels.div_ceil(most).max(1);
        let task_panels = panels.div_ceil(panel_parts);
        // small and narrow: cut the positions finer instead
        let position_parts = position_parts.max(TASKS_WANTED.div_ceil(panel_parts));
        let task_positions = positions.div_ceil(position_parts).next_multiple_of(2 * HEIGHT).min(task_positions);
        Self { positions: task_positions.max(HEIGHT), panels: task_panels.max(1) }
    }
}

fn run_panels<T: Operand, O: Lane>(
    kernels: Kernels,
    arena: &Arc<Arena>,
    product: &Product<'_>,
    input: &[T],
    output: &mut [O],
) -> Result<()> {
    product.check(input.len(), T::GROUP, output.len())?;
    let panels = product.matrix.columns() / PANEL;
    let positions = product.geometry.rows * product.geometry.positions();
    let partition = Partition::of(positions, panels);
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
        task.run(kernels, arena, product, input, &output)
    })
}

/// A rectangle of the result.
struct Task {
    positions: std::ops::Range<usize>,
    panels: std::ops::Range<usize>,
}

impl Task {
    fn run<T: Operand, O: Lane>(
        &self,
        kernels: Kernels,
        arena: &Arc<Arena>,
        product: &Product<'_>,
        input: &[T],
        output: &Shared<'_, O>,
    ) -> Result<()> {
        let matrix = product.matrix;
        let count = self.positions.len();
        let padded = count.next_multiple_of(HEIGHT);
        let rows = self.row_table(product, input, padded);
        let mut sums = arena.take::<f32>(self.panels.len() * padded * PANEL)?;
        let weights = matrix.weights::<T>();
        for (index, block) in matrix.blocks().iter().enumerate() {
            for (panel, sums) in self.panels.clone().zip(sums.chunks_exact_mut(padded * PANEL)) {
                let from = block.offset + panel * block.depth * PANEL;
                let tile = Tile {
                    segments: &block.segments,
                    rows: &rows,
                    rows_stride: padded,
                    first: 0,
                    panel: &weights[from..from + block.depth * PANEL],
                    sums,
                    sums_stride: PANEL,
                    accumulate: index > 0,
                };
                // SAFETY: panels are packed only for paths whose processor features were found, paired ones only with BF16; the
                // row pointers of `row_table` are readable over all channels of a position, which the segments stay within.
                unsafe { multiply(tile, count) };
                if index + 1 == matrix.blocks().len() {
                    let rectangle = Rectangle { panel, first: self.positions.start, count };
                    finish_panel(kernels.level(), &product.finish, sums, PANEL, rectangle, output);
                }
            }
        }
        Ok(())
    }

    /// The input row of every (tap, position) of the task, for `padded` positions; the surplus ones are zeros.
    fn row_table<T: Operand>(&self, product: &Product<'_>, input: &[T], padded: usize) -> Vec<*const T> {
        let Product { matrix, geometry, input_stride, .. } = product;
        let zeros = matrix.zeros::<T>().as_ptr();
        let mut rows = vec![zeros; matrix.taps() * padded];
        let length = matrix.in_channels().next_multiple_of(T::GROUP);
        for (tap, rows) in rows.chunks_exact_mut(padded).enumerate() {
            for (pointer, position) in rows.iter_mut().zip(self.positions.clone()) {
                let (row, within) = (position / geometry.positions(), position % geometry.positions());
                if let Some(source) = geometry.source(row, within, tap) {
                    *pointer = input[source * input_stride..][..length].as_ptr();
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_bounded_and_give_several_tasks() {
        for positions in [1, 2, 14, 15, 77, 154, 512, 2048, 8192, 262_144] {
            for panels in [1, 2, 4, 10, 20, 40, 80, 640] {
                let partition = Partition::of(positions, panels);
                assert!(partition.positions.is_multiple_of(HEIGHT) && partition.positions <= TASK_POSITIONS);
                assert!(partition.panels >= 1 && partition.panels <= TASK_PANELS);
                let tasks = positions.div_ceil(partition.positions) * panels.div_ceil(partition.panels);
                if positions * panels >= 2048 * 10 {
                    assert!(tasks >= TASKS_WANTED, "{tasks} tasks for {positions} positions, {panels} panels");
                }
            }
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
    }
}
