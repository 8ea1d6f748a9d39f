//! Convolution over the frames of a clip.

use super::conv::convolve_in_bands;
use super::kernels::matrix::Geometry;
use super::matrix::{Matrix, MatrixConfig, Taps, mismatched, multiply_on_cpu};
use super::storage::{Backend, expect_channels};
use super::{Epilogue, Ops};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::weights::Scope;

/// Frames that a tap looks back, and ahead.
const REACH: usize = 1;
/// Taps of the kernel.
const TAPS: usize = 2 * REACH + 1;

/// A convolution of every position over the frame before, its own and the one after, with its packed weights (`weight`:
/// `[out, in, 3, 1, 1]`, `bias`: `[out]`). Frames outside the clip are zero.
///
/// The frames stay where they are: to the kernels a clip is a plane of frames × positions, and the three taps are three rows of it.
#[derive(Debug)]
pub struct FrameConv {
    matrix: Matrix,
    in_channels: usize,
}

impl FrameConv {
    /// Reads and packs `weight` and `bias`.
    pub fn load(ops: &Ops, scope: &Scope<'_>, in_channels: usize, out_channels: usize) -> Result<Self> {
        let config = MatrixConfig { in_channels, taps: Taps::Frames(TAPS), bias: true, gated: false };
        Ok(Self { matrix: Matrix::load(ops, &[(scope, out_channels)], config)?, in_channels })
    }

    /// The convolution and its epilogue. Every `frames` rows of `input` are a clip.
    pub fn forward(&self, ops: &Ops, input: &Activation, frames: usize, epilogue: Epilogue<'_>) -> Result<Activation> {
        expect_channels("a convolution over frames", input.shape().channels, self.in_channels)?;
        let shape = input.shape().with_channels(self.matrix.out_channels());
        let (clips, positions) = (clips_of(shape, frames)?, shape.positions());
        self.matrix.check_epilogue(&epilogue, shape)?;
        match (&ops.backend, &self.matrix) {
            (Backend::Cpu(cpu), Matrix::Cpu(matrix)) => {
                let geometry = Geometry {
                    rows: clips,
                    input: (frames, positions),
                    output: (frames, positions),
                    kernel: (TAPS, 1),
                    stride: 1,
                    padding: (REACH, 0),
                };
                multiply_on_cpu(cpu, matrix, input, geometry, &epilogue, shape)
            }
            (Backend::Candle(candle), Matrix::Candle(matrix)) => {
                let planes = input.tensor()?.reshape((clips, frames, positions, self.in_channels))?;
                let planes = planes.permute((0, 3, 1, 2))?.contiguous()?.pad_with_zeros(2, REACH, REACH)?;
                let product = convolve_in_bands(&planes, &matrix.weight, 1, (frames, positions))?;
                let product = product.permute((0, 2, 3, 1))?.contiguous()?.reshape((shape.rows, positions, shape.channels))?;
                matrix.finish(candle, product, &epilogue, shape)
            }
            (_, matrix) => Err(mismatched(matrix)),
        }
    }
}

/// How many clips of `frames` the rows of `shape` are.
pub(super) fn clips_of(shape: Shape, frames: usize) -> Result<usize> {
    if frames > 0 && shape.rows.is_multiple_of(frames) {
        Ok(shape.rows / frames)
    } else {
        Err(Error::Device(format!("{} rows are no clips of {frames} frames", shape.rows)))
    }
}
