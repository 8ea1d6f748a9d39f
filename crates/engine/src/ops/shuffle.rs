//! Positions between positions: interleaving, and channels that become positions.

use candle_core::Tensor;
use rayon::prelude::*;

use super::Ops;
use super::storage::{Backend, Storage, declared, expect_shape};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// Four activations of one shape (stream) as one of twice the height and width: the first at even rows and even columns, then even and
/// odd, odd and even, odd and odd.
pub fn interleave(ops: &Ops, phases: &[Activation; 4]) -> Result<Activation> {
    let from = phases[0].shape();
    for phase in &phases[1..] {
        expect_shape("a phase", phase.shape(), from)?;
    }
    let Shape { rows, height, width, channels } = from;
    let shape = Shape::new(rows, 2 * height, 2 * width, channels);
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let values = [phases[0].stream()?, phases[1].stream()?, phases[2].stream()?, phases[3].stream()?];
            let mut output = cpu.arena.take::<f32>(shape.elements())?;
            let line_length = (width * channels).max(1);
            output.par_chunks_mut(2 * line_length).enumerate().for_each(|(line, output)| {
                let down = line % 2;
                let source = line / 2 * width * channels;
                let left = values[2 * down][source..].chunks_exact(channels);
                let right = values[2 * down + 1][source..].chunks_exact(channels);
                for (output, (left, right)) in output.chunks_exact_mut(2 * channels).zip(left.zip(right)) {
                    output[..channels].copy_from_slice(left);
                    output[channels..].copy_from_slice(right);
                }
            });
            Ok(Activation { shape, storage: Storage::F32(output) })
        }
        Backend::Candle(candle) => {
            let line = |left: &Activation, right: &Activation| -> Result<Tensor> {
                let planes = |phase: &Activation| Ok::<_, Error>(phase.tensor()?.reshape((rows, height, width, channels))?);
                Ok(Tensor::stack(&[planes(left)?, planes(right)?], 3)?)
            };
            let lines = [line(&phases[0], &phases[1])?, line(&phases[2], &phases[3])?];
            candle.activation(&Tensor::stack(&lines, 2)?, shape)
        }
        Backend::Declaring => Err(declared()),
    }
}

/// torch's `PixelShuffle`: channel `c·factor² + i·factor + j` of a position becomes channel `c` of the position `i` rows down and `j`
/// columns across of the `factor × factor` ones that it turns into. Stream in, stream out.
pub fn pixel_shuffle(ops: &Ops, input: &Activation, factor: usize) -> Result<Activation> {
    let from = input.shape();
    let square = factor * factor;
    if square == 0 || !from.channels.is_multiple_of(square) {
        return Err(Error::Device(format!("{} channels cannot become {factor} × {factor} positions", from.channels)));
    }
    let Shape { rows, height, width, .. } = from;
    let channels = from.channels / square;
    let shape = Shape::new(rows, height * factor, width * factor, channels);
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let values = input.stream()?;
            let mut output = cpu.arena.take::<f32>(shape.elements())?;
            let line_length = (shape.width * channels).max(1);
            output.par_chunks_mut(line_length).enumerate().for_each(|(line, output)| {
                let down = line % factor;
                let source = values[line / factor * width * from.channels..].chunks_exact(from.channels);
                for (output, source) in output.chunks_exact_mut(factor * channels).zip(source) {
                    for (across, output) in output.chunks_exact_mut(channels).enumerate() {
                        for (value, source) in output.iter_mut().zip(source.chunks_exact(square)) {
                            *value = source[down * factor + across];
                        }
                    }
                }
            });
            Ok(Activation { shape, storage: Storage::F32(output) })
        }
        Backend::Candle(candle) => {
            let tensor = input.tensor()?.reshape(&[rows, height, width, channels, factor, factor])?;
            candle.activation(&tensor.permute(vec![0, 1, 4, 2, 5, 3])?.contiguous()?, shape)
        }
        Backend::Declaring => Err(declared()),
    }
}
