//! The network.

use super::UNetConfig;
use super::blocks::{DownBlock, Evaluation, Loader, MidBlock, UpBlock, top};
use super::config::TextTimeConfig;
use super::context::Context;
use super::embedding::{EmbeddingLayers, Sinusoid, push_sinusoid};
use super::resnet::conv_3x3;
use super::transformer::Transformer;
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::ops::{Conv2d, Epilogue, GroupNorm, Interrupt, Ops, Output, elementwise};
use crate::weights::Scope;

/// What a `ControlNet` adds: one tensor per skip connection and one for the mid block (channels last, this row's size).
#[derive(Debug, Default)]
pub struct Residuals {
    /// In the order of the skip stack (`conv_in` first).
    pub down: Vec<Activation>,
    /// After the mid block.
    pub mid: Option<Activation>,
}

/// One row of an evaluation. Rows of one call may belong to different requests; their latents have one size.
#[derive(Clone, Copy, Debug)]
pub struct UNetRow<'a> {
    /// The scaled sample.
    pub sample: &'a Latent,
    /// The (possibly fractional) timestep.
    pub timestep: f32,
    /// The prompt's keys and values.
    pub context: &'a Context,
    /// The pooled text embedding.
    pub pooled: &'a [f32],
    /// original height, width, crop top, left, target height, width.
    pub time_ids: &'a [f32],
    /// `ControlNet` residuals, already scaled.
    pub residuals: Option<&'a Residuals>,
}

/// The network with its packed weights.
#[derive(Debug)]
pub struct UNet {
    config: UNetConfig,
    time_embedding: EmbeddingLayers,
    add_embedding: Option<(TextTimeConfig, EmbeddingLayers)>,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet {
    /// Reads and packs every weight.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: &UNetConfig) -> Result<Self> {
        let first = config.block_out_channels.first().copied().unwrap_or_default();
        let time_channels = config.time_channels();
        let mut loader = Loader { ops, config, cross_attentions: 0 };

        let conv_in = Conv2d::load(ops, &scope.enter("conv_in"), conv_3x3(config.in_channels, first))?;
        let time_embedding = EmbeddingLayers::load(ops, &scope.enter("time_embedding"), [first, time_channels, time_channels])?;
        let add_embedding = match config.text_time {
            Some(text_time) => {
                let channels = [text_time.input_dim, time_channels, time_channels];
                Some((text_time, EmbeddingLayers::load(ops, &scope.enter("add_embedding"), channels)?))
            }
            None => None,
        };
        let mut skips = vec![first];
        let mut down_blocks = Vec::new();
        for level in 0..config.levels() {
            down_blocks.push(DownBlock::load(&mut loader, &scope.enter("down_blocks").enter(level), level, &mut skips)?);
        }
        let mid_block = MidBlock::load(&mut loader, &scope.enter("mid_block"))?;
        let mut channels = config.last_channels();
        let mut up_blocks = Vec::new();
        for index in 0..config.levels() {
            let scope = scope.enter("up_blocks").enter(index);
            up_blocks.push(UpBlock::load(&mut loader, &scope, index, &mut channels, &mut skips)?);
        }
        let norm_out = GroupNorm::load(ops, &scope.enter("conv_norm_out"), first, config.norm_num_groups, config.norm_eps)?;
        let conv_out = Conv2d::load(ops, &scope.enter("conv_out"), conv_3x3(first, config.out_channels))?;
        let config = config.clone();
        Ok(Self { config, time_embedding, add_embedding, conv_in, down_blocks, mid_block, up_blocks, norm_out, conv_out })
    }

    /// The configuration.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Keys and values of `tokens × cross_attention_dim` text states for every cross-attention.
    pub fn context(&self, ops: &Ops, states: &[f32], interrupt: &Interrupt) -> Result<Context> {
        let channels = self.config.cross_attention_dim;
        if states.is_empty() || !states.len().is_multiple_of(channels) {
            let reason = format!("{} values are not a number of text states of {channels}", states.len());
            return Err(Error::request("context", reason));
        }
        let states = ops.upload(Shape::sequence(1, states.len() / channels, channels), states)?;
        let mut keys_values = Vec::new();
        for transformer in self.transformers() {
            transformer.push_context(ops, &states, &mut keys_values, interrupt)?;
        }
        Ok(Context { keys_values })
    }

    /// One evaluation of all rows together.
    pub fn evaluate(&self, ops: &Ops, rows: &[UNetRow<'_>], interrupt: &Interrupt) -> Result<Vec<Latent>> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        self.check(rows)?;
        let time = self.time(ops, rows)?;
        let contexts: Vec<&Context> = rows.iter().map(|row| row.context).collect();
        let evaluation = Evaluation { ops, time: &time, contexts: &contexts, interrupt };

        let shape = Shape::new(rows.len(), first.sample.height, first.sample.width, self.config.in_channels);
        let samples: Vec<f32> = rows.iter().flat_map(|row| row.sample.values.iter().copied()).collect();
        let sample = ops.upload(shape, &samples)?;
        let mut skips = vec![self.conv_in.forward(ops, &sample, Epilogue::default())?];
        for block in &self.down_blocks {
            block.forward(&evaluation, &mut skips)?;
        }
        let mut hidden = self.mid_block.forward(&evaluation, top(&skips)?)?;
        add_residuals(ops, rows, &mut skips, &mut hidden)?;
        for block in &self.up_blocks {
            hidden = block.forward(&evaluation, hidden, &mut skips)?;
        }
        let normed = self.norm_out.forward(ops, &hidden, true, Output::Operand)?;
        let output = ops.download(&self.conv_out.forward(ops, &normed, Epilogue::default())?)?;

        let (height, width, channels) = (shape.height, shape.width, self.config.out_channels);
        Ok(output
            .chunks_exact(height * width * channels)
            .map(|values| Latent { frames: 1, height, width, channels, values: values.to_vec() })
            .collect())
    }

    /// silu of the time embedding of every row: timestep, and where the network has it pooled text and sizes. It is what every resnet
    /// projects, so it is computed once.
    fn time(&self, ops: &Ops, rows: &[UNetRow<'_>]) -> Result<Activation> {
        let sinusoid = Sinusoid { flip_sin_to_cos: self.config.flip_sin_to_cos, freq_shift: self.config.freq_shift };
        let mut timesteps = Vec::new();
        for row in rows {
            let channels = self.config.block_out_channels.first().copied().unwrap_or_default();
            push_sinusoid(&mut timesteps, row.timestep, channels, sinusoid);
        }
        let mut embedding = self.time_embedding.forward(ops, rows.len(), &timesteps, None)?;
        if let Some((text_time, layers)) = &self.add_embedding {
            let mut vectors = Vec::with_capacity(rows.len() * text_time.input_dim);
            for row in rows {
                vectors.extend_from_slice(row.pooled);
                for number in row.time_ids {
                    push_sinusoid(&mut vectors, *number, text_time.time_embed_dim, sinusoid);
                }
            }
            embedding = layers.forward(ops, rows.len(), &vectors, Some(&embedding))?;
        }
        elementwise::silu(ops, &embedding, Output::Operand)
    }

    /// In the order of the network, which is that of the layers in a [`Context`].
    fn transformers(&self) -> impl Iterator<Item = &Transformer> {
        let down = self.down_blocks.iter().flat_map(DownBlock::transformers);
        let up = self.up_blocks.iter().flat_map(UpBlock::transformers);
        down.chain([self.mid_block.transformer()]).chain(up)
    }

    /// Rows come from requests; whatever does not fit is an error that names the part of the row.
    fn check(&self, rows: &[UNetRow<'_>]) -> Result<()> {
        let channels = self.config.in_channels;
        let size = |sample: &Latent| (sample.height, sample.width);
        for row in rows {
            let sample = row.sample;
            if sample.frames != 1 || sample.channels != channels {
                let reason =
                    format!("{} frames of {} channels, this model takes 1 of {channels}", sample.frames, sample.channels);
                return Err(Error::request("sample", reason));
            }
            if size(sample) != size(rows[0].sample) {
                let reason =
                    format!("{:?} beside {:?}: rows evaluated together have one size", size(sample), size(rows[0].sample));
                return Err(Error::request("sample", reason));
            }
            let values = sample.height * sample.width * channels;
            if values == 0 || sample.values.len() != values {
                return Err(Error::request("sample", format!("{} values for a size of {:?}", sample.values.len(), size(sample))));
            }
            if let Some((text_time, _)) = &self.add_embedding {
                let given = row.pooled.len() + row.time_ids.len() * text_time.time_embed_dim;
                if given != text_time.input_dim {
                    let (pooled, numbers, width) = (row.pooled.len(), row.time_ids.len(), text_time.time_embed_dim);
                    let reason = format!(
                        "{pooled} pooled values and {numbers} sizes of {width} make {given}, expected {}",
                        text_time.input_dim
                    );
                    return Err(Error::request("time_ids", reason));
                }
            }
        }
        Ok(())
    }
}

/// Adds each row's `ControlNet` residuals to its part of the skips and of the mid block's output; rows without any keep their bits.
fn add_residuals(ops: &Ops, rows: &[UNetRow<'_>], skips: &mut [Activation], mid: &mut Activation) -> Result<()> {
    for (row, residuals) in rows.iter().enumerate().filter_map(|(row, given)| Some((row, given.residuals?))) {
        if !residuals.down.is_empty() && residuals.down.len() != skips.len() {
            let reason = format!("{} for {} skip connections", residuals.down.len(), skips.len());
            return Err(Error::request("residuals", reason));
        }
        let targets = skips.iter_mut().zip(&residuals.down).chain(residuals.mid.as_ref().map(|addend| (&mut *mid, addend)));
        for (target, addend) in targets {
            let expected = Shape { rows: 1, ..target.shape() };
            if addend.shape() != expected {
                return Err(Error::request("residuals", format!("{:?}, expected {expected:?}", addend.shape())));
            }
            elementwise::add_to_row(ops, target, row, addend)?;
        }
    }
    Ok(())
}
