//! A resnet per frame, one over the frames, and how much of each.

use super::NORM_GROUPS;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Blend, Epilogue, FrameConv, GroupNorm, Interrupt, Linear, Ops, Output, scalar};
use crate::unet::{Resnet, ResnetConfig};
use crate::weights::Scope;

/// What a pair of resnets is built from.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairConfig {
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    /// Of the norms of the resnet per frame.
    pub(super) epsilon: f32,
    /// Of the norms of the one over frames.
    pub(super) temporal_epsilon: f32,
    /// Width of the time embedding; an autoencoder has none.
    pub(super) time_channels: Option<usize>,
    /// Which side the blend's factor is the share of.
    pub(super) blend: BlendKind,
}

/// What `mix_factor` means: both are published (`switch_spatial_to_temporal_mix`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlendKind {
    /// Its sigmoid is the share of the spatial part.
    Spatial,
    /// Its sigmoid is the share of the temporal part.
    Temporal,
}

impl BlendKind {
    /// The spatial part's share, out of `time_mixer.mix_factor`.
    pub(super) fn load(self, ops: &Ops, scope: &Scope<'_>) -> Result<f32> {
        let share = 1.0 / (1.0 + (-scalar(ops, &scope.enter("time_mixer"), "mix_factor")?).exp());
        Ok(match self {
            Self::Spatial => share,
            Self::Temporal => 1.0 - share,
        })
    }
}

/// `share · s + (1 − share) · t`, where s is what the spatial resnet makes of the input, and t what the temporal one makes of s
/// (diffusers' `SpatioTemporalResBlock`).
#[derive(Debug)]
pub(super) struct ResnetPair {
    spatial: Resnet,
    norm_1: GroupNorm,
    conv_1: FrameConv,
    time: Option<Linear>,
    norm_2: GroupNorm,
    conv_2: FrameConv,
    /// Of the spatial part.
    share: f32,
}

impl ResnetPair {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: PairConfig) -> Result<Self> {
        let PairConfig { in_channels, out_channels: channels, epsilon, temporal_epsilon, time_channels, blend } = config;
        let spatial = ResnetConfig { in_channels, out_channels: channels, groups: NORM_GROUPS, epsilon, time_channels };
        let temporal = scope.enter("temporal_res_block");
        let norm = |name: &str| GroupNorm::load(ops, &temporal.enter(name), channels, NORM_GROUPS, temporal_epsilon);
        Ok(Self {
            spatial: Resnet::load(ops, &scope.enter("spatial_res_block"), spatial)?,
            norm_1: norm("norm1")?,
            conv_1: FrameConv::load(ops, &temporal.enter("conv1"), channels, channels)?,
            time: time_channels
                .map(|width| Linear::load(ops, &temporal.enter("time_emb_proj"), width, channels, true))
                .transpose()?,
            norm_2: norm("norm2")?,
            conv_2: FrameConv::load(ops, &temporal.enter("conv2"), channels, channels)?,
            share: blend.load(ops, scope)?,
        })
    }

    /// Every `frames` rows of `input` are a clip. `time`: silu of the time embedding, one vector per clip, an operand.
    pub(super) fn forward(
        &self,
        ops: &Ops,
        input: Activation,
        frames: usize,
        time: Option<&Activation>,
        interrupt: &Interrupt,
    ) -> Result<Activation> {
        let spatial = self.per_frame(ops, &input, time, interrupt)?;
        drop(input);
        self.over_frames(ops, &spatial, frames, time, interrupt)
    }

    /// The first half of [`Self::forward`]. After it the input, which may be large, is not needed any more.
    pub(super) fn per_frame(
        &self,
        ops: &Ops,
        input: &Activation,
        time: Option<&Activation>,
        interrupt: &Interrupt,
    ) -> Result<Activation> {
        self.spatial.forward(ops, input, time, interrupt)
    }

    /// The second half of [`Self::forward`]: of what the first half gave.
    pub(super) fn over_frames(
        &self,
        ops: &Ops,
        spatial: &Activation,
        frames: usize,
        time: Option<&Activation>,
        interrupt: &Interrupt,
    ) -> Result<Activation> {
        interrupt.check()?;
        let time = match (&self.time, time) {
            (Some(layer), Some(time)) => Some(layer.forward(ops, time, Epilogue::default())?),
            _ => None,
        };
        let normed = self.norm_1.forward_over(ops, spatial, frames, true, Output::Operand)?;
        let hidden = self.conv_1.forward(ops, &normed, frames, Epilogue { per_row: time.as_ref(), ..Epilogue::default() })?;
        drop(normed);
        let normed = self.norm_2.forward_over(ops, &hidden, frames, true, Output::Operand)?;
        drop(hidden);
        let blend = Some(Blend { with: spatial, share: self.share });
        self.conv_2.forward(ops, &normed, frames, Epilogue { residual: Some(spatial), blend, ..Epilogue::default() })
    }
}
