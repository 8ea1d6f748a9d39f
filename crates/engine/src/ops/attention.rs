//! Scaled dot-product attention; the scores are never materialised whole.

use candle_core::{DType, Tensor};

use super::kernels::attention::{Problem, RowKeys, Strided, run};
use super::kernels::matrix::Values;
use super::storage::{Backend, Candle, Cpu, declared, with_result};
use super::{Interrupt, Ops, Output};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// Channels `offset .. offset + heads · head_channels` of an activation: one of the parts of a joined projection.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// The activation.
    pub activation: &'a Activation,
    /// First channel.
    pub offset: usize,
}

/// Keys and values of one row; the activation has one row and as many positions as that row has keys.
#[derive(Clone, Copy, Debug)]
pub struct RowKeysValues<'a> {
    /// Keys.
    pub keys: Slice<'a>,
    /// Values.
    pub values: Slice<'a>,
}

/// Keys and values of a batch.
#[derive(Clone, Copy, Debug)]
pub enum KeysValues<'a> {
    /// Row i of the keys belongs to row i of the queries (self-attention).
    SameRows {
        /// Keys.
        keys: Slice<'a>,
        /// Values.
        values: Slice<'a>,
    },
    /// Each row has its own keys and its own number of them (cross-attention of requests that share a batch).
    PerRow(&'a [RowKeysValues<'a>]),
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All.
    None,
    /// Those at or before its own position.
    Causal,
}

/// `softmax(q·kᵀ / √head_channels)·v` per head; the heads lie side by side in the channels. The result is an operand with
/// `heads · head_channels` channels. `interrupt` is looked at in every block of queries: over the positions of a large picture a
/// single attention takes seconds.
pub fn attention(
    ops: &Ops,
    queries: Slice<'_>,
    keys_values: KeysValues<'_>,
    heads: usize,
    head_channels: usize,
    mask: Mask,
    interrupt: &Interrupt,
) -> Result<Activation> {
    let channels = heads * head_channels;
    let shape = queries.activation.shape().with_channels(channels);
    if channels == 0 {
        return Err(Error::Device("attention needs at least one head of one channel".into()));
    }
    queries.check("the queries", channels)?;
    match keys_values {
        KeysValues::SameRows { keys, values } => {
            keys.check("the keys", channels)?;
            values.check("the values", channels)?;
            check_pair(keys, values, shape.rows)?;
        }
        KeysValues::PerRow(rows) => {
            if rows.len() != shape.rows {
                return Err(Error::Device(format!("attention of {} rows was given the keys of {}", shape.rows, rows.len())));
            }
            for row in rows {
                row.keys.check("the keys", channels)?;
                row.values.check("the values", channels)?;
                check_pair(row.keys, row.values, 1)?;
            }
        }
    }
    match &ops.backend {
        Backend::Cpu(cpu) => on_cpu(cpu, queries, keys_values, (heads, head_channels), mask, interrupt, shape),
        Backend::Candle(candle) => on_candle(candle, queries, keys_values, (heads, head_channels), mask, interrupt, shape),
        Backend::Declaring => Err(declared()),
    }
}

impl Slice<'_> {
    /// Whether the activation has the slice's channels.
    pub(super) fn check(&self, what: &str, channels: usize) -> Result<()> {
        let has = self.activation.shape().channels;
        if self.offset.checked_add(channels).is_some_and(|end| end <= has) {
            Ok(())
        } else {
            Err(Error::Device(format!("{what} are channels {}..+{channels} of an activation of {has}", self.offset)))
        }
    }

    /// One row of the slice for the kernels; `values` are those of the whole activation.
    fn row<'a>(&self, values: Values<'a>, row: usize) -> Strided<'a> {
        let shape = self.activation.shape();
        let range = row * shape.positions() * shape.channels..(row + 1) * shape.positions() * shape.channels;
        let values = match values {
            Values::F32(values) => Values::F32(&values[range]),
            Values::Bf16(values) => Values::Bf16(&values[range]),
        };
        Strided { values, stride: shape.channels, offset: self.offset }
    }

    /// All rows of the slice for the kernels; `values` are those of the whole activation.
    pub(super) fn whole<'a>(&self, values: Values<'a>) -> Strided<'a> {
        Strided { values, stride: self.activation.shape().channels, offset: self.offset }
    }

    /// `[rows, heads, positions, head_channels]` on a candle device.
    fn heads(&self, heads: usize, head_channels: usize) -> Result<Tensor> {
        let shape = self.activation.shape();
        let tensor = self.activation.tensor()?.narrow(2, self.offset, heads * head_channels)?;
        Ok(tensor.reshape((shape.rows, shape.positions(), heads, head_channels))?.transpose(1, 2)?.contiguous()?)
    }
}

/// Whether keys and values have `rows` rows and as many positions as each other, and at least one.
fn check_pair(keys: Slice<'_>, values: Slice<'_>, rows: usize) -> Result<()> {
    let (keys, values) = (keys.activation.shape(), values.activation.shape());
    if keys.rows == rows && values.rows == rows && keys.positions() == values.positions() && keys.positions() > 0 {
        Ok(())
    } else {
        Err(Error::Device(format!("attention takes {rows} rows of keys and values alike, not {keys:?} and {values:?}")))
    }
}

fn on_cpu(
    cpu: &Cpu,
    queries: Slice<'_>,
    keys_values: KeysValues<'_>,
    (heads, head_channels): (usize, usize),
    mask: Mask,
    interrupt: &Interrupt,
    shape: Shape,
) -> Result<Activation> {
    let query_values = queries.activation.values()?;
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
    let queries = Strided { values: query_values, stride: queries.activation.shape().channels, offset: queries.offset };
    let row_keys = |keys: Slice<'_>, key_values, values: Slice<'_>, value_values, row: usize| -> RowKeys<'_> {
        let count = keys.activation.shape().positions();
        RowKeys { keys: keys.row(key_values, row), values: values.row(value_values, row), count }
    };
    let rows = match keys_values {
        KeysValues::SameRows { keys, values } => {
            let (key_values, value_values) = (keys.activation.values()?, values.activation.values()?);
            (0..shape.rows).map(|row| row_keys(keys, key_values, values, value_values, row)).collect::<Vec<_>>()
        }
        KeysValues::PerRow(rows) => rows
            .iter()
            .map(|row| Ok(row_keys(row.keys, row.keys.activation.values()?, row.values, row.values.activation.values()?, 0)))
            .collect::<Result<Vec<_>>>()?,
    };
    let problem = Problem {
        queries,
        query_count: shape.positions(),
        rows: &rows,
        heads,
        head_channels,
        causal: mask == Mask::Causal,
        interrupt,
    };
    let mut storage = cpu.result(shape, Output::Operand)?;
    with_result!(&mut storage, output => run(cpu.kernels, &cpu.arena, &problem, output))?;
    Ok(Activation { shape, storage })
}

fn on_candle(
    candle: &Candle,
    queries: Slice<'_>,
    keys_values: KeysValues<'_>,
    (heads, head_channels): (usize, usize),
    mask: Mask,
    interrupt: &Interrupt,
    shape: Shape,
) -> Result<Activation> {
    // scaled before the product: f16 scores of unscaled queries overflow
    let queries = (queries.heads(heads, head_channels)? * (1.0 / (head_channels as f64).sqrt()))?;
    let result = match keys_values {
        KeysValues::SameRows { keys, values } => {
            attend(&queries, &keys.heads(heads, head_channels)?, &values.heads(heads, head_channels)?, mask, interrupt)?
        }
        KeysValues::PerRow(rows) => {
            let mut results = Vec::with_capacity(rows.len());
            for (index, row) in rows.iter().enumerate() {
                let (keys, values) = (row.keys.heads(heads, head_channels)?, row.values.heads(heads, head_channels)?);
                results.push(attend(&queries.narrow(0, index, 1)?.contiguous()?, &keys, &values, mask, interrupt)?);
            }
            Tensor::cat(&results, 0)?
        }
    };
    candle.activation(&result.transpose(1, 2)?.contiguous()?, shape)
}

/// Attention of `[rows, heads, positions, channels]`, a block of queries at a time so that the scores stay bounded.
pub(super) fn attend(queries: &Tensor, keys: &Tensor, values: &Tensor, mask: Mask, interrupt: &Interrupt) -> Result<Tensor> {
    const MOST_SCORES: usize = 64 << 20;
    let (rows, heads, count, _) = queries.dims4()?;
    let key_count = keys.dim(2)?;
    let keys = keys.transpose(2, 3)?.contiguous()?;
    let block = (MOST_SCORES / (rows * heads * key_count).max(1)).clamp(1, count.max(1));
    let mut results = Vec::with_capacity(count.div_ceil(block));
    for first in (0..count).step_by(block) {
        interrupt.check()?;
        let length = block.min(count - first);
        let scores = queries.narrow(2, first, length)?.contiguous()?.matmul(&keys)?.to_dtype(DType::F32)?;
        let scores = match mask {
            Mask::None => scores,
            Mask::Causal => {
                let hidden = |(query, key)| if key > first + query { f32::NEG_INFINITY } else { 0.0 };
                let bias: Vec<f32> =
                    (0..length).flat_map(|query| (0..key_count).map(move |key| (query, key))).map(hidden).collect();
                scores.broadcast_add(&Tensor::from_vec(bias, (length, key_count), queries.device())?)?
            }
        };
        results.push(candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(values.dtype())?.matmul(values)?);
    }
    Ok(Tensor::cat(&results, 2)?)
}
