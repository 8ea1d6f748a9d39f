//! Two activations by a mask.

use candle_core::Tensor;
use rayon::prelude::*;

use super::Ops;
use super::storage::{Backend, Storage, declared, expect_shape};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// Channel `channel` of an activation as a mask.
#[derive(Clone, Copy, Debug)]
pub struct MaskChannel<'a> {
    /// The activation (stream).
    pub activation: &'a Activation,
    /// The channel.
    pub channel: usize,
}

/// `first · σ(mask) + second · (1 − σ(mask))` of the first `channels` channels. All stream, of the same rows and positions.
pub fn blend(ops: &Ops, first: &Activation, second: &Activation, mask: MaskChannel<'_>, channels: usize) -> Result<Activation> {
    let from = first.shape();
    let mask_channels = mask.activation.shape().channels;
    expect_shape("the second part", second.shape(), from)?;
    expect_shape("the mask", mask.activation.shape(), from.with_channels(mask_channels))?;
    if channels == 0 || channels > from.channels || mask.channel >= mask_channels {
        return Err(Error::Device(format!("cannot blend {channels} of {from:?} by channel {} of {mask_channels}", mask.channel)));
    }
    let shape: Shape = from.with_channels(channels);
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let (first, second, masks) = (first.stream()?, second.stream()?, mask.activation.stream()?);
            let mut output = cpu.arena.take::<f32>(shape.elements())?;
            let line = shape.width.max(1);
            let sources = first.par_chunks(line * from.channels).zip(second.par_chunks(line * from.channels));
            let lines = output.par_chunks_mut(line * channels).zip(sources.zip(masks.par_chunks(line * mask_channels)));
            lines.for_each(|(output, ((first, second), masks))| {
                let sources = first.chunks_exact(from.channels).zip(second.chunks_exact(from.channels));
                let positions = output.chunks_exact_mut(channels).zip(sources.zip(masks.chunks_exact(mask_channels)));
                for (output, ((first, second), masks)) in positions {
                    let share = 1.0 / (1.0 + libm::expf(-masks[mask.channel]));
                    for (output, (first, second)) in output.iter_mut().zip(first.iter().zip(second)) {
                        *output = first * share + second * (1.0 - share);
                    }
                }
            });
            Ok(Activation { shape, storage: Storage::F32(output) })
        }
        Backend::Candle(candle) => {
            let share = candle_nn::ops::sigmoid(&mask.activation.tensor()?.narrow(2, mask.channel, 1)?)?;
            let part = |activation: &Activation| -> Result<Tensor> { Ok(activation.tensor()?.narrow(2, 0, channels)?) };
            let (first, second) = (part(first)?, part(second)?);
            candle.activation(&(&second + (first - &second)?.broadcast_mul(&share)?)?, shape)
        }
        Backend::Declaring => Err(declared()),
    }
}
