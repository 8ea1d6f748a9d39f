//! Group norm (with `silu`) and layer norm. Statistics are combined in f64.

use candle_core::{D, DType, Tensor};
use rayon::prelude::*;

use super::kernels::loops::{ChannelAffine, channel_sums, layer_norm, layer_norm_shifted, normalise};
use super::kernels::mapped::Floats;
use super::matrix::{floats, taken};
use super::storage::{Backend, Cpu, Storage, TASK_VALUES, declared, expect_channels, expect_shape, foreign, with_result};
use super::{Ops, Output};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::weights::Scope;

/// Positions whose sums are taken in f32 before they are combined in f64.
const CHUNK_POSITIONS: usize = 64;

/// A weight and a bias per channel, on their backend.
#[derive(Debug)]
enum Affine {
    Cpu { weight: Floats, bias: Floats },
    Candle { weight: Tensor, bias: Tensor },
    Declared,
}

impl Affine {
    fn load(ops: &Ops, scope: &Scope<'_>, channels: usize) -> Result<Self> {
        if channels == 0 {
            return Err(Error::checkpoint(scope.component(), format!("{}: a norm of no channels", scope.path("weight"))));
        }
        let shape = [channels];
        match &ops.backend {
            Backend::Cpu(_) => {
                let both = floats(scope, "weight", &shape)?.zip(floats(scope, "bias", &shape)?);
                Ok(both.map_or(Self::Declared, |(weight, bias)| Self::Cpu { weight, bias }))
            }
            Backend::Candle(candle) => {
                // the affine part is computed in f32 with the statistics
                let upload = |values: &[f32]| Tensor::from_slice(values, channels, &candle.device);
                Ok(Self::Candle {
                    weight: upload(&taken(scope, "weight", &shape)?)?,
                    bias: upload(&taken(scope, "bias", &shape)?)?,
                })
            }
            Backend::Declaring => {
                scope.take("weight", &shape)?;
                scope.take("bias", &shape)?;
                Ok(Self::Declared)
            }
        }
    }

    fn mismatched(&self) -> Error {
        if matches!(self, Self::Declared) { declared() } else { foreign() }
    }
}

/// Group norm over `channels / groups` channels and all positions of a row.
#[derive(Debug)]
pub struct GroupNorm {
    affine: Affine,
    channels: usize,
    groups: usize,
    epsilon: f32,
}

impl GroupNorm {
    /// Reads `weight` and `bias`. `groups` must divide `channels`.
    pub fn load(ops: &Ops, scope: &Scope<'_>, channels: usize, groups: usize, epsilon: f32) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            let reason = format!("{}: {channels} channels cannot be cut into {groups} groups", scope.path("weight"));
            return Err(Error::checkpoint(scope.component(), reason));
        }
        Ok(Self { affine: Affine::load(ops, scope, channels)?, channels, groups, epsilon })
    }

    /// Normalises; with `silu` applies x·σ(x) after the affine part.
    pub fn forward(&self, ops: &Ops, input: &Activation, silu: bool, output: Output) -> Result<Activation> {
        self.forward_over(ops, input, 1, silu, output)
    }

    /// [`Self::forward`] over the positions of every `rows_together` rows: those of a clip's frames.
    pub fn forward_over(
        &self,
        ops: &Ops,
        input: &Activation,
        rows_together: usize,
        silu: bool,
        output: Output,
    ) -> Result<Activation> {
        let result = input.shape();
        expect_channels("a group norm", result.channels, self.channels)?;
        if rows_together == 0 || !result.rows.is_multiple_of(rows_together) {
            return Err(Error::Device(format!("{} rows cannot be normalised {rows_together} at a time", result.rows)));
        }
        let shape = Shape::sequence(result.rows / rows_together, rows_together * result.positions(), self.channels);
        match (&ops.backend, &self.affine) {
            (Backend::Cpu(cpu), Affine::Cpu { weight, bias }) => {
                let values = cpu.as_f32(input.values()?)?;
                let rows = self.row_affines(cpu, &values, shape, weight, bias);
                let mut storage = cpu.result(shape, output)?;
                let level = cpu.kernels.level();
                let step = (TASK_VALUES / self.channels).max(1) * self.channels;
                let row_length = shape.positions() * self.channels;
                with_result!(&mut storage, output => {
                    if row_length > 0 {
                        let rows = output.par_chunks_mut(row_length).zip(values.par_chunks(row_length)).zip(&rows);
                        rows.for_each(|((output, values), row)| {
                            let tasks = output.par_chunks_mut(step).zip(values.par_chunks(step));
                            tasks.for_each(|(output, values)| normalise(level, values, &row.borrow(), silu, output));
                        });
                    }
                    Ok(())
                })?;
                Ok(Activation { shape: result, storage })
            }
            (Backend::Candle(candle), Affine::Candle { weight, bias }) => {
                let (rows, positions, per_group) = (shape.rows, shape.positions(), self.channels / self.groups);
                let values = input.tensor()?.to_dtype(DType::F32)?;
                let groups = values.reshape((rows, positions, self.groups, per_group))?.transpose(1, 2)?.contiguous()?;
                let groups = groups.reshape((rows, self.groups, positions * per_group))?;
                let centred = groups.broadcast_sub(&groups.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                let normal = centred.broadcast_div(&(variance + f64::from(self.epsilon))?.sqrt()?)?;
                let normal = normal.reshape((rows, self.groups, positions, per_group))?.transpose(1, 2)?.contiguous()?;
                let normal = normal.reshape((rows, positions, self.channels))?;
                let values = normal.broadcast_mul(weight)?.broadcast_add(bias)?;
                candle.activation(&if silu { values.silu()? } else { values }, result)
            }
            (_, affine) => Err(affine.mismatched()),
        }
    }

    /// What the norm does to every channel of every row.
    fn row_affines(&self, cpu: &Cpu, values: &[f32], shape: Shape, weight: &[f32], bias: &[f32]) -> Vec<RowAffine> {
        let row_length = (shape.positions() * self.channels).max(1);
        let chunk_length = CHUNK_POSITIONS * self.channels;
        let rows = values.par_chunks(row_length).map(|row| {
            let chunks = row.par_chunks(chunk_length).map(|chunk| self.chunk_moments(cpu, chunk)).collect::<Vec<_>>();
            let mut groups = vec![Moments::default(); self.groups];
            for chunk in &chunks {
                for (group, moments) in groups.iter_mut().zip(chunk) {
                    *group = group.merged(*moments);
                }
            }
            self.row_affine(&groups, weight, bias)
        });
        rows.collect()
    }

    /// Moments of each group over a chunk of positions.
    fn chunk_moments(&self, cpu: &Cpu, chunk: &[f32]) -> Vec<Moments> {
        let shift = &chunk[..self.channels];
        let mut sums = vec![0.0; self.channels];
        let mut squares = vec![0.0; self.channels];
        channel_sums(cpu.kernels.level(), chunk, shift, &mut sums, &mut squares);
        let count = (chunk.len() / self.channels) as f64;
        let per_group = self.channels / self.groups;
        let channel = |index: usize| Moments::of_shifted(count, shift[index], sums[index], squares[index]);
        (0..self.groups)
            .map(|group| (group * per_group..(group + 1) * per_group).map(channel).fold(Moments::default(), Moments::merged))
            .collect()
    }

    fn row_affine(&self, groups: &[Moments], weight: &[f32], bias: &[f32]) -> RowAffine {
        let per_group = self.channels / self.groups;
        let mut row = RowAffine { mean: Vec::new(), scale: Vec::new(), offset: Vec::new() };
        for (channel, (weight, bias)) in weight.iter().zip(bias).enumerate() {
            let moments = groups[channel / per_group];
            let scale = f64::from(*weight) / (moments.variance() + f64::from(self.epsilon)).sqrt();
            let mean = moments.mean as f32;
            row.mean.push(mean);
            row.scale.push(scale as f32);
            // what the mean loses by rounding goes into the offset
            row.offset.push((f64::from(*bias) - (moments.mean - f64::from(mean)) * scale) as f32);
        }
        row
    }
}

/// [`ChannelAffine`] with its own memory.
struct RowAffine {
    mean: Vec<f32>,
    scale: Vec<f32>,
    offset: Vec<f32>,
}

impl RowAffine {
    fn borrow(&self) -> ChannelAffine<'_> {
        ChannelAffine { mean: &self.mean, scale: &self.scale, offset: &self.offset }
    }
}

/// Count, mean, and sum of squared differences from the mean.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// From the sums of `value − shift` and of its square.
    fn of_shifted(count: f64, shift: f32, sum: f32, square: f32) -> Self {
        let sum = f64::from(sum);
        Self { count, mean: f64::from(shift) + sum / count, squares: (f64::from(square) - sum * sum / count).max(0.0) }
    }

    /// Of both sets together (Chan et al. 1979).
    fn merged(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let difference = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + difference * other.count / count,
            squares: self.squares + other.squares + difference * difference * self.count * other.count / count,
        }
    }

    fn variance(&self) -> f64 {
        self.squares / self.count
    }
}

/// Layer norm over the channels of every position.
#[derive(Debug)]
pub struct LayerNorm {
    affine: Affine,
    channels: usize,
    epsilon: f32,
}

impl LayerNorm {
    /// Reads `weight` and `bias`.
    pub fn load(ops: &Ops, scope: &Scope<'_>, channels: usize, epsilon: f32) -> Result<Self> {
        Ok(Self { affine: Affine::load(ops, scope, channels)?, channels, epsilon })
    }

    /// Normalises.
    pub fn forward(&self, ops: &Ops, input: &Activation, output: Output) -> Result<Activation> {
        self.forward_with(ops, input, None, output)
    }

    /// Normalises the sum of every position and its row's vector (`Shape::vectors(rows, channels)`, stream).
    pub fn forward_shifted(&self, ops: &Ops, input: &Activation, per_row: &Activation, output: Output) -> Result<Activation> {
        expect_shape("the vector per row", per_row.shape(), Shape::vectors(input.shape().rows, self.channels))?;
        self.forward_with(ops, input, Some(per_row), output)
    }

    fn forward_with(&self, ops: &Ops, input: &Activation, per_row: Option<&Activation>, output: Output) -> Result<Activation> {
        let shape = input.shape();
        expect_channels("a layer norm", shape.channels, self.channels)?;
        match (&ops.backend, &self.affine) {
            (Backend::Cpu(cpu), Affine::Cpu { weight, bias }) => {
                let values = cpu.as_f32(input.values()?)?;
                let mut storage: Storage = cpu.result(shape, output)?;
                let level = cpu.kernels.level();
                let step = (TASK_VALUES / self.channels).max(1) * self.channels;
                let (weight, bias): (&[f32], &[f32]) = (weight, bias);
                let epsilon = self.epsilon;
                let vectors = per_row.map(Activation::stream).transpose()?;
                let row_length = (shape.positions() * self.channels).max(1);
                with_result!(&mut storage, output => {
                    if let Some(vectors) = vectors {
                        let rows = output.par_chunks_mut(row_length).zip(values.par_chunks(row_length));
                        rows.zip(vectors.par_chunks(self.channels)).for_each(|((output, values), vector)| {
                            let tasks = output.par_chunks_mut(step).zip(values.par_chunks(step));
                            tasks.for_each(|(output, values)| {
                                layer_norm_shifted(level, values, vector, weight, bias, epsilon, output);
                            });
                        });
                    } else {
                        let tasks = output.par_chunks_mut(step).zip(values.par_chunks(step));
                        tasks.for_each(|(output, values)| layer_norm(level, values, weight, bias, epsilon, output));
                    }
                    Ok(())
                })?;
                Ok(Activation { shape, storage })
            }
            (Backend::Candle(candle), Affine::Candle { weight, bias }) => {
                let mut values = input.tensor()?.to_dtype(DType::F32)?;
                if let Some(per_row) = per_row {
                    values = values.broadcast_add(&per_row.tensor()?.to_dtype(DType::F32)?)?;
                }
                let centred = values.broadcast_sub(&values.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                let normal = centred.broadcast_div(&(variance + f64::from(self.epsilon))?.sqrt()?)?;
                candle.activation(&normal.broadcast_mul(weight)?.broadcast_add(bias)?, shape)
            }
            (_, affine) => Err(affine.mismatched()),
        }
    }
}
