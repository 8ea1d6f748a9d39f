//! Down, mid and up blocks.

use super::config::SvdUNetConfig;
use super::resnet::{BlendKind, PairConfig, ResnetPair};
use super::transformer::{Clips, Transformer, TransformerConfig};
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::ops::upsample::upsample_nearest;
use crate::ops::{Conv2d, Conv2dConfig, Epilogue, Interrupt, Ops, elementwise};
use crate::unet::config::BlockKind;
use crate::unet::conv_3x3;
use crate::weights::Scope;

/// Of the resnets' norms in down blocks with attention and in all up blocks; diffusers' `unet_3d_blocks.py` names it there and does not
/// pass on what the network asks for.
const NARROW_EPSILON: f32 = 1e-6;
/// In down blocks without attention, in the mid block, and at the network's end.
pub(super) const WIDE_EPSILON: f32 = 1e-5;

/// What every block of one evaluation sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evaluation<'a> {
    pub(super) ops: &'a Ops,
    /// silu of the time embedding, one vector per clip.
    pub(super) time: &'a Activation,
    pub(super) clips: Clips<'a>,
    pub(super) interrupt: &'a Interrupt,
}

/// Loads the parts of a network and counts its transformers' layers.
#[derive(Debug)]
pub(super) struct Loader<'a> {
    pub(super) ops: &'a Ops,
    pub(super) config: &'a SvdUNetConfig,
    pub(super) transformer_layers: usize,
}

impl Loader<'_> {
    fn resnet(&self, scope: &Scope<'_>, in_channels: usize, out_channels: usize, epsilon: f32) -> Result<ResnetPair> {
        let config = PairConfig {
            in_channels,
            out_channels,
            epsilon,
            temporal_epsilon: epsilon,
            time_channels: Some(self.config.time_channels()),
            blend: BlendKind::Spatial,
        };
        ResnetPair::load(self.ops, scope, config)
    }

    /// A transformer of `level`.
    fn transformer(&mut self, scope: &Scope<'_>, level: usize) -> Result<Transformer> {
        let config = TransformerConfig {
            channels: self.config.block_out_channels[level],
            heads: self.config.attention_heads[level],
            layers: self.config.transformer_layers_per_block[level],
            context_channels: self.config.cross_attention_dim,
        };
        Transformer::load(self.ops, scope, config, &mut self.transformer_layers)
    }

    /// A pair of resnets, and the transformer after it where the block has one.
    fn layer(&mut self, scope: &Scope<'_>, shape: LayerShape, index: usize, in_channels: usize) -> Result<Layer> {
        let LayerShape { kind, level, epsilon } = shape;
        let out_channels = self.config.block_out_channels[level];
        let resnet = self.resnet(&scope.enter("resnets").enter(index), in_channels, out_channels, epsilon)?;
        let transformer = match kind {
            BlockKind::Plain => None,
            BlockKind::CrossAttention => Some(self.transformer(&scope.enter("attentions").enter(index), level)?),
        };
        Ok(Layer { resnet, transformer })
    }
}

/// What the layers of a block have in common.
#[derive(Clone, Copy, Debug)]
struct LayerShape {
    kind: BlockKind,
    level: usize,
    epsilon: f32,
}

/// A pair of resnets and perhaps a transformer.
#[derive(Debug)]
struct Layer {
    resnet: ResnetPair,
    transformer: Option<Transformer>,
}

impl Layer {
    fn forward(&self, evaluation: &Evaluation<'_>, input: &Activation) -> Result<Activation> {
        self.finish(evaluation, self.begin(evaluation, input)?)
    }

    /// What needs the input.
    fn begin(&self, evaluation: &Evaluation<'_>, input: &Activation) -> Result<Activation> {
        self.resnet.per_frame(evaluation.ops, input, Some(evaluation.time), evaluation.interrupt)
    }

    /// The rest.
    fn finish(&self, evaluation: &Evaluation<'_>, begun: Activation) -> Result<Activation> {
        let Evaluation { ops, time, clips, interrupt } = *evaluation;
        let hidden = self.resnet.over_frames(ops, &begun, clips.frames, Some(time), interrupt)?;
        drop(begun);
        match &self.transformer {
            Some(transformer) => transformer.forward(ops, &hidden, clips, interrupt),
            None => Ok(hidden),
        }
    }
}

/// Layers, and a convolution to half the size below all levels but the last.
#[derive(Debug)]
pub(super) struct DownBlock {
    layers: Vec<Layer>,
    downsampler: Option<Conv2d>,
}

impl DownBlock {
    /// `skips`: channels of the skip stack so far; this block's outputs are added.
    pub(super) fn load(loader: &mut Loader<'_>, scope: &Scope<'_>, level: usize, skips: &mut Vec<usize>) -> Result<Self> {
        let channels = loader.config.block_out_channels[level];
        let kind = loader.config.down_blocks[level];
        let epsilon = match kind {
            BlockKind::Plain => WIDE_EPSILON,
            BlockKind::CrossAttention => NARROW_EPSILON,
        };
        let mut layers = Vec::new();
        for index in 0..loader.config.layers_per_block[level] {
            let in_channels = skips.last().copied().unwrap_or(channels);
            layers.push(loader.layer(scope, LayerShape { kind, level, epsilon }, index, in_channels)?);
            skips.push(channels);
        }
        let downsampler = (level + 1 < loader.config.levels())
            .then(|| {
                skips.push(channels);
                let config = Conv2dConfig { stride: 2, ..conv_3x3(channels, channels) };
                Conv2d::load(loader.ops, &scope.enter("downsamplers").enter(0).enter("conv"), config)
            })
            .transpose()?;
        Ok(Self { layers, downsampler })
    }

    /// Continues from the top of the skip stack and leaves every output on it.
    pub(super) fn forward(&self, evaluation: &Evaluation<'_>, skips: &mut Vec<Activation>) -> Result<()> {
        for layer in &self.layers {
            let output = layer.forward(evaluation, top(skips)?)?;
            skips.push(output);
        }
        if let Some(downsampler) = &self.downsampler {
            let output = downsampler.forward(evaluation.ops, top(skips)?, Epilogue::default())?;
            skips.push(output);
        }
        Ok(())
    }

    pub(super) fn transformers(&self) -> impl Iterator<Item = &Transformer> {
        self.layers.iter().filter_map(|layer| layer.transformer.as_ref())
    }
}

/// The last output of the way down.
pub(super) fn top(skips: &[Activation]) -> Result<&Activation> {
    skips.last().ok_or_else(|| Error::checkpoint("unet", "more inputs than the way down left"))
}

/// Resnets, transformer, resnets at the smallest size.
#[derive(Debug)]
pub(super) struct MidBlock {
    first: ResnetPair,
    transformer: Transformer,
    second: ResnetPair,
}

impl MidBlock {
    pub(super) fn load(loader: &mut Loader<'_>, scope: &Scope<'_>) -> Result<Self> {
        let channels = loader.config.last_channels();
        let resnets = scope.enter("resnets");
        Ok(Self {
            first: loader.resnet(&resnets.enter(0), channels, channels, WIDE_EPSILON)?,
            transformer: loader.transformer(&scope.enter("attentions").enter(0), loader.config.levels() - 1)?,
            second: loader.resnet(&resnets.enter(1), channels, channels, WIDE_EPSILON)?,
        })
    }

    pub(super) fn forward(&self, evaluation: &Evaluation<'_>, input: &Activation) -> Result<Activation> {
        let Evaluation { ops, time, clips, interrupt } = *evaluation;
        let begun = self.first.per_frame(ops, input, Some(time), interrupt)?;
        let mut hidden = self.first.over_frames(ops, &begun, clips.frames, Some(time), interrupt)?;
        drop(begun);
        hidden = self.transformer.forward(ops, &hidden, clips, interrupt)?;
        self.second.forward(ops, hidden, clips.frames, Some(time), interrupt)
    }

    pub(super) fn transformer(&self) -> &Transformer {
        &self.transformer
    }
}

/// Layers that each take an output of the way down beside their input, and an enlargement above all levels but the first.
#[derive(Debug)]
pub(super) struct UpBlock {
    layers: Vec<Layer>,
    upsampler: Option<Conv2d>,
}

impl UpBlock {
    /// `index` counts from the smallest level; `channels` is what arrives and, afterwards, what leaves; `skips` loses what is taken.
    pub(super) fn load(
        loader: &mut Loader<'_>,
        scope: &Scope<'_>,
        index: usize,
        channels: &mut usize,
        skips: &mut Vec<usize>,
    ) -> Result<Self> {
        let level = loader.config.levels() - 1 - index;
        let shape = LayerShape { kind: loader.config.up_blocks[index], level, epsilon: NARROW_EPSILON };
        let mut layers = Vec::new();
        for layer in 0..=loader.config.layers_per_block[level] {
            let skip = skips.pop().ok_or_else(|| Error::checkpoint("unet", "more layers up than down"))?;
            layers.push(loader.layer(scope, shape, layer, *channels + skip)?);
            *channels = loader.config.block_out_channels[level];
        }
        let upsampler = (level > 0)
            .then(|| Conv2d::load(loader.ops, &scope.enter("upsamplers").enter(0).enter("conv"), conv_3x3(*channels, *channels)))
            .transpose()?;
        Ok(Self { layers, upsampler })
    }

    /// Enlarges to the size of the skip that comes next, which is not twice its own where a size was odd on the way down.
    pub(super) fn forward(
        &self,
        evaluation: &Evaluation<'_>,
        input: Activation,
        skips: &mut Vec<Activation>,
    ) -> Result<Activation> {
        let ops = evaluation.ops;
        let mut hidden = input;
        for layer in &self.layers {
            let skip = skips.pop().ok_or_else(|| Error::checkpoint("unet", "more layers up than down"))?;
            let joined = elementwise::concatenate_channels(ops, &hidden, &skip)?;
            drop((hidden, skip));
            let begun = layer.begin(evaluation, &joined)?;
            drop(joined);
            hidden = layer.finish(evaluation, begun)?;
        }
        if let Some(upsampler) = &self.upsampler {
            let size = top(skips)?.shape();
            let enlarged = upsample_nearest(ops, &hidden, size.height, size.width)?;
            drop(hidden);
            hidden = upsampler.forward(ops, &enlarged, Epilogue::default())?;
        }
        Ok(hidden)
    }

    pub(super) fn transformers(&self) -> impl Iterator<Item = &Transformer> {
        self.layers.iter().filter_map(|layer| layer.transformer.as_ref())
    }
}
