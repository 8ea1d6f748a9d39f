//! What convolutions and linear layers share: their weights on each backend, and the epilogue.

use candle_core::Tensor;

use super::kernels::finish::Finish;
use super::kernels::mapped::Floats;
use super::kernels::math::Lane;
use super::kernels::matrix::{Geometry, Product, Values, run};
use super::kernels::memory::as_bytes;
use super::kernels::pack::{Arrangement, MatrixLayout, MatrixPacker, PackedMatrix};
use super::kernels::{KernelPath, loops};
use super::storage::{Backend, Candle, Cpu, TASK_VALUES, declared, expect_channels, expect_shape, foreign, with_result};
use super::{Blend, Epilogue, Function, Ops, Precision, Slopes};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::weights::packed::Packed;
use crate::weights::{HostTensor, Scope};
use half::bf16;
use rayon::prelude::*;

/// The values of a tensor that was taken from a source, or `None` where it was only declared.
pub(crate) fn host_values(scope: &Scope<'_>, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>> {
    match scope.take(name, shape)? {
        HostTensor::Declared { .. } => Ok(None),
        HostTensor::Values { values, .. } if values.len() == shape.iter().product::<usize>() => Ok(Some(values)),
        HostTensor::Values { values, .. } => {
            let reason = format!("{} has {} values, which do not fill {shape:?}", scope.path(name), values.len());
            Err(Error::checkpoint(scope.component(), reason))
        }
    }
}

/// A tensor that layers read as it is, on the CPU: f32 values, or nothing where they were only declared or go into a file.
pub(crate) fn floats(scope: &Scope<'_>, name: &str, shape: &[usize]) -> Result<Option<Floats>> {
    if let Some(Packed::Mapped(file)) = scope.packed() {
        let bytes = shape.iter().product::<usize>() * size_of::<f32>();
        return Ok(Some(Floats::Mapped(file.piece(&scope.full_name(name), bytes)?)));
    }
    match (host_values(scope, name, shape)?, scope.packed()) {
        (Some(values), Some(Packed::Writing(writer))) => {
            writer.put(scope.full_name(name), as_bytes(&values))?;
            Ok(None)
        }
        (values, _) => Ok(values.map(Floats::Owned)),
    }
}

/// A tensor of a single number; any number where it was only declared or goes into a file.
pub(crate) fn scalar(ops: &Ops, scope: &Scope<'_>, name: &str) -> Result<f32> {
    let values = match &ops.backend {
        Backend::Cpu(_) => floats(scope, name, &[1])?.map(|values| values.first().copied()),
        Backend::Candle(_) => Some(taken(scope, name, &[1])?.first().copied()),
        Backend::Declaring => {
            scope.take(name, &[1])?;
            None
        }
    };
    Ok(values.flatten().unwrap_or_default())
}

/// The values of a tensor on a backend that computes.
pub(crate) fn taken(scope: &Scope<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    host_values(scope, name, shape)?
        .ok_or_else(|| Error::Device(format!("{} was only declared; it cannot be computed with", scope.path(name))))
}

/// What a layer's weights look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixConfig {
    pub(crate) in_channels: usize,
    pub(crate) taps: Taps,
    pub(crate) bias: bool,
    /// Whether the first half of the outputs are values and the second half gates.
    pub(crate) gated: bool,
}

/// The dimensions that `weight` has besides outputs and inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taps {
    /// None: a linear layer.
    One,
    /// Those of a square kernel of this side.
    Square(usize),
    /// Frames, and one position.
    Frames(usize),
}

impl Taps {
    /// How many there are.
    pub(crate) const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Square(side) => side * side,
            Self::Frames(frames) => frames,
        }
    }

    /// The shape of `weight`.
    fn weight_shape(self, outputs: usize, inputs: usize) -> Vec<usize> {
        match self {
            Self::One => vec![outputs, inputs],
            Self::Square(side) => vec![outputs, inputs, side, side],
            Self::Frames(frames) => vec![outputs, inputs, frames, 1, 1],
        }
    }

    /// The shape of the weight of a convolution of planes: frames go down.
    fn plane_shape(self, outputs: usize, inputs: usize) -> [usize; 4] {
        match self {
            Self::One => [outputs, inputs, 1, 1],
            Self::Square(side) => [outputs, inputs, side, side],
            Self::Frames(frames) => [outputs, inputs, frames, 1],
        }
    }
}

/// The weights of a layer on its backend.
#[derive(Debug)]
pub(crate) enum Matrix {
    Cpu(PackedMatrix),
    Candle(CandleMatrix),
    Declared { out_channels: usize },
}

/// Weights on a candle device.
#[derive(Debug)]
pub(crate) struct CandleMatrix {
    /// `[in, out]`, or `[out, in, down, across]` of a convolution.
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) gated: bool,
}

impl Matrix {
    /// Takes `weight` and `bias` of every part; the parts' outputs lie side by side.
    pub(crate) fn load(ops: &Ops, parts: &[(&Scope<'_>, usize)], config: MatrixConfig) -> Result<Self> {
        let MatrixConfig { in_channels, taps, bias, gated } = config;
        let weight_rows = parts.iter().map(|(_, rows)| rows).sum();
        let out_channels = if gated { weight_rows / 2 } else { weight_rows };
        let weight_shape = |rows: usize| taps.weight_shape(rows, in_channels);
        match &ops.backend {
            Backend::Cpu(cpu) => {
                let half = cpu.precision == Precision::Bf16;
                let layout = MatrixLayout::plan(cpu.kernels.path(), half, in_channels, taps.count(), weight_rows, gated)?;
                let Some((first, _)) = parts.first() else {
                    return Err(Error::Device("a layer of no parts".into()));
                };
                // Joined layers are kept under the name of the first.
                let (weight_name, bias_name) = (first.full_name("weight"), first.full_name("bias"));
                if let Some(Packed::Mapped(file)) = first.packed() {
                    let weights = file.piece(&weight_name, layout.weights_bytes())?;
                    let bias = file.piece(&bias_name, layout.bias_bytes())?;
                    return Ok(Self::Cpu(PackedMatrix::mapped(layout, weights, bias)?));
                }
                let packer = packed_parts(layout, parts, weight_shape, bias)?;
                if let Some(Packed::Writing(writer)) = first.packed() {
                    writer.put(weight_name, packer.weights_as_bytes())?;
                    writer.put(bias_name, packer.bias_as_bytes())?;
                    return Ok(Self::Declared { out_channels });
                }
                Ok(Self::Cpu(packer.finish()?))
            }
            Backend::Candle(candle) => {
                let (mut weights, mut biases) = (Vec::new(), Vec::new());
                for (scope, rows) in parts {
                    let shape = weight_shape(*rows);
                    weights.push(candle.upload(&taken(scope, "weight", &shape)?, shape)?);
                    if bias {
                        biases.push(candle.upload(&taken(scope, "bias", &[*rows])?, *rows)?);
                    }
                }
                let weight = Tensor::cat(&weights, 0)?;
                let weight = match taps {
                    Taps::One => weight.t()?.contiguous()?,
                    convolution => weight.reshape(&convolution.plane_shape(weight_rows, in_channels))?,
                };
                let bias = if bias { Some(Tensor::cat(&biases, 0)?) } else { None };
                Ok(Self::Candle(CandleMatrix { weight, bias, in_channels, out_channels, gated }))
            }
            Backend::Declaring => {
                for (scope, rows) in parts {
                    scope.take("weight", &weight_shape(*rows))?;
                    if bias {
                        scope.take("bias", &[*rows])?;
                    }
                }
                Ok(Self::Declared { out_channels })
            }
        }
    }

    /// Channels of the result.
    pub(crate) fn out_channels(&self) -> usize {
        match self {
            Self::Cpu(matrix) => matrix.out_channels(),
            Self::Candle(matrix) => matrix.out_channels,
            Self::Declared { out_channels } => *out_channels,
        }
    }

    /// Checks an epilogue against the shape of the result.
    pub(crate) fn check_epilogue(&self, epilogue: &Epilogue<'_>, shape: Shape) -> Result<()> {
        if let Some(per_row) = epilogue.per_row {
            // One for every row, or for every run of equally many.
            let vectors = per_row.shape().rows;
            let vectors = if vectors > 0 && shape.rows.is_multiple_of(vectors) { vectors } else { shape.rows };
            expect_shape("the vectors per row", per_row.shape(), Shape::vectors(vectors, shape.channels))?;
        }
        if let Some(residual) = epilogue.residual {
            expect_shape("the residual", residual.shape(), shape)?;
        }
        if let Some(blend) = epilogue.blend {
            expect_shape("what a result is blended with", blend.with.shape(), shape)?;
        }
        let gated = match self {
            Self::Cpu(matrix) => matrix.gated(),
            Self::Candle(matrix) => matrix.gated,
            Self::Declared { .. } => return Err(declared()),
        };
        if let Some(slopes) = epilogue.slopes {
            expect_channels("the slopes of an epilogue", slopes.channels(), shape.channels)?;
        }
        if gated && (epilogue.per_row.is_some() || epilogue.slopes.is_some() || epilogue.function != Function::Identity) {
            return Err(Error::Device("a gated layer has no other function, no slopes and no vector per row".into()));
        }
        Ok(())
    }
}

/// Takes and packs the weights, and where there are any the biases, of every part.
fn packed_parts(
    layout: MatrixLayout,
    parts: &[(&Scope<'_>, usize)],
    weight_shape: impl Fn(usize) -> Vec<usize>,
    bias: bool,
) -> Result<MatrixPacker> {
    let mut layout = Some(layout);
    let mut packer = None;
    let mut first_row = 0;
    for (scope, rows) in parts {
        let weight = taken(scope, "weight", &weight_shape(*rows))?;
        // Allocated only now that a weight of the promised size is there: a configuration alone may claim anything.
        if let Some(layout) = layout.take() {
            packer = Some(layout.packer()?);
        }
        if let Some(packer) = &mut packer {
            packer.pack(&weight, first_row)?;
            drop(weight);
            if bias {
                packer.pack_bias(&taken(scope, "bias", &[*rows])?, first_row);
            }
        }
        first_row += rows;
    }
    if let Some(packer) = &mut packer {
        packer.seal();
    }
    packer.ok_or_else(|| Error::Device("a layer of no parts".into()))
}

/// The product of `input` and `matrix` on the CPU. The caller has checked channels and epilogue.
pub(crate) fn multiply_on_cpu(
    cpu: &Cpu,
    matrix: &PackedMatrix,
    input: &Activation,
    geometry: Geometry,
    epilogue: &Epilogue<'_>,
    shape: Shape,
) -> Result<Activation> {
    let channels = matrix.in_channels();
    if matrix.arrangement() == Arrangement::PairedPanels {
        let padded = channels.next_multiple_of(2);
        let converted;
        let values = match input.values()? {
            Values::Bf16(values) if padded == channels => values,
            values if padded == channels => {
                let mut target = cpu.arena.take::<bf16>(input.shape().elements())?;
                cpu.convert(values, &mut target);
                converted = target;
                &*converted
            }
            values => {
                let mut target = cpu.arena.take::<bf16>(input.shape().elements() / channels * padded)?;
                pad_positions(cpu, &cpu.as_f32(values)?, channels, padded, &mut target);
                converted = target;
                &*converted
            }
        };
        multiply_strided_on_cpu(cpu, matrix, (Values::Bf16(values), padded), geometry, epilogue, shape)
    } else {
        let values = cpu.as_f32(input.values()?)?;
        multiply_strided_on_cpu(cpu, matrix, (Values::F32(&values), channels), geometry, epilogue, shape)
    }
}

/// The same of values in the type of the weights' arrangement, with the number of values from one position to the next: at least the
/// channels of the input, rounded up to a pair where weights are paired, and every value of these finite.
pub(crate) fn multiply_strided_on_cpu(
    cpu: &Cpu,
    matrix: &PackedMatrix,
    (input, input_stride): (Values<'_>, usize),
    geometry: Geometry,
    epilogue: &Epilogue<'_>,
    shape: Shape,
) -> Result<Activation> {
    let finish = Finish {
        bias: matrix.bias(),
        per_row: epilogue.per_row.map(Activation::stream).transpose()?,
        residual: epilogue.residual.map(Activation::stream).transpose()?,
        function: epilogue.function,
        gated: matrix.gated(),
        blend: epilogue.blend.map(|blend| Ok::<_, Error>((blend.with.stream()?, blend.share))).transpose()?,
        slopes: epilogue.slopes.map(Slopes::values).transpose()?,
        channels: matrix.out_channels(),
        positions: match epilogue.per_row {
            Some(per_row) => shape.rows * shape.positions() / per_row.shape().rows.max(1),
            None => geometry.positions(),
        },
    };
    let mut storage = cpu.result(shape, epilogue.output)?;
    let product = Product { matrix, input, input_stride, geometry, finish };
    with_result!(&mut storage, output => run(cpu.kernels, &cpu.arena, &product, output))?;
    debug_assert!(cpu.kernels.path() != KernelPath::Gemm || matrix.arrangement() == Arrangement::Plain);
    Ok(Activation { shape, storage })
}

/// Copies positions of `channels` values to positions of `padded`, with zeros at their ends.
fn pad_positions(cpu: &Cpu, values: &[f32], channels: usize, padded: usize, output: &mut [bf16]) {
    let positions = (TASK_VALUES / padded).max(1);
    let tasks = output.par_chunks_mut(positions * padded).zip(values.par_chunks(positions * channels));
    tasks.for_each(|(output, values)| {
        for (output, values) in output.chunks_exact_mut(padded).zip(values.chunks_exact(channels)) {
            loops::convert(cpu.kernels.level(), values, &mut output[..channels]);
            output[channels..].fill(bf16::narrow(0.0));
        }
    });
}

impl CandleMatrix {
    /// Bias, gate and epilogue on `[rows, positions, columns]`.
    pub(crate) fn finish(&self, candle: &Candle, product: Tensor, epilogue: &Epilogue<'_>, shape: Shape) -> Result<Activation> {
        let mut product = product;
        if let Some(bias) = &self.bias {
            product = product.broadcast_add(bias)?;
        }
        if let Some(per_row) = epilogue.per_row {
            let runs = product.reshape((per_row.shape().rows, (), shape.channels))?;
            product = runs.broadcast_add(&per_row.tensor()?)?.reshape((shape.rows, shape.positions(), shape.channels))?;
        }
        if self.gated {
            let values = product.narrow(2, 0, self.out_channels)?;
            let gates = product.narrow(2, self.out_channels, self.out_channels)?.contiguous()?;
            product = (values * gates.gelu_erf()?)?;
        }
        product = match epilogue.function {
            Function::Identity => product,
            Function::Silu => product.silu()?,
            Function::QuickGelu => (&product * candle_nn::ops::sigmoid(&(&product * 1.702)?)?)?,
            Function::Gelu => product.gelu_erf()?,
        };
        if let Some(residual) = epilogue.residual {
            product = (product + residual.tensor()?)?;
        }
        if let Some(Blend { with, share }) = epilogue.blend {
            product = ((with.tensor()? * f64::from(share))? + (product * f64::from(1.0 - share))?)?;
        }
        if let Some(slopes) = epilogue.slopes {
            product = (product.relu()? - product.neg()?.relu()?.broadcast_mul(&slopes.tensor()?)?)?;
        }
        candle.activation(&product, shape)
    }
}

/// The backend and the weights do not belong together.
pub(crate) fn mismatched(matrix: &Matrix) -> Error {
    if matches!(matrix, Matrix::Declared { .. }) { declared() } else { foreign() }
}
