//! The decoder half: latents to picture.

use super::mid_block::MidBlock;
use super::{NORM_EPSILON, VaeConfig, resnet_config};
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::upsample::upsample_nearest;
use crate::ops::{Conv2d, Epilogue, GroupNorm, Interrupt, Ops, Output};
use crate::unet::{Resnet, conv_3x3};
use crate::weights::Scope;

#[derive(Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    /// From the smallest up.
    levels: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Debug)]
struct Level {
    resnets: Vec<Resnet>,
    upsampler: Option<Conv2d>,
}

impl Decoder {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let mut channels = config.block_out_channels[config.levels() - 1];
        let conv_in = Conv2d::load(ops, &scope.enter("conv_in"), conv_3x3(config.latent_channels, channels))?;
        let mid_block = MidBlock::load(ops, &scope.enter("mid_block"), config, channels)?;
        let mut levels = Vec::new();
        for (index, &out_channels) in config.block_out_channels.iter().rev().enumerate() {
            let scope = scope.enter("up_blocks").enter(index);
            let mut resnets = Vec::new();
            for layer in 0..=config.layers_per_block {
                let shape = resnet_config(config, channels, out_channels);
                resnets.push(Resnet::load(ops, &scope.enter("resnets").enter(layer), shape)?);
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
            norm_out: GroupNorm::load(ops, &scope.enter("conv_norm_out"), channels, config.norm_num_groups, NORM_EPSILON)?,
            conv_out: Conv2d::load(ops, &scope.enter("conv_out"), conv_3x3(channels, config.out_channels))?,
        })
    }

    pub(super) fn forward(&self, ops: &Ops, latents: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let mut hidden = self.conv_in.forward(ops, latents, Epilogue::default())?;
        hidden = self.mid_block.forward(ops, &hidden, interrupt)?;
        for level in &self.levels {
            for resnet in &level.resnets {
                hidden = resnet.forward(ops, &hidden, None, interrupt)?;
            }
            if let Some(upsampler) = &level.upsampler {
                interrupt.check()?;
                let size = hidden.shape();
                let enlarged = upsample_nearest(ops, &hidden, 2 * size.height, 2 * size.width)?;
                drop(hidden);
                hidden = upsampler.forward(ops, &enlarged, Epilogue::default())?;
            }
        }
        let normed = self.norm_out.forward(ops, &hidden, true, Output::Operand)?;
        drop(hidden);
        self.conv_out.forward(ops, &normed, Epilogue::default())
    }
}
