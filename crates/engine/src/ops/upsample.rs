//! Nearest-neighbour enlargement.

use rayon::prelude::*;

use super::kernels::loops::convert;
use super::storage::{Backend, declared, with_result};
use super::{Ops, Output};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// To `height × width` positions, torch's nearest rule: source = floor(target · in / out). Stream in, operand out.
pub fn upsample_nearest(ops: &Ops, input: &Activation, height: usize, width: usize) -> Result<Activation> {
    let from = input.shape();
    if from.positions() == 0 || from.channels == 0 || height == 0 || width == 0 {
        return Err(Error::Device(format!("cannot enlarge {from:?} to {height} × {width}")));
    }
    let shape = Shape { height, width, ..from };
    let rows: Vec<usize> = (0..height).map(|y| source(y, from.height, height)).collect();
    let columns: Vec<usize> = (0..width).map(|x| source(x, from.width, width)).collect();
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let values = input.stream()?;
            let mut storage = cpu.result(shape, Output::Operand)?;
            let level = cpu.kernels.level();
            with_result!(&mut storage, output => {
                let lines = output.par_chunks_mut(width * shape.channels).enumerate();
                lines.for_each(|(line, output)| {
                    let source_line = line / height * from.height + rows[line % height];
                    let source_line = &values[source_line * from.width * from.channels..][..from.width * from.channels];
                    for (output, column) in output.chunks_exact_mut(shape.channels).zip(&columns) {
                        convert(level, &source_line[column * from.channels..][..from.channels], output);
                    }
                });
                Ok(())
            })?;
            Ok(Activation { shape, storage })
        }
        Backend::Candle(candle) => {
            let index = |indices: &[usize]| -> Result<candle_core::Tensor> {
                let count = indices.len();
                let indices: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
                Ok(candle_core::Tensor::from_vec(indices, count, &candle.device)?)
            };
            let tensor = input.tensor()?.reshape((from.rows, from.height, from.width, from.channels))?;
            let tensor = tensor.index_select(&index(&rows)?, 1)?.index_select(&index(&columns)?, 2)?;
            candle.activation(&tensor, shape)
        }
        Backend::Declaring => Err(declared()),
    }
}

/// The source of `target` along one axis, in f32 as torch computes it.
fn source(target: usize, from: usize, to: usize) -> usize {
    ((target as f32 * (from as f32 / to as f32)) as usize).min(from - 1)
}
