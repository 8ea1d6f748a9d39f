//! One refinement of the flow (vs-rife `IFNet_HDv3_v4_25.py`, `IFBlock`).
//!
//! The network's own order of input channels is [frame 0, frame 1, features 0, features 1, time, mask, hidden, flow]. Here frames lie
//! beside their features, because both are warped alike, and flow, mask and hidden channels are one activation, the state, because they
//! come out of the last convolution as one. So the first convolution's weights are put in another order when they are loaded. They take
//! the factors of the flow as well: all are powers of two, so nothing is rounded differently.

use super::head::{FEATURES, SLOPE, halving};
use crate::activation::{Activation, Shape};
use crate::error::Result;
use crate::ops::elementwise::concatenate;
use crate::ops::resize::resize_bilinear;
use crate::ops::shuffle::pixel_shuffle;
use crate::ops::{Conv2d, ConvTranspose2d, Epilogue, Interrupt, Ops, Output, Slopes};
use crate::unet::conv_3x3;
use crate::weights::{Prepared, Scope};

/// Channels of a frame with its features.
pub(super) const FRAME: usize = 3 + FEATURES;
/// Channels of the flow: across and down for the first frame, then for the second.
pub(super) const FLOW: usize = 4;
/// The mask's channel of the state.
pub(super) const MASK: usize = FLOW;
/// Channels of the state: flow, mask, 8 that only the network understands.
pub(super) const STATE: usize = FLOW + 1 + 8;
/// Residual convolutions.
const RESIDUALS: usize = 8;
/// Pixels along a side that a position of the last convolution's result becomes.
const SHUFFLE: usize = 2;

/// Where the channels of [first frame, second frame, state, time] lie in the published order, for blocks that have a state and for the
/// first, which has none.
fn published_order(has_state: bool) -> Vec<usize> {
    let features = |frame: usize| {
        (0..3).map(move |colour| 3 * frame + colour).chain((0..FEATURES).map(move |index| 6 + FEATURES * frame + index))
    };
    let time = 6 + 2 * FEATURES;
    let hidden = time + 1..time + STATE + 1 - FLOW;
    let flow = hidden.end..hidden.end + FLOW;
    let state = flow.chain(hidden).filter(|_| has_state);
    features(0).chain(features(1)).chain(state).chain([time]).collect()
}

/// What goes into a block.
#[derive(Clone, Copy)]
pub(super) struct BlockInput<'a> {
    /// Both frames with their features, warped.
    pub(super) frames: [&'a Activation; 2],
    /// What the blocks before have found.
    pub(super) state: Option<&'a Activation>,
    /// The time between the frames.
    pub(super) time: f32,
}

/// A refinement at one scale.
#[derive(Debug)]
pub(super) struct Block {
    /// Pixels along a side for each position it computes at.
    scale: usize,
    first: Conv2d,
    second: Conv2d,
    residuals: Vec<Conv2d>,
    last: ConvTranspose2d,
    half_slopes: Slopes,
    slopes: Slopes,
}

impl Block {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, channels: usize, scale: usize, has_state: bool) -> Result<Self> {
        let half = channels / 2;
        let conv0 = scope.enter("conv0");
        let residual = |index: usize| load_residual(ops, &scope.enter("convblock").enter(index), channels);
        Ok(Self {
            scale,
            first: load_first(ops, &conv0.enter(0).enter(0), half, scale, has_state)?,
            second: Conv2d::load(ops, &conv0.enter(1).enter(0), halving(half, channels))?,
            residuals: (0..RESIDUALS).map(residual).collect::<Result<_>>()?,
            last: load_last(ops, &scope.enter("lastconv").enter(0), channels, scale)?,
            half_slopes: Slopes::constant(ops, half, SLOPE)?,
            slopes: Slopes::constant(ops, channels, SLOPE)?,
        })
    }

    /// The state as this block sees it: its flow is to be added to that of the blocks before.
    pub(super) fn forward(&self, ops: &Ops, input: BlockInput<'_>, interrupt: &Interrupt) -> Result<Activation> {
        interrupt.check()?;
        let Shape { height, width, .. } = input.frames[0].shape();
        let gathered = self.gather(ops, input)?;
        let bent = Epilogue { slopes: Some(&self.slopes), ..Epilogue::default() };
        let half = self.first.forward(
            ops,
            &gathered,
            Epilogue { slopes: Some(&self.half_slopes), output: Output::Operand, ..Epilogue::default() },
        )?;
        drop(gathered);
        let mut hidden = self.second.forward(ops, &half, bent)?;
        drop(half);
        for residual in &self.residuals {
            hidden = residual.forward(ops, &hidden, Epilogue { residual: Some(&hidden), ..bent })?;
        }
        interrupt.check()?;
        let last = self.last.forward(ops, &hidden)?;
        drop(hidden);
        let small = pixel_shuffle(ops, &last, SHUFFLE)?;
        drop(last);
        if self.scale == 1 { Ok(small) } else { resize_bilinear(ops, &small, height, width) }
    }

    /// All inputs side by side, at this block's scale.
    fn gather(&self, ops: &Ops, input: BlockInput<'_>) -> Result<Activation> {
        let Shape { rows, height, width, .. } = input.frames[0].shape();
        let (height, width) = (height / self.scale, width / self.scale);
        let time = Shape::new(rows, height, width, 1);
        let time = ops.upload(time, &vec![input.time; time.elements()])?;
        let wide = input.frames.into_iter().chain(input.state);
        if self.scale == 1 {
            return concatenate(ops, &wide.chain([&time]).collect::<Vec<_>>());
        }
        let small = wide.map(|part| resize_bilinear(ops, part, height, width)).collect::<Result<Vec<_>>>()?;
        concatenate(ops, &small.iter().chain([&time]).collect::<Vec<_>>())
    }
}

/// The first convolution, with its inputs in the order of [`BlockInput`] and the flow's divided by the scale.
fn load_first(ops: &Ops, scope: &Scope<'_>, outputs: usize, scale: usize, has_state: bool) -> Result<Conv2d> {
    const TAPS: usize = 9;
    let order = published_order(has_state);
    let inputs = order.len();
    let shape = [outputs, inputs, 3, 3];
    let flow = if has_state { 2 * FRAME..2 * FRAME + FLOW } else { 0..0 };
    let mut source = Prepared::new(scope.component());
    let weight = scope.take("weight", &shape)?.reshaped(&shape, |values| {
        let mut ordered = Vec::with_capacity(values.len());
        for kernels in values.chunks_exact(inputs * TAPS) {
            for (index, from) in order.iter().enumerate() {
                let factor = if flow.contains(&index) { 1.0 / scale as f32 } else { 1.0 };
                ordered.extend(kernels[from * TAPS..(from + 1) * TAPS].iter().map(|value| value * factor));
            }
        }
        ordered
    });
    source.insert("weight", weight);
    source.insert("bias", scope.take("bias", &[outputs])?);
    Conv2d::load(ops, &Scope::root(&source), halving(inputs, outputs))
}

/// `conv(x) · beta`: the factor of each channel goes into the weights.
fn load_residual(ops: &Ops, scope: &Scope<'_>, channels: usize) -> Result<Conv2d> {
    let conv = scope.enter("conv");
    let beta = scope.take("beta", &[1, channels, 1, 1])?.into_values();
    let mut source = Prepared::new(scope.component());
    for (name, shape) in [("weight", vec![channels, channels, 3, 3]), ("bias", vec![channels])] {
        let scaled = conv.take(name, &shape)?.reshaped(&shape, |values| {
            let rows = values.chunks_exact(values.len() / channels);
            rows.zip(beta.iter().flatten()).flat_map(|(row, beta)| row.iter().map(move |value| value * beta)).collect()
        });
        source.insert(name, scaled);
    }
    Conv2d::load(ops, &Scope::root(&source), conv_3x3(channels, channels))
}

/// The last convolution, with the flow's outputs multiplied by the scale.
fn load_last(ops: &Ops, scope: &Scope<'_>, channels: usize, scale: usize) -> Result<ConvTranspose2d> {
    let outputs = STATE * SHUFFLE * SHUFFLE;
    let is_flow = |output: usize| output < FLOW * SHUFFLE * SHUFFLE;
    let factor = |output: usize| if is_flow(output) { scale as f32 } else { 1.0 };
    let mut source = Prepared::new(scope.component());
    let shape = [channels, outputs, 4, 4];
    let weight = scope.take("weight", &shape)?.reshaped(&shape, |values| {
        let kernels = values.chunks_exact(16).enumerate();
        kernels.flat_map(|(index, kernel)| kernel.iter().map(move |value| value * factor(index % outputs))).collect()
    });
    let bias = scope
        .take("bias", &[outputs])?
        .reshaped(&[outputs], |values| values.iter().enumerate().map(|(output, value)| value * factor(output)).collect());
    source.insert("weight", weight);
    source.insert("bias", bias);
    ConvTranspose2d::load(ops, &Scope::root(&source), channels, outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_from_their_published_places() {
        let first = [0, 1, 2, 6, 7, 8, 9, 3, 4, 5, 10, 11, 12, 13, 14];
        assert_eq!(published_order(false), first);
        let order = published_order(true);
        assert_eq!(order[..14], first[..14]);
        assert_eq!(order[14..], [24, 25, 26, 27, 15, 16, 17, 18, 19, 20, 21, 22, 23, 14]);
    }
}
