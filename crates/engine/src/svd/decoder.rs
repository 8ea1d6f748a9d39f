//! The decoder half of the autoencoder: latents of a clip to its pictures.

use super::NORM_GROUPS;
use super::resnet::{BlendKind, PairConfig, ResnetPair};
use super::vae_config::TemporalVaeConfig;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::upsample::upsample_nearest;
use crate::ops::{Conv2d, Epilogue, FrameConv, GroupNorm, Interrupt, Ops, Output};
use crate::unet::conv_3x3;
use crate::vae::{NORM_EPSILON, SpatialAttention};
use crate::weights::Scope;

/// Of the norms over frames.
const TEMPORAL_EPSILON: f32 = 1e-5;

/// diffusers' `TemporalDecoder`.
#[derive(Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    /// From the smallest up.
    levels: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    frame_conv_out: FrameConv,
}

/// Resnets with an attention after the first. Of a third resnet and any further ones, diffusers makes nothing.
#[derive(Debug)]
struct MidBlock {
    resnets: Vec<ResnetPair>,
    attention: SpatialAttention,
}

#[derive(Debug)]
struct Level {
    resnets: Vec<ResnetPair>,
    upsampler: Option<Conv2d>,
}

fn resnet(ops: &Ops, scope: &Scope<'_>, in_channels: usize, out_channels: usize) -> Result<ResnetPair> {
    let config = PairConfig {
        in_channels,
        out_channels,
        epsilon: NORM_EPSILON,
        temporal_epsilon: TEMPORAL_EPSILON,
        time_channels: None,
        blend: BlendKind::Temporal,
    };
    ResnetPair::load(ops, scope, config)
}

impl MidBlock {
    fn load(ops: &Ops, scope: &Scope<'_>, config: &TemporalVaeConfig, channels: usize) -> Result<Self> {
        let resnets = scope.enter("resnets");
        Ok(Self {
            resnets: (0..config.layers_per_block)
                .map(|index| resnet(ops, &resnets.enter(index), channels, channels))
                .collect::<Result<_>>()?,
            attention: SpatialAttention::load(ops, &scope.enter("attentions").enter(0), &config.plain(), channels)?,
        })
    }

    fn forward(&self, ops: &Ops, input: Activation, frames: usize, interrupt: &Interrupt) -> Result<Activation> {
        let mut hidden = input;
        for (index, resnet) in self.resnets.iter().take(2).enumerate() {
            if index == 1 {
                interrupt.check()?;
                hidden = self.attention.forward(ops, &hidden, interrupt)?;
            }
            hidden = resnet.forward(ops, hidden, frames, None, interrupt)?;
        }
        Ok(hidden)
    }
}

impl Decoder {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: &TemporalVaeConfig) -> Result<Self> {
        let mut channels = config.block_out_channels[config.levels() - 1];
        let conv_in = Conv2d::load(ops, &scope.enter("conv_in"), conv_3x3(config.latent_channels, channels))?;
        let mid_block = MidBlock::load(ops, &scope.enter("mid_block"), config, channels)?;
        let mut levels = Vec::new();
        for (index, &out_channels) in config.block_out_channels.iter().rev().enumerate() {
            let scope = scope.enter("up_blocks").enter(index);
            let mut resnets = Vec::new();
            for layer in 0..=config.layers_per_block {
                resnets.push(resnet(ops, &scope.enter("resnets").enter(layer), channels, out_channels)?);
                channels = out_channels;
            }
            let upsampler = (index + 1 < config.levels())
                .then(|| Conv2d::load(ops, &scope.enter("upsamplers").enter(0).enter("conv"), conv_3x3(channels, channels)))
                .transpose()?;
            levels.push(Level { resnets, upsampler });
        }
        Ok(Self {
            conv_in,
            mid_block,
            levels,
            norm_out: GroupNorm::load(ops, &scope.enter("conv_norm_out"), channels, NORM_GROUPS, NORM_EPSILON)?,
            conv_out: Conv2d::load(ops, &scope.enter("conv_out"), conv_3x3(channels, config.out_channels))?,
            frame_conv_out: FrameConv::load(ops, &scope.enter("time_conv_out"), config.out_channels, config.out_channels)?,
        })
    }

    /// `latents`: the frames of one clip.
    pub(super) fn forward(&self, ops: &Ops, latents: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let frames = latents.shape().rows;
        let mut hidden = self.conv_in.forward(ops, latents, Epilogue::default())?;
        hidden = self.mid_block.forward(ops, hidden, frames, interrupt)?;
        for level in &self.levels {
            for resnet in &level.resnets {
                hidden = resnet.forward(ops, hidden, frames, None, interrupt)?;
            }
            if let Some(upsampler) = &level.upsampler {
                interrupt.check()?;
                let size = hidden.shape();
                let enlarged = upsample_nearest(ops, &hidden, 2 * size.height, 2 * size.width)?;
                drop(hidden);
                hidden = upsampler.forward(ops, &enlarged, Epilogue::default())?;
            }
        }
        interrupt.check()?;
        let normed = self.norm_out.forward(ops, &hidden, true, Output::Operand)?;
        drop(hidden);
        let pictures = self.conv_out.forward(ops, &normed, Epilogue::default())?;
        drop(normed);
        self.frame_conv_out.forward(ops, &pictures, frames, Epilogue::default())
    }
}
