//! Bilinear resizing.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::Ops;
use super::storage::{Backend, Storage, declared};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// To `height × width` positions, torch's bilinear rule with `align_corners=False` and without antialiasing: the centres of positions
/// are mapped onto each other. Stream in, stream out.
pub fn resize_bilinear(ops: &Ops, input: &Activation, height: usize, width: usize) -> Result<Activation> {
    let from = input.shape();
    if from.positions() == 0 || from.channels == 0 || height == 0 || width == 0 {
        return Err(Error::Device(format!("cannot resize {from:?} to {height} × {width}")));
    }
    let channels = from.channels;
    let shape = Shape { height, width, ..from };
    let (rows, columns) = (Axis::new(from.height, height), Axis::new(from.width, width));
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let values = input.stream()?;
            let mut output = cpu.arena.take::<f32>(shape.elements())?;
            output.par_chunks_mut(width * channels).enumerate().for_each(|(line, output)| {
                let (row, y) = (line / height, line % height);
                let line = |source: usize| &values[(row * from.height + source) * from.width * channels..];
                let (upper, lower, down) = (line(rows.low[y]), line(rows.high[y]), rows.share[y]);
                for (x, output) in output.chunks_exact_mut(channels).enumerate() {
                    let (left, right, across) = (columns.low[x] * channels, columns.high[x] * channels, columns.share[x]);
                    let corners = [&upper[left..], &upper[right..], &lower[left..], &lower[right..]];
                    mix_corners(corners, down, across, output);
                }
            });
            Ok(Activation { shape, storage: Storage::F32(output) })
        }
        Backend::Candle(candle) => {
            let tensor = input.tensor()?.to_dtype(DType::F32)?.reshape((from.rows, from.height, from.width, channels))?;
            let along = |tensor: &Tensor, axis: &Axis, dimension: usize| -> Result<Tensor> {
                let device = &candle.device;
                let select = |indices: &[usize]| -> Result<Tensor> {
                    let indices: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
                    let count = indices.len();
                    Ok(tensor.index_select(&Tensor::from_vec(indices, count, device)?, dimension)?)
                };
                let mut dimensions = [1; 4];
                dimensions[dimension] = axis.share.len();
                let share = Tensor::from_slice(&axis.share, &dimensions, device)?;
                let (low, high) = (select(&axis.low)?, select(&axis.high)?);
                Ok((&low + (high - &low)?.broadcast_mul(&share)?)?)
            };
            candle.activation(&along(&along(&tensor, &rows, 1)?, &columns, 2)?, shape)
        }
        Backend::Declaring => Err(declared()),
    }
}

/// `output` between four corners: upper left, upper right, lower left, lower right.
pub(super) fn mix_corners(corners: [&[f32]; 4], down: f32, across: f32, output: &mut [f32]) {
    let (up, back) = (1.0 - down, 1.0 - across);
    let weights = [up * back, up * across, down * back, down * across];
    let sources = corners[0].iter().zip(corners[1]).zip(corners[2].iter().zip(corners[3]));
    for (output, ((first, second), (third, fourth))) in output.iter_mut().zip(sources) {
        *output = weights[0] * first + weights[1] * second + weights[2] * third + weights[3] * fourth;
    }
}

/// Where each output of one axis looks.
struct Axis {
    low: Vec<usize>,
    high: Vec<usize>,
    /// Of the high one.
    share: Vec<f32>,
}

impl Axis {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f32 / to as f32;
        let mut axis = Self { low: Vec::with_capacity(to), high: Vec::with_capacity(to), share: Vec::with_capacity(to) };
        for target in 0..to {
            let source = (scale * (target as f32 + 0.5) - 0.5).max(0.0);
            let low = (source as usize).min(from - 1);
            axis.low.push(low);
            axis.high.push((low + 1).min(from - 1));
            axis.share.push((source - low as f32).min(1.0));
        }
        axis
    }
}
