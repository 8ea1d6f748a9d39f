//! Matrix products over the `gemm` crate, for processors without AVX-512.
//!
//! That crate chooses its loops by the size of a call, so that a result's bits depend on it. Every call here has a size that
//! depends on one row of the batch and on the layer alone.

use std::sync::Arc;

use rayon::prelude::*;

use super::Kernels;
use super::finish::{Rectangle, finish_panel};
use super::loops::PANEL;
use super::math::Lane;
use super::matrix::Product;
use super::memory::Shared;
use crate::error::Result;
use crate::ops::arena::Arena;

/// Positions of a task, all of one row.
const TASK_POSITIONS: usize = 256;
/// Columns of a task.
const TASK_COLUMNS: usize = 20 * PANEL;

/// A matrix by its values and the distance between its rows.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Row i starts at `values[i · stride]`.
    pub(super) values: &'a [f32],
    /// See `values`.
    pub(super) stride: usize,
}

/// `target (+)= left · right`, all row by row: `[m, k] · [k, n]`; `target` has rows of `target_stride`.
pub(super) fn multiply(
    (m, n, k): (usize, usize, usize),
    target: &mut [f32],
    target_stride: usize,
    left: Rows<'_>,
    right: Rows<'_>,
    accumulate: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(n <= target_stride && (m - 1) * target_stride + n <= target.len());
    assert!((m - 1) * left.stride + k <= left.values.len());
    assert!((k - 1) * right.stride + n <= right.values.len());
    // SAFETY: the assertions hold every address of the three matrices inside its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.as_mut_ptr(),
            1,
            target_stride as isize,
            accumulate,
            left.values.as_ptr(),
            1,
            left.stride as isize,
            right.values.as_ptr(),
            1,
            right.stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Computes `product`, whose sizes were checked, into `output`.
pub(super) fn run<O: Lane>(
    kernels: Kernels,
    arena: &Arc<Arena>,
    product: &Product<'_>,
    input: &[f32],
    output: &mut [O],
) -> Result<()> {
    let geometry = &product.geometry;
    let (positions, columns) = (geometry.positions(), product.matrix.columns());
    let (position_parts, column_parts) = (positions.div_ceil(TASK_POSITIONS), columns.div_ceil(TASK_COLUMNS));
    // SAFETY: a task writes its own positions of its own columns, and no two tasks have both in common.
    let output = unsafe { Shared::new(output) };
    (0..geometry.rows * position_parts * column_parts).into_par_iter().with_max_len(1).try_for_each(|task| {
        let (column_part, task) = (task / (geometry.rows * position_parts), task % (geometry.rows * position_parts));
        let (row, part) = (task / position_parts, task % position_parts);
        let first = part * TASK_POSITIONS;
        let count = TASK_POSITIONS.min(positions - first);
        let first_column = column_part * TASK_COLUMNS;
        let width = TASK_COLUMNS.min(columns - first_column);
        let mut sums = arena.take::<f32>(count * width)?;
        multiply_taps(arena, product, input, (row, first, count), (first_column, width), &mut sums)?;
        for panel in 0..width / PANEL {
            let rectangle = Rectangle { panel: first_column / PANEL + panel, first: row * positions + first, count };
            finish_panel(kernels.level(), &product.finish, &mut sums[panel * PANEL..], width, rectangle, &output);
        }
        Ok(())
    })
}

/// The sums of `count` positions of a row, tap by tap.
fn multiply_taps(
    arena: &Arc<Arena>,
    product: &Product<'_>,
    input: &[f32],
    (row, first, count): (usize, usize, usize),
    (first_column, width): (usize, usize),
    sums: &mut [f32],
) -> Result<()> {
    let Product { matrix, geometry, input_stride, .. } = product;
    let channels = matrix.in_channels();
    let columns = matrix.columns();
    let weights = matrix.weights::<f32>();
    let mut gathered = arena.take::<f32>(if geometry.is_pointwise() { 0 } else { count * channels })?;
    for tap in 0..matrix.taps() {
        let left = if geometry.is_pointwise() {
            Rows { values: &input[(row * geometry.positions() + first) * input_stride..], stride: *input_stride }
        } else {
            for (index, target) in gathered.chunks_exact_mut(channels).enumerate() {
                match geometry.source(row, first + index, tap) {
                    Some(source) => target.copy_from_slice(&input[source * input_stride..][..channels]),
                    None => target.fill(0.0),
                }
            }
            Rows { values: &gathered, stride: channels }
        };
        let right = Rows { values: &weights[tap * channels * columns + first_column..], stride: columns };
        multiply((count, width, channels), sums, width, left, right, tap > 0);
    }
    Ok(())
}
