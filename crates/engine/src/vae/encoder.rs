//! The encoder half: picture to moments.

use super::mid_block::MidBlock;
use super::{Moments, NORM_EPSILON, VaeConfig, resnet_config};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::ops::{Conv2d, Conv2dConfig, Epilogue, GroupNorm, Interrupt, Ops, Output, Padding};
use crate::unet::{Resnet, conv_1x1, conv_3x3};
use crate::vision::Picture;
use crate::weights::Scope;

/// Padding of the halving convolutions: right and below only.
const HALVING: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

/// The encoder and, where there is one, the last convolution of the moments.
#[derive(Debug)]
pub(crate) struct EncoderHalf {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
}

impl EncoderHalf {
    /// `scope`: of the whole autoencoder.
    pub(crate) fn load(ops: &Ops, scope: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let moments = 2 * config.latent_channels;
        let quant_conv = || Conv2d::load(ops, &scope.enter("quant_conv"), conv_1x1(moments, moments));
        Ok(Self {
            encoder: Encoder::load(ops, &scope.enter("encoder"), config)?,
            quant_conv: config.use_quant_conv.then(quant_conv).transpose()?,
        })
    }

    /// A picture (values −1…1, sides multiples of the factor of `config`) to the moments of its unscaled latents.
    pub(crate) fn encode(&self, ops: &Ops, config: &VaeConfig, picture: &Picture, interrupt: &Interrupt) -> Result<Moments> {
        let (factor, channels) = (config.factor(), config.in_channels);
        let Picture { height, width, .. } = *picture;
        let whole = height > 0 && width > 0 && height.is_multiple_of(factor) && width.is_multiple_of(factor);
        if !whole || picture.channels != channels || picture.values.len() != height * width * channels {
            let reason = format!(
                "a picture of {height}×{width}×{}; sides must be multiples of {factor}, channels {channels}",
                picture.channels
            );
            return Err(Error::request("init_image", reason));
        }
        let input = ops.upload(Shape::new(1, height, width, channels), &picture.values)?;
        let mut moments = self.encoder.forward(ops, &input, interrupt)?;
        if let Some(quant_conv) = &self.quant_conv {
            moments = quant_conv.forward(ops, &moments, Epilogue::default())?;
        }
        let (shape, values) = (moments.shape(), ops.download(&moments)?);

        let latent_channels = config.latent_channels;
        let mut mean = Latent::zeros(1, shape.height, shape.width, latent_channels);
        let mut log_variance = mean.clone();
        let targets = mean.values.chunks_exact_mut(latent_channels).zip(log_variance.values.chunks_exact_mut(latent_channels));
        for (position, (mean, log_variance)) in values.chunks_exact(2 * latent_channels).zip(targets) {
            let (first, second) = position.split_at(latent_channels);
            mean.copy_from_slice(first);
            for (target, value) in log_variance.iter_mut().zip(second) {
                *target = value.clamp(-30.0, 20.0);
            }
        }
        Ok(Moments { mean, log_variance })
    }
}

#[derive(Debug)]
struct Encoder {
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
    fn load(ops: &Ops, scope: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
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

    fn forward(&self, ops: &Ops, picture: &Activation, interrupt: &Interrupt) -> Result<Activation> {
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
