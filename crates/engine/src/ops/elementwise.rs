//! Cheap operations that are not worth a fusion.

use candle_core::Tensor;
use rayon::prelude::*;

use super::kernels::loops;
use super::kernels::matrix::Values;
use super::storage::{Backend, Storage, TASK_VALUES, declared, expect_shape, with_result};
use super::{Ops, Output};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// x·σ(x).
pub fn silu(ops: &Ops, input: &Activation, output: Output) -> Result<Activation> {
    let shape = input.shape();
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let values = cpu.as_f32(input.values()?)?;
            let mut storage = cpu.result(shape, output)?;
            let level = cpu.kernels.level();
            with_result!(&mut storage, output => {
                let tasks = output.par_chunks_mut(TASK_VALUES).zip(values.par_chunks(TASK_VALUES));
                tasks.for_each(|(output, values)| loops::silu(level, values, output));
                Ok(())
            })?;
            Ok(Activation { shape, storage })
        }
        Backend::Candle(candle) => candle.activation(&input.tensor()?.silu()?, shape),
        Backend::Declaring => Err(declared()),
    }
}

/// `target += scale · addend` on stream activations of the same shape.
pub fn add_scaled(ops: &Ops, target: &mut Activation, addend: &Activation, scale: f32) -> Result<()> {
    expect_shape("the addend", addend.shape(), target.shape())?;
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let level = cpu.kernels.level();
            let tasks = target.stream_mut()?.par_chunks_mut(TASK_VALUES).zip(addend.stream()?.par_chunks(TASK_VALUES));
            tasks.for_each(|(target, addend)| loops::add_scaled(level, target, addend, scale));
            Ok(())
        }
        Backend::Candle(candle) => {
            let sum = (target.tensor()? + (addend.tensor()? * f64::from(scale))?)?;
            *target = candle.activation(&sum, target.shape())?;
            Ok(())
        }
        Backend::Declaring => Err(declared()),
    }
}

/// Row `row` of `target` += `addend`, which has one row (both stream); the other rows keep their bits.
pub fn add_to_row(ops: &Ops, target: &mut Activation, row: usize, addend: &Activation) -> Result<()> {
    let shape = target.shape();
    expect_shape("the addend", addend.shape(), Shape { rows: 1, ..shape })?;
    if row >= shape.rows {
        return Err(Error::Device(format!("row {row} of an activation of {} rows", shape.rows)));
    }
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let level = cpu.kernels.level();
            let addend = addend.stream()?;
            let target = &mut target.stream_mut()?[row * addend.len()..][..addend.len()];
            let tasks = target.par_chunks_mut(TASK_VALUES).zip(addend.par_chunks(TASK_VALUES));
            tasks.for_each(|(target, addend)| loops::add_scaled(level, target, addend, 1.0));
            Ok(())
        }
        Backend::Candle(candle) => {
            let whole = target.tensor()?;
            let sum = (whole.narrow(0, row, 1)? + addend.tensor()?)?;
            *target = candle.activation(&whole.slice_scatter0(&sum, row)?, shape)?;
            Ok(())
        }
        Backend::Declaring => Err(declared()),
    }
}

/// The channels of `first`, then those of `second` (both stream, same rows and positions).
pub fn concatenate_channels(ops: &Ops, first: &Activation, second: &Activation) -> Result<Activation> {
    let (left, right) = (first.shape().channels, second.shape().channels);
    expect_shape("the second part", second.shape().with_channels(left), first.shape())?;
    let shape = first.shape().with_channels(left + right);
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let (first, second) = (first.stream()?, second.stream()?);
            let mut output = cpu.arena.take::<f32>(shape.elements())?;
            if left > 0 && right > 0 {
                let positions = (TASK_VALUES / shape.channels).max(1);
                let tasks = output
                    .par_chunks_mut(positions * shape.channels)
                    .zip(first.par_chunks(positions * left).zip(second.par_chunks(positions * right)));
                tasks.for_each(|(output, (first, second))| {
                    let parts = first.chunks_exact(left).zip(second.chunks_exact(right));
                    for (output, (first, second)) in output.chunks_exact_mut(shape.channels).zip(parts) {
                        output[..left].copy_from_slice(first);
                        output[left..].copy_from_slice(second);
                    }
                });
            } else {
                output.copy_from_slice(if left > 0 { first } else { second });
            }
            Ok(Activation { shape, storage: Storage::F32(output) })
        }
        Backend::Candle(candle) => candle.activation(&Tensor::cat(&[first.tensor()?, second.tensor()?], 2)?, shape),
        Backend::Declaring => Err(declared()),
    }
}

/// Rows `from .. from + rows` as an activation of their own.
pub fn select_rows(ops: &Ops, input: &Activation, from: usize, rows: usize) -> Result<Activation> {
    let has = input.shape().rows;
    if from.checked_add(rows).is_none_or(|end| end > has) {
        return Err(Error::Device(format!("rows {from}..+{rows} of an activation of {has} rows")));
    }
    let shape = Shape { rows, ..input.shape() };
    let row_length = shape.positions() * shape.channels;
    let range = from * row_length..(from + rows) * row_length;
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let storage = match input.values()? {
                Values::F32(values) => {
                    let mut output = cpu.arena.take(shape.elements())?;
                    output.copy_from_slice(&values[range]);
                    Storage::F32(output)
                }
                Values::Bf16(values) => {
                    let mut output = cpu.arena.take(shape.elements())?;
                    output.copy_from_slice(&values[range]);
                    Storage::Bf16(output)
                }
            };
            Ok(Activation { shape, storage })
        }
        Backend::Candle(candle) => candle.activation(&input.tensor()?.narrow(0, from, rows)?, shape),
        Backend::Declaring => Err(declared()),
    }
}

/// The channels of all `parts`, in order (all stream, same rows and positions).
pub fn concatenate(ops: &Ops, parts: &[&Activation]) -> Result<Activation> {
    let Some(first) = parts.first().map(|part| part.shape()) else {
        return Err(Error::Device("a concatenation of nothing".into()));
    };
    for part in parts {
        expect_shape("a part", part.shape().with_channels(first.channels), first)?;
    }
    let shape = first.with_channels(parts.iter().map(|part| part.shape().channels).sum());
    match &ops.backend {
        Backend::Cpu(cpu) => {
            let mut sources = Vec::with_capacity(parts.len());
            for part in parts {
                sources.push((part.stream()?, part.shape().channels));
            }
            let mut output = cpu.arena.take::<f32>(shape.elements())?;
            let positions = (TASK_VALUES / shape.channels.max(1)).max(1);
            output.par_chunks_mut((positions * shape.channels).max(1)).enumerate().for_each(|(task, output)| {
                for (index, output) in output.chunks_exact_mut(shape.channels).enumerate() {
                    let (position, mut from) = (task * positions + index, 0);
                    for (values, channels) in &sources {
                        output[from..from + channels].copy_from_slice(&values[position * channels..][..*channels]);
                        from += channels;
                    }
                }
            });
            Ok(Activation { shape, storage: Storage::F32(output) })
        }
        Backend::Candle(candle) => {
            let tensors = parts.iter().map(|part| part.tensor()).collect::<Result<Vec<_>>>()?;
            candle.activation(&Tensor::cat(&tensors, 2)?, shape)
        }
        Backend::Declaring => Err(declared()),
    }
}

/// The first `channels` channels of `target` += those of `addend` (both stream, of one shape); the others keep their bits.
pub fn add_to_channels(ops: &Ops, target: &mut Activation, addend: &Activation, channels: usize) -> Result<()> {
    let shape = target.shape();
    expect_shape("the addend", addend.shape(), shape)?;
    if channels > shape.channels {
        return Err(Error::Device(format!("{channels} channels of {shape:?}")));
    }
    match &ops.backend {
        Backend::Cpu(_) => {
            let step = (TASK_VALUES / shape.channels.max(1)).max(1) * shape.channels.max(1);
            let tasks = target.stream_mut()?.par_chunks_mut(step).zip(addend.stream()?.par_chunks(step));
            tasks.for_each(|(target, addend)| {
                for (target, addend) in target.chunks_exact_mut(shape.channels).zip(addend.chunks_exact(shape.channels)) {
                    for (target, addend) in target[..channels].iter_mut().zip(addend) {
                        *target += addend;
                    }
                }
            });
            Ok(())
        }
        Backend::Candle(candle) => {
            let whole = target.tensor()?;
            let sum = (whole.narrow(2, 0, channels)? + addend.tensor()?.narrow(2, 0, channels)?)?;
            let rest = whole.narrow(2, channels, shape.channels - channels)?;
            *target = candle.activation(&Tensor::cat(&[sum, rest], 2)?, shape)?;
            Ok(())
        }
        Backend::Declaring => Err(declared()),
    }
}
