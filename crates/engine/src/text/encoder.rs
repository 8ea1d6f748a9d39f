//! CLIP text encoders (CLIP-L, bigG).

use super::TextEncoderConfig;
use super::layer::Layer;
use crate::activation::Shape;
use crate::error::{Error, Result};
use crate::ops::{Epilogue, Floats, Interrupt, LayerNorm, Linear, Ops, Output, floats};
use crate::weights::Scope;

/// What SDXL takes from an encoder for one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEncoding {
    /// `tokens × hidden_size`: output of the last layer but one, without the final norm.
    pub penultimate: Vec<f32>,
    /// `tokens × hidden_size`: output of the last layer, with the final norm.
    pub last: Vec<f32>,
    /// The final-normed last layer at the first end token, through `text_projection` where there is one.
    pub pooled: Vec<f32>,
}

/// A text encoder with its weights.
#[derive(Debug)]
pub struct TextEncoder {
    config: TextEncoderConfig,
    /// `vocab_size × hidden_size` and `max_position_embeddings × hidden_size`, on the host; empty when only declared.
    token_embedding: Floats,
    position_embedding: Floats,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    projection: Option<Linear>,
}

impl TextEncoder {
    /// Reads the weights; with `projection` also `text_projection.weight`. Both key styles (with and without `text_model.`).
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: &TextEncoderConfig, projection: bool) -> Result<Self> {
        let tower = scope.enter("text_model");
        let (embeddings, layers) = (tower.enter("embeddings"), tower.enter("encoder").enter("layers"));
        let width = config.hidden_size;
        let table = |name: &str, rows: usize| {
            Ok::<_, Error>(floats(&embeddings.enter(name), "weight", &[rows, width])?.unwrap_or_default())
        };
        Ok(Self {
            token_embedding: table("token_embedding", config.vocab_size)?,
            position_embedding: table("position_embedding", config.max_position_embeddings)?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::load(ops, &layers.enter(index), config.layer()))
                .collect::<Result<_>>()?,
            final_norm: LayerNorm::load(ops, &tower.enter("final_layer_norm"), width, config.layer_norm_eps)?,
            projection: projection
                .then(|| Linear::load(ops, &scope.enter("text_projection"), width, config.projection_dim, false))
                .transpose()?,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TextEncoderConfig {
        &self.config
    }

    /// Encodes prompts of equal length. Padding is attended to like any token, as SDXL was trained.
    pub fn encode(&self, ops: &Ops, prompts: &[Vec<u32>], interrupt: &Interrupt) -> Result<Vec<TextEncoding>> {
        let Some(first) = prompts.first() else { return Ok(Vec::new()) };
        let (rows, tokens, width) = (prompts.len(), first.len(), self.config.hidden_size);
        let shape = Shape::sequence(rows, tokens, width);
        let mut hidden = ops.upload(shape, &self.embedded(prompts)?)?;
        let mut penultimate = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            interrupt.check()?;
            if index + 1 == self.layers.len() {
                penultimate = ops.download(&hidden)?;
            }
            hidden = layer.forward(ops, &hidden, interrupt)?;
        }
        let last = ops.download(&self.final_norm.forward(ops, &hidden, Output::Stream)?)?;

        let mut pooled = Vec::with_capacity(rows * width);
        for (row, ids) in prompts.iter().enumerate() {
            let position = row * tokens + self.config.end_token.position(ids);
            pooled.extend_from_slice(&last[position * width..][..width]);
        }
        if let Some(projection) = &self.projection {
            let vectors = ops.upload(Shape::vectors(rows, width), &pooled)?;
            pooled = ops.download(&projection.forward(ops, &vectors, Epilogue::default())?)?;
        }

        let per_row = tokens * width;
        let rows =
            penultimate.chunks_exact(per_row).zip(last.chunks_exact(per_row)).zip(pooled.chunks_exact(pooled.len() / rows));
        Ok(rows
            .map(|((penultimate, last), pooled)| TextEncoding {
                penultimate: penultimate.to_vec(),
                last: last.to_vec(),
                pooled: pooled.to_vec(),
            })
            .collect())
    }

    /// Token plus position embeddings of every prompt, one after the other.
    fn embedded(&self, prompts: &[Vec<u32>]) -> Result<Vec<f32>> {
        let (width, tokens) = (self.config.hidden_size, prompts.first().map_or(0, Vec::len));
        if tokens == 0 || tokens > self.config.max_position_embeddings || prompts.iter().any(|ids| ids.len() != tokens) {
            let longest = self.config.max_position_embeddings;
            return Err(Error::request("prompt", format!("prompts must have one length from 1 to {longest} tokens")));
        }
        let mut values = Vec::with_capacity(prompts.len() * tokens * width);
        for ids in prompts {
            for (id, position) in ids.iter().zip(self.position_embedding.chunks_exact(width)) {
                let start = *id as usize * width;
                let token = self.token_embedding.get(start..start + width).ok_or_else(|| {
                    let size = self.config.vocab_size;
                    Error::checkpoint(
                        "text_encoder",
                        format!("the tokenizer made id {id}, vocab_size is {size}: they do not match"),
                    )
                })?;
                values.extend(token.iter().zip(position).map(|(token, position)| token + position));
            }
        }
        Ok(values)
    }
}
