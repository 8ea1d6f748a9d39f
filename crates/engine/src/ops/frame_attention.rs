//! Attention of every position over the frames of its clip.

use super::attention::{Slice, attend};
use super::frame_conv::clips_of;
use super::kernels::frame_attention::{Problem, run};
use super::kernels::matrix::Values;
use super::storage::{Backend, Candle, Cpu, declared, with_result};
use super::{Interrupt, Mask, Ops, Output};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// Queries, keys and values of the same rows and positions.
#[derive(Clone, Copy, Debug)]
pub struct QueriesKeysValues<'a> {
    /// Queries.
    pub queries: Slice<'a>,
    /// Keys.
    pub keys: Slice<'a>,
    /// Values.
    pub values: Slice<'a>,
}

/// `softmax(q·kᵀ / √head_channels)·v` per head and position, where the queries and the keys are one position's in all frames of its
/// clip. Every `frames` rows are a clip. The result is an operand with `heads · head_channels` channels. `interrupt` is looked at in
/// every block of positions.
pub fn frame_attention(
    ops: &Ops,
    parts: QueriesKeysValues<'_>,
    frames: usize,
    heads: usize,
    head_channels: usize,
    interrupt: &Interrupt,
) -> Result<Activation> {
    let channels = heads * head_channels;
    let shape = parts.queries.activation.shape().with_channels(channels);
    if channels == 0 {
        return Err(Error::Device("attention needs at least one head of one channel".into()));
    }
    for (what, part) in [("the queries", parts.queries), ("the keys", parts.keys), ("the values", parts.values)] {
        part.check(what, channels)?;
        let found = part.activation.shape().with_channels(channels);
        if found != shape {
            return Err(Error::Device(format!(
                "attention over frames was given {what} of {found:?} beside queries of {shape:?}"
            )));
        }
    }
    let clips = clips_of(shape, frames)?;
    match &ops.backend {
        Backend::Cpu(cpu) => on_cpu(cpu, parts, (clips, frames), (heads, head_channels), interrupt, shape),
        Backend::Candle(candle) => on_candle(candle, parts, (clips, frames), (heads, head_channels), interrupt, shape),
        Backend::Declaring => Err(declared()),
    }
}

fn on_cpu(
    cpu: &Cpu,
    parts: QueriesKeysValues<'_>,
    (clips, frames): (usize, usize),
    (heads, head_channels): (usize, usize),
    interrupt: &Interrupt,
    shape: Shape,
) -> Result<Activation> {
    let query_values = parts.queries.activation.values()?;
    // pairs of bf16 channels are multiplied as they are; anything else in f32
    let paired = cpu.kernels.path().multiplies_bf16() && head_channels.is_multiple_of(2);
    let converted;
    let query_values = match query_values {
        Values::Bf16(_) if !paired => {
            converted = cpu.as_f32(query_values)?;
            Values::F32(&converted)
        }
        values => values,
    };
    let problem = Problem {
        queries: parts.queries.whole(query_values),
        keys: parts.keys.whole(parts.keys.activation.values()?),
        values: parts.values.whole(parts.values.activation.values()?),
        clips,
        frames,
        positions: shape.positions(),
        heads,
        head_channels,
        interrupt,
    };
    let mut storage = cpu.result(shape, Output::Operand)?;
    with_result!(&mut storage, output => run(cpu.kernels, &cpu.arena, &problem, output))?;
    Ok(Activation { shape, storage })
}

fn on_candle(
    candle: &Candle,
    parts: QueriesKeysValues<'_>,
    (clips, frames): (usize, usize),
    (heads, head_channels): (usize, usize),
    interrupt: &Interrupt,
    shape: Shape,
) -> Result<Activation> {
    let positions = shape.positions();
    // [clips · positions, heads, frames, head_channels]
    let by_position = |part: Slice<'_>| {
        let tensor = part.activation.tensor()?.narrow(2, part.offset, heads * head_channels)?;
        let tensor = tensor.reshape((clips, frames, positions, heads, head_channels))?.permute((0, 2, 3, 1, 4))?;
        Ok::<_, Error>(tensor.contiguous()?.reshape((clips * positions, heads, frames, head_channels))?)
    };
    // scaled before the product: f16 scores of unscaled queries overflow
    let queries = (by_position(parts.queries)? * (1.0 / (head_channels as f64).sqrt()))?;
    let result = attend(&queries, &by_position(parts.keys)?, &by_position(parts.values)?, Mask::None, interrupt)?;
    let result = result.reshape((clips, positions, heads, frames, head_channels))?.permute((0, 3, 1, 2, 4))?.contiguous()?;
    candle.activation(&result, shape)
}
