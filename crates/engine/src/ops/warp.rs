//! Looking elsewhere: every position takes its values from where a flow points.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::Ops;
use super::resize::mix_corners;
use super::storage::{Backend, Candle, Storage, declared, expect_shape};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// `input` at each position plus its displacement, bilinear; beyond the border the border goes on (torch's `grid_sample` with
/// `padding_mode="border"`, `align_corners=True`). `flow`: the same rows and positions; channel `channel` has the displacement across,
/// the next one the displacement down, in positions. Both stream; the result is stream. What is not a number points to the first position.
pub fn warp(ops: &Ops, input: &Activation, flow: &Activation, channel: usize) -> Result<Activation> {
    let shape = input.shape();
    let flow_channels = flow.shape().channels;
    expect_shape("a flow", flow.shape(), shape.with_channels(flow_channels))?;
    if channel + 2 > flow_channels || shape.elements() == 0 {
        return Err(Error::Device(format!(
            "channels {channel} and {} of {flow_channels} are no flow for {shape:?}",
            channel + 1
        )));
    }
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let (values, flow) = (input.stream()?, flow.stream()?);
            let mut output = cpu.arena.take::<f32>(shape.elements())?;
            let Shape { height, width, channels, .. } = shape;
            let lines = output.par_chunks_mut(width * channels).zip(flow.par_chunks(width * flow_channels));
            lines.enumerate().for_each(|(line, (output, flow))| {
                let plane = &values[line / height * shape.positions() * channels..][..shape.positions() * channels];
                let y = (line % height) as f32;
                let positions = output.chunks_exact_mut(channels).zip(flow.chunks_exact(flow_channels));
                for (x, (output, flow)) in positions.enumerate() {
                    let (left, right, across) = between(x as f32 + flow[channel], width);
                    let (upper, lower, down) = between(y + flow[channel + 1], height);
                    let corner = |y: usize, x: usize| &plane[(y * width + x) * channels..];
                    let corners = [corner(upper, left), corner(upper, right), corner(lower, left), corner(lower, right)];
                    mix_corners(corners, down, across, output);
                }
            });
            Ok(Activation { shape, storage: Storage::F32(output) })
        }
        Backend::Candle(candle) => {
            let (input, flow) = (input.tensor()?, flow.tensor()?.to_dtype(DType::F32)?);
            let rows = (0..shape.rows).map(|row| {
                let flow = flow.get(row)?;
                warp_row(candle, &input.get(row)?.to_dtype(DType::F32)?, &flow.narrow(1, channel, 2)?, shape)
            });
            candle.activation(&Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)?, shape)
        }
        Backend::Declaring => Err(declared()),
    }
}

/// The positions around `target` on an axis of `length`, and the share of the second.
fn between(target: f32, length: usize) -> (usize, usize, f32) {
    // `max` turns what is not a number into 0.
    let target = target.max(0.0).min((length - 1) as f32);
    let low = target as usize;
    (low, (low + 1).min(length - 1), target - low as f32)
}

/// One row of the batch: `[positions, channels]` at `flow` `[positions, 2]`.
fn warp_row(candle: &Candle, input: &Tensor, flow: &Tensor, shape: Shape) -> Result<Tensor> {
    let Shape { height, width, .. } = shape;
    let positions = shape.positions();
    let base = |values: Vec<f32>| Ok::<_, Error>(Tensor::from_vec(values, (positions, 1), &candle.device)?);
    let columns = base((0..positions).map(|position| (position % width) as f32).collect())?;
    let lines = base((0..positions).map(|position| (position / width) as f32).collect())?;
    let target = |base: &Tensor, axis: usize, length: usize| -> Result<(Tensor, Tensor)> {
        let target = (base + flow.narrow(1, axis, 1)?)?.clamp(0.0_f32, (length - 1) as f32)?;
        let low = target.floor()?;
        Ok((low.clone(), (target - low)?))
    };
    let ((x, across), (y, down)) = (target(&columns, 0, width)?, target(&lines, 1, height)?);
    let corner = |below: f64, beside: f64| -> Result<Tensor> {
        let y = (&y + below)?.clamp(0.0_f32, (height - 1) as f32)?;
        let x = (&x + beside)?.clamp(0.0_f32, (width - 1) as f32)?;
        // Two u32 and not one f32 product: beyond 2^24 positions, f32 cannot count them.
        let index = ((y.to_dtype(DType::U32)? * width as f64)? + x.to_dtype(DType::U32)?)?.flatten_all()?;
        Ok(input.index_select(&index, 0)?)
    };
    let mix = |first: Tensor, second: Tensor, share: &Tensor| -> Result<Tensor> {
        Ok((&first + (second - &first)?.broadcast_mul(share)?)?)
    };
    let upper = mix(corner(0.0, 0.0)?, corner(0.0, 1.0)?, &across)?;
    let lower = mix(corner(1.0, 0.0)?, corner(1.0, 1.0)?, &across)?;
    mix(upper, lower, &down)
}
