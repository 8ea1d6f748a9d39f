//! The encoder half: picture to moments.

use super::mid_block::MidBlock;
use super::{NORM_EPSILON, VaeConfig, resnet_config};
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Conv2d, Conv2dConfig, Epilogue, GroupNorm, Interrupt, Ops, Output, Padding};
use crate::unet::{Resnet, conv_3x3};
use crate::weights::Scope;

/// Padding of the halving convolutions: right and below only.
const HALVING: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    mid_block: MidBlock,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Debug)]
struct Level {
    resnets: Vec<Resnet>,
    downsampler: Option<Conv2d>,
}

impl Encoder {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let mut channels = config.block_out_channels[0];
        let conv_in = Conv2d::load(ops, &scope.enter("conv_in"), conv_3x3(config.in_channels, channels))?;
        let mut levels = Vec::new();
        for (index, &out_channels) in config.block_out_channels.iter().enumerate() {
            let scope = scope.enter("down_blocks").enter(index);
            let mut resnets = Vec::new();
            for layer in 0..config.layers_per_block {
                let shape = resnet_config(config, channels, out_channels);
                resnets.push(Resnet::load(ops, &scope.enter("resnets").enter(layer), shape)?);
                channels = out_channels;
            }
            let downsampler = (index + 1 < config.levels())
                .then(|| {
                    let halving = Conv2dConfig { stride: 2, padding: HALVING, ..conv_3x3(channels, channels) };
                    Conv2d::load(ops, &scope.enter("downsamplers").enter(0).enter("conv"), halving)
                })
                .transpose()?;
            levels.push(Level { resnets, downsampler });
        }
        Ok(Self {
            conv_in,
            levels,
            mid_block: MidBlock::load(ops, &scope.enter("mid_block"), config, channels)?,
            norm_out: GroupNorm::load(ops, &scope.enter("conv_norm_out"), channels, config.norm_num_groups, NORM_EPSILON)?,
            conv_out: Conv2d::load(ops, &scope.enter("conv_out"), conv_3x3(channels, 2 * config.latent_channels))?,
        })
    }

    pub(super) fn forward(&self, ops: &Ops, picture: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let mut hidden = self.conv_in.forward(ops, picture, Epilogue::default())?;
        for level in &self.levels {
            for resnet in &level.resnets {
                hidden = resnet.forward(ops, &hidden, None, interrupt)?;
            }
            if let Some(downsampler) = &level.downsampler {
                hidden = downsampler.forward(ops, &hidden, Epilogue::default())?;
            }
        }
        hidden = self.mid_block.forward(ops, &hidden, interrupt)?;
        let normed = self.norm_out.forward(ops, &hidden, true, Output::Operand)?;
        self.conv_out.forward(ops, &normed, Epilogue::default())
    }
}
