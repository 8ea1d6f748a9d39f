//! The vector kernel: a register tile of up to 14 positions × 32 outputs, summed over a block of K.
//!
//! 14 · 2 accumulators, two vectors of weights and one broadcast value fill the 32 registers of AVX-512. The inputs come through
//! pointers to rows, one per (tap, position), so a convolution needs no im2col buffer: a position outside the picture is a pointer
//! to a row of zeros.

use std::sync::Arc;

use half::bf16;

use super::kernel::{Kernel, Rows, Segment, Sums};
use super::loops::PANEL;
use super::math::Lane;
use crate::error::Result;
use crate::ops::arena::Arena;

/// Positions of the tallest tile.
pub(crate) const HEIGHT: usize = 14;

/// Arguments of a tile.
pub(crate) struct Tile<'a, T> {
    /// The K of this block, in the order of the packed weights.
    pub(crate) segments: &'a [Segment],
    /// `rows[tap · rows_stride + position]`: the input row that a tap sees at a position.
    pub(crate) rows: &'a [*const T],
    /// Positions per tap in `rows`.
    pub(crate) rows_stride: usize,
    /// The first position.
    pub(crate) first: usize,
    /// One panel of packed weights: [`PANEL`] values per k, groups of k interleaved.
    pub(crate) panel: &'a [T],
    /// Where the sums go: position i at `sums[i · sums_stride ..][.. PANEL]`.
    pub(crate) sums: &'a mut [f32],
    /// See `sums`.
    pub(crate) sums_stride: usize,
    /// Whether to add to what `sums` holds.
    pub(crate) accumulate: bool,
}

/// A type that the tile multiplies.
pub(crate) trait Operand: Lane {
    /// Consecutive k that lie side by side for each output.
    const GROUP: usize;
    /// Longest block of K: a panel of it (28 KB) stays in the first-level cache while the positions pass by.
    const BLOCK: usize;

    /// Sums for positions `first .. first + height`, height one of 14, 8, 4, 1.
    ///
    /// # Safety
    /// The processor must have AVX-512 (with BF16 for bf16), and every row pointer that is used must be readable over the
    /// channels of its segments. The slices' own bounds are checked.
    unsafe fn multiply_height<const R: usize>(tile: &mut Tile<'_, Self>);

    /// The values as f32, when that is what they are.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;
}

/// Sums for `count` positions from `tile.first` on, which may write up to the next multiple of [`HEIGHT`] positions of `sums` and
/// read as many row pointers.
///
/// # Safety
/// As for [`Operand::multiply_height`], for `count` rounded up to a multiple of [`HEIGHT`].
pub(crate) unsafe fn multiply<T: Operand>(tile: Tile<'_, T>, count: usize) {
    let Tile { segments, rows, rows_stride, first, panel, sums, sums_stride, accumulate } = tile;
    let mut done = 0;
    while done < count {
        let sums = &mut sums[done * sums_stride..];
        let mut part = Tile { segments, rows, rows_stride, first: first + done, panel, sums, sums_stride, accumulate };
        // SAFETY: passed on. A position's sums are computed alike whatever the height.
        unsafe {
            match count - done {
                1 => T::multiply_height::<1>(&mut part),
                2..=4 => T::multiply_height::<4>(&mut part),
                5..=8 => T::multiply_height::<8>(&mut part),
                _ => T::multiply_height::<HEIGHT>(&mut part),
            }
        }
        done += HEIGHT;
    }
}

/// The kernel of vector registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vectors<T>(std::marker::PhantomData<T>);

impl<T: Operand> Kernel for Vectors<T> {
    type Value = T;
    type Session = ();
    type Inputs<'a> = Rows<'a, T>;

    const GROUP: usize = T::GROUP;
    const STEP: usize = T::GROUP;
    const BLOCK: usize = T::BLOCK;
    const CHUNK: usize = T::BLOCK;
    const HEIGHT: usize = HEIGHT;
    // 16 tiles by 20 panels: the sums take 573 KB, which leaves room in a second-level cache of 1 MB for the inputs of a block
    const TASK_POSITIONS: usize = 16 * HEIGHT;
    const TASK_PANELS: usize = 20;
    const TASK_QUERIES: usize = 4 * HEIGHT;
    const TASK_KEYS: usize = 4 * PANEL;

    unsafe fn begin() {}

    unsafe fn prepare<'a>(_arena: &Arc<Arena>, rows: Rows<'a, T>) -> Result<Rows<'a, T>> {
        Ok(rows)
    }

    unsafe fn multiply((): &(), inputs: &Rows<'_, T>, panel: &[T], _next: &[T], sums: Sums<'_>) {
        let Rows { segments, pointers: rows, stride: rows_stride, count, .. } = *inputs;
        let Sums { values: sums, stride: sums_stride, accumulate } = sums;
        // SAFETY: passed on.
        unsafe { multiply(Tile { segments, rows, rows_stride, first: 0, panel, sums, sums_stride, accumulate }, count) };
    }

    fn as_f32(values: &[T]) -> Option<&[f32]> {
        T::as_f32(values)
    }
}

/// The checks that both tiles need: weights for all segments, pointers and sums for all positions.
fn check<T: Operand, const R: usize>(tile: &Tile<'_, T>) {
    let mut depth = 0;
    for segment in tile.segments {
        assert!(segment.length.is_multiple_of(T::GROUP));
        assert!(segment.tap * tile.rows_stride + tile.first + R <= tile.rows.len());
        depth += segment.length;
    }
    assert!(depth * PANEL <= tile.panel.len());
    assert!((R - 1) * tile.sums_stride + PANEL <= tile.sums.len());
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, __m512bh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use half::bf16;

    use super::{Tile, check};

    /// # Safety
    /// `sums` holds R rows.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load<const R: usize>(sums: *const f32, stride: usize, accumulate: bool) -> [[__m512; 2]; R] {
        let mut accumulators = [[_mm512_setzero_ps(); 2]; R];
        if accumulate {
            for (row, accumulator) in accumulators.iter_mut().enumerate() {
                // SAFETY: row < R.
                unsafe {
                    accumulator[0] = _mm512_loadu_ps(sums.add(row * stride));
                    accumulator[1] = _mm512_loadu_ps(sums.add(row * stride + 16));
                }
            }
        }
        accumulators
    }

    /// # Safety
    /// `sums` holds R rows.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn store<const R: usize>(accumulators: &[[__m512; 2]; R], sums: *mut f32, stride: usize) {
        for (row, accumulator) in accumulators.iter().enumerate() {
            // SAFETY: row < R.
            unsafe {
                _mm512_storeu_ps(sums.add(row * stride), accumulator[0]);
                _mm512_storeu_ps(sums.add(row * stride + 16), accumulator[1]);
            }
        }
    }

    /// # Safety
    /// As for [`super::Operand::multiply_height`].
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn f32<const R: usize>(tile: &mut Tile<'_, f32>) {
        check::<f32, R>(tile);
        // SAFETY: `check` found weights, pointers and sums in bounds; the rows are readable by contract.
        unsafe {
            let mut accumulators = load::<R>(tile.sums.as_ptr(), tile.sums_stride, tile.accumulate);
            let mut weights = tile.panel.as_ptr();
            for segment in tile.segments {
                let rows = tile.rows.as_ptr().add(segment.tap * tile.rows_stride + tile.first);
                let mut inputs = [std::ptr::null::<f32>(); R];
                for (row, input) in inputs.iter_mut().enumerate() {
                    *input = (*rows.add(row)).add(segment.channel);
                }
                for k in 0..segment.length {
                    let first = _mm512_loadu_ps(weights);
                    let second = _mm512_loadu_ps(weights.add(16));
                    for (input, accumulator) in inputs.iter().zip(&mut accumulators) {
                        let value = _mm512_set1_ps(*input.add(k));
                        accumulator[0] = _mm512_fmadd_ps(value, first, accumulator[0]);
                        accumulator[1] = _mm512_fmadd_ps(value, second, accumulator[1]);
                    }
                    weights = weights.add(32);
                }
            }
            store(&accumulators, tile.sums.as_mut_ptr(), tile.sums_stride);
        }
    }

    /// # Safety
    /// As for [`super::Operand::multiply_height`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn bf16<const R: usize>(tile: &mut Tile<'_, bf16>) {
        check::<bf16, R>(tile);
        // SAFETY: `check` found weights, pointers and sums in bounds; the rows are readable by contract; a vector of integers and
        // one of bf16 pairs have one layout.
        unsafe {
            let mut accumulators = load::<R>(tile.sums.as_ptr(), tile.sums_stride, tile.accumulate);
            let mut weights = tile.panel.as_ptr();
            for segment in tile.segments {
                let rows = tile.rows.as_ptr().add(segment.tap * tile.rows_stride + tile.first);
                let mut inputs = [std::ptr::null::<i32>(); R];
                for (row, input) in inputs.iter_mut().enumerate() {
                    *input = (*rows.add(row)).add(segment.channel).cast();
                }
                for pair in 0..segment.length / 2 {
                    let first: __m512bh = std::mem::transmute(_mm512_loadu_si512(weights.cast()));
                    let second: __m512bh = std::mem::transmute(_mm512_loadu_si512(weights.add(32).cast()));
                    for (input, accumulator) in inputs.iter().zip(&mut accumulators) {
                        let value: __m512bh = std::mem::transmute(_mm512_set1_epi32(input.add(pair).read_unaligned()));
                        accumulator[0] = _mm512_dpbf16_ps(accumulator[0], value, first);
                        accumulator[1] = _mm512_dpbf16_ps(accumulator[1], value, second);
                    }
                    weights = weights.add(64);
                }
            }
            store(&accumulators, tile.sums.as_mut_ptr(), tile.sums_stride);
        }
    }
}

impl Operand for f32 {
    const GROUP: usize = 1;
    const BLOCK: usize = 224;

    unsafe fn multiply_height<const R: usize>(tile: &mut Tile<'_, Self>) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: passed on.
        unsafe {
            avx512::f32::<R>(tile);
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: passed on.
        unsafe {
            plain::<Self, R>(tile);
        }
    }

    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }
}

impl Operand for bf16 {
    const GROUP: usize = 2;
    const BLOCK: usize = 448;

    unsafe fn multiply_height<const R: usize>(tile: &mut Tile<'_, Self>) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: passed on.
        unsafe {
            avx512::bf16::<R>(tile);
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: passed on.
        unsafe {
            plain::<Self, R>(tile);
        }
    }

    fn as_f32(_values: &[Self]) -> Option<&[f32]> {
        None
    }
}

/// The tile in words, for processors that never choose it.
///
/// # Safety
/// The row pointers must be readable over the channels of their segments.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn plain<T: Operand, const R: usize>(tile: &mut Tile<'_, T>) {
    check::<T, R>(tile);
    for row in 0..R {
        for column in 0..PANEL {
            let target = row * tile.sums_stride + column;
            let mut sum = if tile.accumulate { tile.sums[target] } else { 0.0 };
            let mut before = 0;
            for segment in tile.segments {
                let input = tile.rows[segment.tap * tile.rows_stride + tile.first + row];
                for k in 0..segment.length {
                    let depth = before + k;
                    let weight = tile.panel[depth / T::GROUP * T::GROUP * PANEL + column * T::GROUP + depth % T::GROUP];
                    // SAFETY: readable by contract.
                    sum += unsafe { *input.add(segment.channel + k) }.widen() * weight.widen();
                }
                before += segment.length;
            }
            tile.sums[target] = sum;
        }
    }
}
