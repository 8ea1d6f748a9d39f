//! The features of a frame.

use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Conv2d, Conv2dConfig, ConvTranspose2d, Epilogue, Ops, Output, Padding, Slopes};
use crate::unet::conv_3x3;
use crate::weights::Scope;

/// Channels within.
const HIDDEN: usize = 16;
/// Channels of the features.
pub(super) const FEATURES: usize = 4;
/// Of every leaky `ReLU`.
pub(super) const SLOPE: f32 = 0.2;

/// A 3 × 3 convolution that halves both sides.
pub(super) fn halving(in_channels: usize, out_channels: usize) -> Conv2dConfig {
    Conv2dConfig { in_channels, out_channels, kernel: 3, stride: 2, padding: Padding::all(1) }
}

/// The convolutions that every frame goes through once.
#[derive(Debug)]
pub(super) struct Head {
    convolutions: [Conv2d; 3],
    last: ConvTranspose2d,
    slopes: Slopes,
}

impl Head {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>) -> Result<Self> {
        Ok(Self {
            convolutions: [
                Conv2d::load(ops, &scope.enter("cnn0"), halving(3, HIDDEN))?,
                Conv2d::load(ops, &scope.enter("cnn1"), conv_3x3(HIDDEN, HIDDEN))?,
                Conv2d::load(ops, &scope.enter("cnn2"), conv_3x3(HIDDEN, HIDDEN))?,
            ],
            last: ConvTranspose2d::load(ops, &scope.enter("cnn3"), HIDDEN, FEATURES)?,
            slopes: Slopes::constant(ops, HIDDEN, SLOPE)?,
        })
    }

    /// The features of `frame` (values 0…1, even sides), as large as it is.
    pub(super) fn forward(&self, ops: &Ops, frame: &Activation) -> Result<Activation> {
        let epilogue = Epilogue { slopes: Some(&self.slopes), output: Output::Operand, ..Epilogue::default() };
        let [first, second, third] = &self.convolutions;
        let hidden = first.forward(ops, frame, epilogue)?;
        let hidden = second.forward(ops, &hidden, epilogue)?;
        let hidden = third.forward(ops, &hidden, epilogue)?;
        self.last.forward(ops, &hidden)
    }
}
