//! Matrix products over channels: the one-tap case of a convolution.

use super::kernels::matrix::Geometry;
use super::matrix::{Matrix, MatrixConfig, Taps, mismatched, multiply_on_cpu};
use super::storage::{Backend, expect_channels};
use super::{Epilogue, Ops};
use crate::activation::Activation;
use crate::error::Result;
use crate::weights::Scope;

/// A linear layer with its packed weights (`weight`: `[out, in]`, `bias`: `[out]`).
#[derive(Debug)]
pub struct Linear {
    matrix: Matrix,
    in_channels: usize,
}

impl Linear {
    /// Reads and packs `weight` and, when asked, `bias`.
    pub fn load(ops: &Ops, scope: &Scope<'_>, in_channels: usize, out_channels: usize, bias: bool) -> Result<Self> {
        Self::load_parts(ops, &[(scope, out_channels)], in_channels, bias, false)
    }

    /// Several layers over one input as one product; their outputs lie side by side in the channels.
    /// `parts`: each layer's scope and output channels; `bias` holds for all.
    pub fn load_joined(ops: &Ops, parts: &[(Scope<'_>, usize)], in_channels: usize, bias: bool) -> Result<Self> {
        let parts: Vec<_> = parts.iter().map(|(scope, out_channels)| (scope, *out_channels)).collect();
        Self::load_parts(ops, &parts, in_channels, bias, false)
    }

    /// GEGLU's projection: `weight` [2·inner, in], first half values, second half gates; forward gives `value · gelu(gate)`
    /// (erf), `inner` channels.
    pub fn load_geglu(ops: &Ops, scope: &Scope<'_>, in_channels: usize, inner_channels: usize) -> Result<Self> {
        Self::load_parts(ops, &[(scope, 2 * inner_channels)], in_channels, true, true)
    }

    fn load_parts(ops: &Ops, parts: &[(&Scope<'_>, usize)], in_channels: usize, bias: bool, gated: bool) -> Result<Self> {
        let config = MatrixConfig { in_channels, taps: Taps::One, bias, gated };
        Ok(Self { matrix: Matrix::load(ops, parts, config)?, in_channels })
    }

    /// Channels of the result.
    pub fn out_channels(&self) -> usize {
        self.matrix.out_channels()
    }

    /// The product and its epilogue.
    pub fn forward(&self, ops: &Ops, input: &Activation, epilogue: Epilogue<'_>) -> Result<Activation> {
        expect_channels("a linear layer", input.shape().channels, self.in_channels)?;
        let shape = input.shape().with_channels(self.out_channels());
        self.matrix.check_epilogue(&epilogue, shape)?;
        match (&ops.backend, &self.matrix) {
            (Backend::Cpu(cpu), Matrix::Cpu(matrix)) => {
                let geometry = Geometry::pointwise(shape.rows, shape.positions());
                multiply_on_cpu(cpu, matrix, input, geometry, &epilogue, shape)
            }
            (Backend::Candle(candle), Matrix::Candle(matrix)) => {
                let positions = shape.rows * shape.positions();
                let product = input.tensor()?.reshape((positions, matrix.in_channels))?.matmul(&matrix.weight)?;
                let product = product.reshape((shape.rows, shape.positions(), ()))?;
                matrix.finish(candle, product, &epilogue, shape)
            }
            (_, matrix) => Err(mismatched(matrix)),
        }
    }
}
