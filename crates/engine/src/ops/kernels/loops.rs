//! Element loops: safe code that the compiler turns into vector instructions, once per `Level`.

#![expect(clippy::inline_always, reason = "bodies must be inlined into the functions that enable vector instructions")]

use super::level::instantiate;
use super::math::{Lane, exponential, fused, gelu, quick_gelu, silu as silu_of};
use super::memory::Shared;
use crate::ops::Function;

/// Sums run in this many independent lanes, whatever the vector width, so that the order of additions is fixed.
const LANES: usize = 16;

#[inline(always)]
fn convert_body<I: Lane, O: Lane, const FMA: bool>(input: &[I], output: &mut [O]) {
    for (output, input) in output.iter_mut().zip(input) {
        *output = O::narrow(input.widen());
    }
}
instantiate! {
    /// Copies values from one stored type to another.
    convert = convert_body [I, O] (input: &[I], output: &mut [O])
}

#[inline(always)]
fn silu_body<I: Lane, O: Lane, const FMA: bool>(input: &[I], output: &mut [O]) {
    for (output, input) in output.iter_mut().zip(input) {
        *output = O::narrow(silu_of::<FMA>(input.widen()));
    }
}
instantiate! {
    /// x·σ(x).
    silu = silu_body [I, O] (input: &[I], output: &mut [O])
}

#[inline(always)]
fn add_scaled_body<const FMA: bool>(target: &mut [f32], addend: &[f32], scale: f32) {
    for (target, addend) in target.iter_mut().zip(addend) {
        *target = fused::<FMA>(scale, *addend, *target);
    }
}
instantiate! {
    /// `target += scale · addend`.
    add_scaled = add_scaled_body [] (target: &mut [f32], addend: &[f32], scale: f32)
}

#[inline(always)]
fn channel_sums_body<const FMA: bool>(values: &[f32], shift: &[f32], sums: &mut [f32], squares: &mut [f32]) {
    let channels = shift.len();
    for position in values.chunks_exact(channels) {
        for ((value, shift), (sum, square)) in position.iter().zip(shift).zip(sums.iter_mut().zip(squares.iter_mut())) {
            let difference = value - shift;
            *sum += difference;
            *square = fused::<FMA>(difference, difference, *square);
        }
    }
}
instantiate! {
    /// Adds to each channel's `sums` and `squares` the differences from `shift` and their squares, over all positions of `values`.
    /// Near the mean, `shift` keeps the sums free of cancellation.
    channel_sums = channel_sums_body [] (values: &[f32], shift: &[f32], sums: &mut [f32], squares: &mut [f32])
}

/// What a normalisation does to each channel: `(x − mean)·scale + offset`.
pub(crate) struct ChannelAffine<'a> {
    /// Subtracted first.
    pub(crate) mean: &'a [f32],
    /// Multiplied next.
    pub(crate) scale: &'a [f32],
    /// Added last.
    pub(crate) offset: &'a [f32],
}

#[inline(always)]
fn normalise_body<O: Lane, const FMA: bool>(values: &[f32], affine: &ChannelAffine<'_>, with_silu: bool, output: &mut [O]) {
    let channels = affine.mean.len();
    for (position, output) in values.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        let parameters = affine.mean.iter().zip(affine.scale).zip(affine.offset);
        if with_silu {
            for ((value, output), ((mean, scale), offset)) in position.iter().zip(output).zip(parameters) {
                *output = O::narrow(silu_of::<FMA>(fused::<FMA>(value - mean, *scale, *offset)));
            }
        } else {
            for ((value, output), ((mean, scale), offset)) in position.iter().zip(output).zip(parameters) {
                *output = O::narrow(fused::<FMA>(value - mean, *scale, *offset));
            }
        }
    }
}
instantiate! {
    /// Applies a channel-wise affine map, and `silu` when asked, to every position.
    normalise = normalise_body [O] (values: &[f32], affine: &ChannelAffine<'_>, with_silu: bool, output: &mut [O])
}

/// The sum of `term(value)` in fixed lanes, combined in f64.
#[inline(always)]
fn lane_sum(values: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += term(*value);
        }
    }
    let sum: f64 = lanes.iter().map(|lane| f64::from(*lane)).sum();
    sum + rest.iter().map(|value| f64::from(term(*value))).sum::<f64>()
}

#[inline(always)]
fn layer_norm_body<O: Lane, const FMA: bool>(values: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, output: &mut [O]) {
    let channels = weight.len();
    for (position, output) in values.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        // relative to the first value, so that a large common offset costs no digits
        let shift = position[0];
        let mean = (lane_sum(position, |value| value - shift) / channels as f64) as f32;
        let variance = lane_sum(position, |value| {
            let difference = (value - shift) - mean;
            difference * difference
        }) / channels as f64;
        let scale = (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32;
        for ((value, output), (weight, bias)) in position.iter().zip(output).zip(weight.iter().zip(bias)) {
            *output = O::narrow(fused::<FMA>(((value - shift) - mean) * scale, *weight, *bias));
        }
    }
}
instantiate! {
    /// Layer norm of every position.
    layer_norm = layer_norm_body [O] (values: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, output: &mut [O])
}

/// Maximum and sum of one query's softmax over the keys seen so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningSoftmax {
    /// The largest scaled score.
    pub(crate) maximum: f32,
    /// Σ e^(score − maximum).
    pub(crate) sum: f32,
}

impl RunningSoftmax {
    /// No keys yet.
    pub(crate) const START: Self = Self { maximum: f32::NEG_INFINITY, sum: 0.0 };
}

/// e^x, and exactly 0 where the result would be lost beside 1 anyway (so also for −∞).
#[inline(always)]
fn weight_of<const FMA: bool>(x: f32) -> f32 {
    if x < -86.0 { 0.0 } else { exponential::<FMA>(x) }
}

#[inline(always)]
fn softmax_block_body<O: Lane, const FMA: bool>(
    scores: &mut [f32],
    visible: usize,
    scale: f32,
    running: &mut RunningSoftmax,
    weights: &mut [O],
) -> f32 {
    if visible == 0 {
        weights.fill(O::narrow(0.0));
        return 1.0;
    }
    scores[visible..].fill(f32::NEG_INFINITY);
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for chunk in scores.chunks_exact(LANES) {
        for (maximum, score) in maxima.iter_mut().zip(chunk) {
            *maximum = if *score > *maximum { *score } else { *maximum };
        }
    }
    let block = maxima.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b)) * scale;
    let maximum = running.maximum.max(block);
    let correction = weight_of::<FMA>(running.maximum - maximum);
    let mut sums = [0.0_f32; LANES];
    for (scores, weights) in scores.chunks_exact(LANES).zip(weights.chunks_exact_mut(LANES)) {
        for ((score, weight), sum) in scores.iter().zip(weights).zip(&mut sums) {
            // the sum is over what is multiplied with the values, after rounding
            *weight = O::narrow(weight_of::<FMA>(fused::<FMA>(*score, scale, -maximum)));
            *sum += weight.widen();
        }
    }
    *running = RunningSoftmax { maximum, sum: fused::<FMA>(running.sum, correction, sums.iter().sum()) };
    correction
}
instantiate! {
    /// One query's next block of scores: writes e^(scale·score − maximum) to `weights` (0 from `visible` on), updates the running
    /// maximum and sum, and returns the factor for what was accumulated before. Both slices have one length, a multiple of 16.
    softmax_block = softmax_block_body [O]
        (scores: &mut [f32], visible: usize, scale: f32, running: &mut RunningSoftmax, weights: &mut [O]) -> f32
}

#[inline(always)]
fn scale_body<I: Lane, O: Lane, const FMA: bool>(input: &[I], factor: f32, output: &mut [O]) {
    for (output, input) in output.iter_mut().zip(input) {
        *output = O::narrow(input.widen() * factor);
    }
}
instantiate! {
    /// `factor · input`.
    scale = scale_body [I, O] (input: &[I], factor: f32, output: &mut [O])
}

#[inline(always)]
fn scale_in_place_body<const FMA: bool>(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}
instantiate! {
    /// `values *= factor`.
    scale_in_place = scale_in_place_body [] (values: &mut [f32], factor: f32)
}

/// Output columns of a panel.
pub(crate) const PANEL: usize = 32;

/// What becomes of the sums of a matrix product; see [`crate::ops::Epilogue`].
pub(crate) struct Finish<'a> {
    /// One per packed column (a whole number of panels).
    pub(crate) bias: &'a [f32],
    /// `[rows, channels]`.
    pub(crate) per_row: Option<&'a [f32]>,
    /// `[rows · positions, channels]`.
    pub(crate) residual: Option<&'a [f32]>,
    /// Applied between the two.
    pub(crate) function: Function,
    /// Whether a panel is 16 values and 16 gates (GEGLU).
    pub(crate) gated: bool,
    /// Channels of the result.
    pub(crate) channels: usize,
    /// Positions per row.
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
                Function::Silu => activate(sums, stride, rectangle.count, &addends, silu_of::<FMA>),
                Function::QuickGelu => activate(sums, stride, rectangle.count, &addends, quick_gelu::<FMA>),
                Function::Gelu => activate(sums, stride, rectangle.count, &addends, gelu::<FMA>),
            }
            addends = Addends::NONE;
        }
        if finish.residual.is_some() {
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
