//! Element loops: safe code that the compiler turns into vector instructions, once per `Level`.

#![expect(clippy::inline_always, reason = "bodies must be inlined into the functions that enable vector instructions")]

use super::level::instantiate;
use super::math::{Lane, exponential, fused, silu as silu_of};

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

#[inline(always)]
fn layer_norm_shifted_body<O: Lane, const FMA: bool>(
    values: &[f32],
    addend: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    output: &mut [O],
) {
    let channels = weight.len();
    let mut shifted = vec![0.0_f32; channels];
    for (position, output) in values.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        for (shifted, (value, addend)) in shifted.iter_mut().zip(position.iter().zip(addend)) {
            *shifted = value + addend;
        }
        layer_norm_body::<O, FMA>(&shifted, weight, bias, epsilon, output);
    }
}
instantiate! {
    /// Layer norm of the sum of every position and `addend`.
    layer_norm_shifted = layer_norm_shifted_body [O]
        (values: &[f32], addend: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, output: &mut [O])
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
            // the sum is over what is stored, after rounding
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
