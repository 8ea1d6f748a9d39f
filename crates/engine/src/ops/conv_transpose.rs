//! Transposed convolution that doubles both sides: kernel 4, stride 2, padding 1.
//!
//! Every output position sees four input positions, through the taps of its own parity. So it is four ordinary 2 × 2 convolutions
//! whose results lie between each other: row 2m sees rows m − 1 and m through the kernel's rows 3 and 1, row 2m + 1 sees rows m and
//! m + 1 through its rows 2 and 0; columns alike.

use super::conv::{Conv2d, Conv2dConfig, Padding};
use super::shuffle::interleave;
use super::{Epilogue, Ops};
use crate::activation::Activation;
use crate::error::Result;
use crate::weights::{Prepared, Scope};

/// Side of the kernel.
const KERNEL: usize = 4;
/// The kernel's rows (and columns) that even and odd outputs see, in the order of the input.
const TAPS: [[usize; 2]; 2] = [[3, 1], [2, 0]];

/// A transposed convolution with its packed weights (`weight`: `[in, out, 4, 4]`, `bias`: `[out]`).
#[derive(Debug)]
pub struct ConvTranspose2d {
    /// For even rows and even columns, even and odd, odd and even, odd and odd.
    phases: [Conv2d; 4],
}

impl ConvTranspose2d {
    /// Reads and packs `weight` and `bias`.
    pub fn load(ops: &Ops, scope: &Scope<'_>, in_channels: usize, out_channels: usize) -> Result<Self> {
        let weight = scope.take("weight", &[in_channels, out_channels, KERNEL, KERNEL])?;
        let bias = scope.take("bias", &[out_channels])?;
        let phase = |down: usize, across: usize| {
            let mut source = Prepared::new(scope.component());
            let shape = [out_channels, in_channels, 2, 2];
            source.insert(
                "weight",
                weight.reshaped(&shape, |values| phase_weight(values, in_channels, out_channels, down, across)),
            );
            source.insert("bias", bias.clone());
            let padding = Padding { top: 1 - down, left: 1 - across, bottom: down, right: across };
            Conv2d::load(ops, &Scope::root(&source), Conv2dConfig { in_channels, out_channels, kernel: 2, stride: 1, padding })
        };
        Ok(Self { phases: [phase(0, 0)?, phase(0, 1)?, phase(1, 0)?, phase(1, 1)?] })
    }

    /// The result, twice as high and twice as wide (stream).
    pub fn forward(&self, ops: &Ops, input: &Activation) -> Result<Activation> {
        let [first, second, third, fourth] = &self.phases;
        let phase = |conv: &Conv2d| conv.forward(ops, input, Epilogue::default());
        interleave(ops, &[phase(first)?, phase(second)?, phase(third)?, phase(fourth)?])
    }
}

/// The weights of one phase, `[out, in, 2, 2]`.
fn phase_weight(values: &[f32], in_channels: usize, out_channels: usize, down: usize, across: usize) -> Vec<f32> {
    let mut weight = Vec::with_capacity(out_channels * in_channels * 4);
    for output in 0..out_channels {
        for input in 0..in_channels {
            let kernel = &values[(input * out_channels + output) * KERNEL * KERNEL..][..KERNEL * KERNEL];
            weight.extend(TAPS[down].into_iter().flat_map(|row| TAPS[across].map(|column| kernel[row * KERNEL + column])));
        }
    }
    weight
}
