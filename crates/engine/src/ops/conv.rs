//! Convolution.

use candle_core::Tensor;

use super::kernels::matrix::Geometry;
use super::matrix::{CandleMatrix, Matrix, MatrixConfig, Taps, mismatched, multiply_on_cpu, multiply_strided_on_cpu};
use super::storage::{Backend, Candle, expect_channels};
use super::{Epilogue, Growing, Ops};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::weights::Scope;

/// Zeros around the input, in positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// Left.
    pub left: usize,
    /// Below.
    pub bottom: usize,
    /// Right.
    pub right: usize,
}

impl Padding {
    /// The same on all sides.
    pub const fn all(padding: usize) -> Self {
        Self { top: padding, left: padding, bottom: padding, right: padding }
    }
}

/// The geometry of a convolution with a square kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Step between outputs, both axes.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
}

impl Conv2dConfig {
    /// Height and width of the result for an input; an error when the kernel does not fit.
    fn output(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let Padding { top, left, bottom, right } = self.padding;
        let along = |length: usize, before: usize, after: usize| {
            let steps = (length + before + after).checked_sub(self.kernel)? / self.stride;
            Some(steps + 1)
        };
        along(height, top, bottom).zip(along(width, left, right)).ok_or_else(|| {
            Error::Device(format!("a {0} × {0} convolution does not fit an input of {height} × {width}", self.kernel))
        })
    }
}

/// A convolution with its packed weights (`weight`: `[out, in, k, k]`, `bias`: `[out]`).
#[derive(Debug)]
pub struct Conv2d {
    config: Conv2dConfig,
    matrix: Matrix,
}

impl Conv2d {
    /// Reads and packs `weight` and `bias`.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: Conv2dConfig) -> Result<Self> {
        Self::load_with(ops, scope, config, true)
    }

    /// Reads and packs `weight`; there is no bias.
    pub fn load_without_bias(ops: &Ops, scope: &Scope<'_>, config: Conv2dConfig) -> Result<Self> {
        Self::load_with(ops, scope, config, false)
    }

    fn load_with(ops: &Ops, scope: &Scope<'_>, config: Conv2dConfig, bias: bool) -> Result<Self> {
        let Conv2dConfig { in_channels, out_channels, kernel, stride, .. } = config;
        if kernel == 0 || stride == 0 {
            return Err(Error::checkpoint(
                scope.component(),
                format!("{}: kernel and stride must be at least 1", scope.path("weight")),
            ));
        }
        let matrix_config = MatrixConfig { in_channels, taps: Taps::Square(kernel), bias, gated: false };
        Ok(Self { config, matrix: Matrix::load(ops, &[(scope, out_channels)], matrix_config)? })
    }

    /// The convolution and its epilogue.
    pub fn forward(&self, ops: &Ops, input: &Activation, epilogue: Epilogue<'_>) -> Result<Activation> {
        let (geometry, shape) = self.result_of(input.shape(), &epilogue)?;
        match (&ops.backend, &self.matrix) {
            (Backend::Cpu(cpu), Matrix::Cpu(matrix)) => multiply_on_cpu(cpu, matrix, input, geometry, &epilogue, shape),
            (Backend::Candle(candle), Matrix::Candle(matrix)) => {
                self.convolve(candle, matrix, &input.tensor()?, geometry, &epilogue, shape)
            }
            (_, matrix) => Err(mismatched(matrix)),
        }
    }

    /// The same over the channels that `input` has by now.
    pub fn forward_grown(&self, ops: &Ops, input: &Growing, epilogue: Epilogue<'_>) -> Result<Activation> {
        let (geometry, shape) = self.result_of(input.shape(), &epilogue)?;
        match (&ops.backend, &self.matrix) {
            (Backend::Cpu(cpu), Matrix::Cpu(matrix)) => input.with_values(cpu, matrix.arrangement(), |values, stride| {
                multiply_strided_on_cpu(cpu, matrix, (values, stride), geometry, &epilogue, shape)
            }),
            (Backend::Candle(candle), Matrix::Candle(matrix)) => {
                self.convolve(candle, matrix, &input.tensor()?, geometry, &epilogue, shape)
            }
            (_, matrix) => Err(mismatched(matrix)),
        }
    }

    /// Where the taps look, and the shape of the result, for an input of `shape`.
    fn result_of(&self, shape: Shape, epilogue: &Epilogue<'_>) -> Result<(Geometry, Shape)> {
        let Conv2dConfig { in_channels, out_channels, kernel, stride, padding } = self.config;
        let Shape { rows, height, width, channels } = shape;
        expect_channels("a convolution", channels, in_channels)?;
        let output = self.config.output(height, width)?;
        let shape = Shape::new(rows, output.0, output.1, out_channels);
        self.matrix.check_epilogue(epilogue, shape)?;
        let padding = (padding.top, padding.left);
        Ok((Geometry { rows, input: (height, width), output, kernel: (kernel, kernel), stride, padding }, shape))
    }

    /// The convolution of `[rows, positions, channels]` on a candle device.
    fn convolve(
        &self,
        candle: &Candle,
        matrix: &CandleMatrix,
        input: &Tensor,
        geometry: Geometry,
        epilogue: &Epilogue<'_>,
        shape: Shape,
    ) -> Result<Activation> {
        let Padding { top, left, bottom, right } = self.config.padding;
        let Geometry { rows, input: (height, width), output, stride, .. } = geometry;
        let planes = input.reshape((rows, height, width, ()))?.permute((0, 3, 1, 2))?.contiguous()?;
        let planes = planes.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
        let product = convolve_in_bands(&planes, &matrix.weight, stride, output)?;
        let product = product.permute((0, 2, 3, 1))?.contiguous()?.reshape((rows, shape.positions(), shape.channels))?;
        matrix.finish(candle, product, epilogue, shape)
    }
}

/// candle's convolution of padded planes, one row of the batch and a band of the height at a time: its im2col buffer grows with
/// the result, and beyond 2^32 elements its CUDA kernel leaves a part unwritten.
pub(super) fn convolve_in_bands(planes: &Tensor, weight: &Tensor, stride: usize, output: (usize, usize)) -> Result<Tensor> {
    const MOST_COLUMN_ELEMENTS: usize = 128 << 20;
    let (rows, channels, _, _) = planes.dims4()?;
    let (_, _, down, across) = weight.dims4()?;
    let line = output.1 * channels * down * across;
    if rows * output.0 * line <= MOST_COLUMN_ELEMENTS {
        return Ok(planes.conv2d(weight, 0, stride, 1, 1)?);
    }
    let lines = (MOST_COLUMN_ELEMENTS / line).clamp(1, output.0);
    let mut results = Vec::with_capacity(rows);
    for row in 0..rows {
        let plane = planes.narrow(0, row, 1)?;
        let mut bands = Vec::with_capacity(output.0.div_ceil(lines));
        for first in (0..output.0).step_by(lines) {
            let count = lines.min(output.0 - first);
            let band = plane.narrow(2, first * stride, (count - 1) * stride + down)?.contiguous()?;
            bands.push(band.conv2d(weight, 0, stride, 1, 1)?);
        }
        results.push(Tensor::cat(&bands, 2)?);
    }
    Ok(Tensor::cat(&results, 0)?)
}
