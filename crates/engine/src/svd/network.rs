//! The UNet.

use super::NORM_GROUPS;
use super::blocks::{DownBlock, Evaluation, Loader, MidBlock, UpBlock, WIDE_EPSILON, top};
use super::config::SvdUNetConfig;
use super::context::SvdContext;
use super::transformer::{Clips, SINUSOID, Transformer};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::ops::{Conv2d, Epilogue, GroupNorm, Interrupt, Ops, Output, elementwise};
use crate::unet::{EmbeddingLayers, conv_3x3, push_sinusoid};
use crate::weights::Scope;

/// Numbers that condition a clip besides its picture.
const ADDED_IDS: usize = 3;

/// One row of an evaluation: a clip. Rows of one call may belong to different requests; their latents have one size and one number of
/// frames.
#[derive(Clone, Copy, Debug)]
pub struct SvdRow<'a> {
    /// `[frames, height, width, in_channels]`: the scaled sample, and after it in the channels the picture's latents.
    pub sample: &'a Latent,
    /// The (fractional, perhaps negative) timestep.
    pub timestep: f32,
    /// What the network takes of the picture.
    pub context: &'a SvdContext,
    /// Frames a second less one, motion bucket, noise in the picture.
    pub added_ids: [f32; ADDED_IDS],
}

/// The network with its packed weights.
#[derive(Debug)]
pub struct SvdUNet {
    config: SvdUNetConfig,
    time_embedding: EmbeddingLayers,
    add_embedding: EmbeddingLayers,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl SvdUNet {
    /// Reads and packs every weight.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: &SvdUNetConfig) -> Result<Self> {
        let (first, time_channels) = (config.first_channels(), config.time_channels());
        let added = config.projection_class_embeddings_input_dim;
        if added != ADDED_IDS * config.addition_time_embed_dim {
            let made = ADDED_IDS * config.addition_time_embed_dim;
            let reason = format!("projection_class_embeddings_input_dim {added} where the added numbers make {made}");
            return Err(Error::checkpoint(scope.component(), reason));
        }
        let mut loader = Loader { ops, config, transformer_layers: 0 };

        let conv_in = Conv2d::load(ops, &scope.enter("conv_in"), conv_3x3(config.in_channels, first))?;
        let embedding = |name: &str, in_channels: usize| {
            EmbeddingLayers::load(ops, &scope.enter(name), [in_channels, time_channels, time_channels])
        };
        let (time_embedding, add_embedding) = (embedding("time_embedding", first)?, embedding("add_embedding", added)?);
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
        let norm_out = GroupNorm::load(ops, &scope.enter("conv_norm_out"), first, NORM_GROUPS, WIDE_EPSILON)?;
        let conv_out = Conv2d::load(ops, &scope.enter("conv_out"), conv_3x3(first, config.out_channels))?;
        let config = config.clone();
        Ok(Self { config, time_embedding, add_embedding, conv_in, down_blocks, mid_block, up_blocks, norm_out, conv_out })
    }

    /// The configuration.
    pub fn config(&self) -> &SvdUNetConfig {
        &self.config
    }

    /// What the network takes of a picture whose embedding has `cross_attention_dim` values; zeros are no picture.
    pub fn context(&self, ops: &Ops, embedding: &[f32], interrupt: &Interrupt) -> Result<SvdContext> {
        let channels = self.config.cross_attention_dim;
        if embedding.len() != channels {
            let reason = format!("{} values, this model takes a picture's embedding of {channels}", embedding.len());
            return Err(Error::request("context", reason));
        }
        let embedding = ops.upload(Shape::vectors(1, channels), embedding)?;
        let mut vectors = Vec::new();
        for transformer in self.transformers() {
            transformer.push_context(ops, &embedding, &mut vectors, interrupt)?;
        }
        Ok(SvdContext { vectors })
    }

    /// One evaluation of all rows together: for each `[frames, height, width, out_channels]`.
    pub fn evaluate(&self, ops: &Ops, rows: &[SvdRow<'_>], interrupt: &Interrupt) -> Result<Vec<Latent>> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        self.check(rows)?;
        let Latent { frames, height, width, .. } = *first.sample;
        let time = self.time(ops, rows)?;
        let contexts: Vec<&SvdContext> = rows.iter().map(|row| row.context).collect();
        let evaluation = Evaluation { ops, time: &time, clips: Clips { frames, contexts: &contexts }, interrupt };

        let samples: Vec<f32> = rows.iter().flat_map(|row| row.sample.values.iter().copied()).collect();
        let sample = ops.upload(Shape::new(rows.len() * frames, height, width, self.config.in_channels), &samples)?;
        let mut skips = vec![self.conv_in.forward(ops, &sample, Epilogue::default())?];
        drop((sample, samples));
        for block in &self.down_blocks {
            block.forward(&evaluation, &mut skips)?;
        }
        let mut hidden = self.mid_block.forward(&evaluation, top(&skips)?)?;
        for block in &self.up_blocks {
            hidden = block.forward(&evaluation, hidden, &mut skips)?;
        }
        let normed = self.norm_out.forward(ops, &hidden, true, Output::Operand)?;
        let output = ops.download(&self.conv_out.forward(ops, &normed, Epilogue::default())?)?;

        let channels = self.config.out_channels;
        Ok(output
            .chunks_exact(frames * height * width * channels)
            .map(|values| Latent { frames, height, width, channels, values: values.to_vec() })
            .collect())
    }

    /// silu of the time embedding of every clip: timestep and added numbers. It is what every resnet projects, so it is computed once.
    fn time(&self, ops: &Ops, rows: &[SvdRow<'_>]) -> Result<Activation> {
        let (mut timesteps, mut added) = (Vec::new(), Vec::new());
        for row in rows {
            push_sinusoid(&mut timesteps, row.timestep, self.config.first_channels(), SINUSOID);
            for number in row.added_ids {
                push_sinusoid(&mut added, number, self.config.addition_time_embed_dim, SINUSOID);
            }
        }
        let embedding = self.time_embedding.forward(ops, rows.len(), &timesteps, None)?;
        let embedding = self.add_embedding.forward(ops, rows.len(), &added, Some(&embedding))?;
        elementwise::silu(ops, &embedding, Output::Operand)
    }

    /// In the order of the network, which is that of the layers in an [`SvdContext`].
    fn transformers(&self) -> impl Iterator<Item = &Transformer> {
        let down = self.down_blocks.iter().flat_map(DownBlock::transformers);
        let up = self.up_blocks.iter().flat_map(UpBlock::transformers);
        down.chain([self.mid_block.transformer()]).chain(up)
    }

    /// Rows come from requests; whatever does not fit is an error that names the part of the row.
    fn check(&self, rows: &[SvdRow<'_>]) -> Result<()> {
        let channels = self.config.in_channels;
        let size = |sample: &Latent| (sample.frames, sample.height, sample.width);
        for row in rows {
            let sample = row.sample;
            if sample.channels != channels {
                return Err(Error::request("sample", format!("{} channels, this model takes {channels}", sample.channels)));
            }
            if size(sample) != size(rows[0].sample) {
                let reason =
                    format!("{:?} beside {:?}: rows evaluated together have one size", size(sample), size(rows[0].sample));
                return Err(Error::request("sample", reason));
            }
            let values = sample.frames * sample.height * sample.width * channels;
            if values == 0 || sample.values.len() != values {
                return Err(Error::request("sample", format!("{} values for a size of {:?}", sample.values.len(), size(sample))));
            }
        }
        Ok(())
    }
}
