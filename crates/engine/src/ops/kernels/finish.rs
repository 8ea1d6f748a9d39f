//! What becomes of the sums of a matrix product before they are stored.

#![expect(clippy::inline_always, reason = "bodies must be inlined into the functions that enable vector instructions")]

use super::level::instantiate;
use super::loops::PANEL;
use super::math::{Lane, fused, gelu, quick_gelu, silu};
use super::memory::Shared;
use crate::ops::Function;

/// What becomes of the sums of a matrix product; see [`crate::ops::Epilogue`].
pub(crate) struct Finish<'a> {
    /// One per packed column (a whole number of panels).
    pub(crate) bias: &'a [f32],
    /// `[vectors, channels]`.
    pub(crate) per_row: Option<&'a [f32]>,
    /// `[rows · positions, channels]`.
    pub(crate) residual: Option<&'a [f32]>,
    /// Applied between the two.
    pub(crate) function: Function,
    /// Whether a panel is 16 values and 16 gates (GEGLU).
    pub(crate) gated: bool,
    /// `[rows · positions, channels]`, and its share in the result.
    pub(crate) blend: Option<(&'a [f32], f32)>,
    /// `[channels]`: what negative values are multiplied with, last of all.
    pub(crate) slopes: Option<&'a [f32]>,
    /// Channels of the result.
    pub(crate) channels: usize,
    /// Positions, of one row or of several, that share a vector of `per_row`.
    pub(crate) positions: usize,
}

impl Finish<'_> {
    /// The result's channels that `panel` holds.
    #[inline(always)]
    pub(crate) fn columns(&self, panel: usize) -> std::ops::Range<usize> {
        let width = if self.gated { PANEL / 2 } else { PANEL };
        (panel * width).min(self.channels)..((panel + 1) * width).min(self.channels)
    }
}

/// A rectangle of a result: `count` positions from `first` on, the columns of one panel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rectangle {
    /// The panel.
    pub(crate) panel: usize,
    /// The first position, counted over all rows.
    pub(crate) first: usize,
    /// Positions.
    pub(crate) count: usize,
}

/// `count` values from `start` on as the first of a panel's columns. `WIDTH` is the count where it is known, else 0.
#[inline(always)]
fn columns<const WIDTH: usize>(values: &[f32], start: usize, count: usize) -> [f32; PANEL] {
    let mut columns = [0.0; PANEL];
    let count = if WIDTH > 0 { WIDTH } else { count };
    columns[..count].copy_from_slice(&values[start..start + count]);
    columns
}

/// What is added to the sums of a panel first: the bias, and the vector of a row where the layer has one.
struct Addends {
    bias: [f32; PANEL],
    per_row: [f32; PANEL],
}

impl Addends {
    const NONE: Self = Self { bias: [0.0; PANEL], per_row: [0.0; PANEL] };

    #[inline(always)]
    fn of(finish: &Finish<'_>, panel: usize, row: usize) -> Self {
        let range = finish.columns(panel);
        // a gated layer has no such vector; in any other a panel is as wide as its result
        let per_row = finish
            .per_row
            .map_or([0.0; PANEL], |per_row| columns::<0>(per_row, row * finish.channels + range.start, range.len()));
        Self { bias: columns::<PANEL>(finish.bias, panel * PANEL, PANEL), per_row }
    }
}

/// `values = function(values + addends)`, position by position.
#[inline(always)]
fn activate(values: &mut [f32], stride: usize, count: usize, addends: &Addends, function: impl Fn(f32) -> f32) {
    for index in 0..count {
        let values = &mut values[index * stride..index * stride + PANEL];
        for (value, (bias, per_row)) in values.iter_mut().zip(addends.bias.iter().zip(&addends.per_row)) {
            *value = function((*value + bias) + per_row);
        }
    }
}

/// The first half of the values, times the GELU of the second.
#[inline(always)]
fn gate<const FMA: bool>(values: &mut [f32], stride: usize, count: usize, bias: &[f32; PANEL]) {
    let (value_bias, gate_bias) = bias.split_at(PANEL / 2);
    for index in 0..count {
        let (values, gates) = values[index * stride..index * stride + PANEL].split_at_mut(PANEL / 2);
        for ((value, gate), (value_bias, gate_bias)) in values.iter_mut().zip(gates).zip(value_bias.iter().zip(gate_bias)) {
            *value = (*value + value_bias) * gelu::<FMA>(*gate + gate_bias);
        }
    }
}

/// Adds addends and, with `RESIDUAL`, the residual, and stores, position by position. Always for a whole panel, without a branch between
/// the sums of the lanes and their results, and without closures: the compiler then makes vectors of it.
#[inline(always)]
fn store<O: Lane, const WIDTH: usize, const RESIDUAL: bool>(
    finish: &Finish<'_>,
    (sums, stride): (&[f32], usize),
    rectangle: Rectangle,
    addends: &Addends,
    output: &Shared<'_, O>,
) {
    let range = finish.columns(rectangle.panel);
    let width = if WIDTH > 0 { WIDTH } else { range.len() };
    let residual = finish.residual.unwrap_or(&[]);
    for index in 0..rectangle.count {
        let start = (rectangle.first + index) * finish.channels + range.start;
        let sums = &sums[index * stride..index * stride + PANEL];
        let mut values = [O::narrow(0.0); PANEL];
        if RESIDUAL {
            let residual = columns::<WIDTH>(residual, start, width);
            for (lane, value) in values.iter_mut().enumerate() {
                *value = O::narrow(((sums[lane] + addends.bias[lane]) + addends.per_row[lane]) + residual[lane]);
            }
        } else {
            for (lane, value) in values.iter_mut().enumerate() {
                *value = O::narrow((sums[lane] + addends.bias[lane]) + addends.per_row[lane]);
            }
        }
        output.piece(start, width).copy_from_slice(&values[..width]);
    }
}

/// Completes the sums of a result that is blended or bent: `bend(blend(values + addends + residual))`, position by position. Closures
/// and branches are kept out of the loops over lanes for the reason that [`store`] has.
#[inline(always)]
fn combine<const FMA: bool, const WIDTH: usize>(
    finish: &Finish<'_>,
    (sums, stride): (&mut [f32], usize),
    rectangle: Rectangle,
    addends: &Addends,
) {
    let range = finish.columns(rectangle.panel);
    let width = if WIDTH > 0 { WIDTH } else { range.len() };
    let slopes = finish.slopes.map(|slopes| columns::<WIDTH>(slopes, range.start, width));
    for index in 0..rectangle.count {
        let start = (rectangle.first + index) * finish.channels + range.start;
        let values = &mut sums[index * stride..index * stride + PANEL];
        for (lane, value) in values.iter_mut().enumerate() {
            *value = (*value + addends.bias[lane]) + addends.per_row[lane];
        }
        if let Some(residual) = finish.residual {
            let residual = columns::<WIDTH>(residual, start, width);
            for (lane, value) in values.iter_mut().enumerate() {
                *value += residual[lane];
            }
        }
        if let Some((other, share)) = finish.blend {
            let other = columns::<WIDTH>(other, start, width);
            let rest = 1.0 - share;
            for (lane, value) in values.iter_mut().enumerate() {
                *value = fused::<FMA>(share, other[lane], rest * *value);
            }
        }
        if let Some(slopes) = &slopes {
            for (lane, value) in values.iter_mut().enumerate() {
                *value = if *value < 0.0 { *value * slopes[lane] } else { *value };
            }
        }
    }
}

#[inline(always)]
fn finish_width<O: Lane, const FMA: bool, const WIDTH: usize>(
    finish: &Finish<'_>,
    sums: &mut [f32],
    stride: usize,
    mut rectangle: Rectangle,
    output: &Shared<'_, O>,
) {
    let (first, end) = (rectangle.first, rectangle.first + rectangle.count);
    // the positions of one row after those of another
    while rectangle.first < end {
        let row = rectangle.first / finish.positions;
        rectangle.count = end.min((row + 1) * finish.positions) - rectangle.first;
        let sums = &mut sums[(rectangle.first - first) * stride..];
        let mut addends = Addends::of(finish, rectangle.panel, row);
        if finish.gated {
            gate::<FMA>(sums, stride, rectangle.count, &addends.bias);
            addends = Addends::NONE;
        } else if finish.function != Function::Identity {
            match finish.function {
                Function::Identity => {}
                Function::Silu => activate(sums, stride, rectangle.count, &addends, silu::<FMA>),
                Function::QuickGelu => activate(sums, stride, rectangle.count, &addends, quick_gelu::<FMA>),
                Function::Gelu => activate(sums, stride, rectangle.count, &addends, gelu::<FMA>),
            }
            addends = Addends::NONE;
        }
        if finish.blend.is_some() || finish.slopes.is_some() {
            combine::<FMA, WIDTH>(finish, (sums, stride), rectangle, &addends);
            store::<O, WIDTH, false>(finish, (sums, stride), rectangle, &Addends::NONE, output);
        } else if finish.residual.is_some() {
            store::<O, WIDTH, true>(finish, (sums, stride), rectangle, &addends, output);
        } else {
            store::<O, WIDTH, false>(finish, (sums, stride), rectangle, &addends, output);
        }
        rectangle.first += rectangle.count;
    }
}

#[inline(always)]
fn finish_body<O: Lane, const FMA: bool>(
    finish: &Finish<'_>,
    sums: &mut [f32],
    stride: usize,
    rectangle: Rectangle,
    output: &Shared<'_, O>,
) {
    const HALF: usize = PANEL / 2;
    match finish.columns(rectangle.panel).len() {
        PANEL => finish_width::<O, FMA, PANEL>(finish, sums, stride, rectangle, output),
        HALF => finish_width::<O, FMA, HALF>(finish, sums, stride, rectangle, output),
        _ => finish_width::<O, FMA, 0>(finish, sums, stride, rectangle, output),
    }
}
instantiate! {
    /// The epilogue of a rectangle, whose i-th position has its sums at `sums[i · stride ..]`. They are used up.
    finish_panel = finish_body [O] (
        finish: &Finish<'_>,
        sums: &mut [f32],
        stride: usize,
        rectangle: Rectangle,
        output: &Shared<'_, O>,
    )
}
