//! The residual convolution pair of every block.

use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Conv2d, Conv2dConfig, DeviceFacts, Epilogue, GroupNorm, Interrupt, Linear, Ops, Output, Padding};
use crate::weights::Scope;

/// What a resnet is built from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetConfig {
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    /// Width of the time embedding; an autoencoder has none.
    pub(crate) time_channels: Option<usize>,
}

/// `conv2(silu(norm2(conv1(silu(norm1(x))) + time)))) + shortcut(x)`.
#[derive(Debug)]
pub(crate) struct Resnet {
    norm_1: GroupNorm,
    conv_1: Conv2d,
    time: Option<Linear>,
    norm_2: GroupNorm,
    conv_2: Conv2d,
    shortcut: Option<Conv2d>,
}

/// A 3×3 convolution that keeps the size.
pub(crate) fn conv_3x3(in_channels: usize, out_channels: usize) -> Conv2dConfig {
    Conv2dConfig { in_channels, out_channels, kernel: 3, stride: 1, padding: Padding::all(1) }
}

/// A 1×1 convolution.
pub(crate) fn conv_1x1(in_channels: usize, out_channels: usize) -> Conv2dConfig {
    Conv2dConfig { in_channels, out_channels, kernel: 1, stride: 1, padding: Padding::default() }
}

impl Resnet {
    pub(crate) fn load(ops: &Ops, scope: &Scope<'_>, config: ResnetConfig) -> Result<Self> {
        let ResnetConfig { in_channels, out_channels, groups, epsilon, time_channels } = config;
        Ok(Self {
            norm_1: GroupNorm::load(ops, &scope.enter("norm1"), in_channels, groups, epsilon)?,
            conv_1: Conv2d::load(ops, &scope.enter("conv1"), conv_3x3(in_channels, out_channels))?,
            time: time_channels
                .map(|channels| Linear::load(ops, &scope.enter("time_emb_proj"), channels, out_channels, true))
                .transpose()?,
            norm_2: GroupNorm::load(ops, &scope.enter("norm2"), out_channels, groups, epsilon)?,
            conv_2: Conv2d::load(ops, &scope.enter("conv2"), conv_3x3(out_channels, out_channels))?,
            shortcut: (in_channels != out_channels)
                .then(|| Conv2d::load(ops, &scope.enter("conv_shortcut"), conv_1x1(in_channels, out_channels)))
                .transpose()?,
        })
    }

    /// `time`: silu of the time embedding, one vector per row, an operand. Normed activations are dropped as soon as they are used:
    /// at full picture size each is hundreds of megabytes.
    pub(crate) fn forward(
        &self,
        ops: &Ops,
        input: &Activation,
        time: Option<&Activation>,
        interrupt: &Interrupt,
    ) -> Result<Activation> {
        interrupt.check()?;
        let time = match (&self.time, time) {
            (Some(layer), Some(time)) => Some(layer.forward(ops, time, Epilogue::default())?),
            _ => None,
        };
        let normed = self.norm_1.forward(ops, input, true, Output::Operand)?;
        let hidden = self.conv_1.forward(ops, &normed, Epilogue { per_row: time.as_ref(), ..Epilogue::default() })?;
        drop(normed);
        let normed = self.norm_2.forward(ops, &hidden, true, Output::Operand)?;
        drop(hidden);
        let shortcut = self.shortcut.as_ref().map(|conv| conv.forward(ops, input, Epilogue::default())).transpose()?;
        let residual = Some(shortcut.as_ref().unwrap_or(input));
        self.conv_2.forward(ops, &normed, Epilogue { residual, ..Epilogue::default() })
    }
}

/// Most bytes per position in use at once in [`Resnet::forward`], its input included.
pub(crate) fn resnet_bytes(in_channels: u64, out_channels: u64, facts: DeviceFacts) -> u64 {
    let (stream, operand) = (facts.stream_bytes(), facts.operand_bytes());
    let multiplied = operand + facts.converted_bytes();
    let input = in_channels * stream;
    let first = input + in_channels * multiplied + out_channels * stream;
    let norm = input + out_channels * (stream + operand);
    let (shortcut, shortcut_held) = if in_channels == out_channels {
        (0, 0)
    } else {
        let copy = in_channels * facts.converted_stream_bytes();
        (input + copy + out_channels * (operand + stream), out_channels * stream)
    };
    let second = input + shortcut_held + out_channels * (multiplied + stream);
    first.max(norm).max(shortcut).max(second)
}
