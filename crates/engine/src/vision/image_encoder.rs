//! CLIP's image encoder with its projection.

use super::antialias::resize_antialiased;
use super::{ImageEncoderConfig, Normalisation, Picture, RgbPicture};
use crate::activation::Shape;
use crate::error::{Error, Result};
use crate::ops::{Conv2d, Conv2dConfig, Epilogue, Floats, Interrupt, LayerNorm, Linear, Ops, Output, Padding, floats};
use crate::text::layer::Layer;
use crate::weights::Scope;

/// Channels of a picture.
const CHANNELS: usize = 3;

/// An image encoder with its weights.
#[derive(Debug)]
pub struct ImageEncoder {
    config: ImageEncoderConfig,
    patch_embedding: Conv2d,
    /// `hidden_size` and `(patches + 1) × hidden_size`, on the host; empty when only declared.
    class_embedding: Floats,
    position_embedding: Floats,
    norm_in: LayerNorm,
    layers: Vec<Layer>,
    norm_out: LayerNorm,
    projection: Linear,
}

impl ImageEncoder {
    /// Reads and packs every weight.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: &ImageEncoderConfig) -> Result<Self> {
        let tower = scope.enter("vision_model");
        let (embeddings, layers) = (tower.enter("embeddings"), tower.enter("encoder").enter("layers"));
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let patch = Conv2dConfig {
            in_channels: CHANNELS,
            out_channels: width,
            kernel: config.patch_size,
            stride: config.patch_size,
            padding: Padding::default(),
        };
        let table =
            |scope: &Scope<'_>, name: &str, shape: &[usize]| Ok::<_, Error>(floats(scope, name, shape)?.unwrap_or_default());
        Ok(Self {
            patch_embedding: Conv2d::load_without_bias(ops, &embeddings.enter("patch_embedding"), patch)?,
            class_embedding: table(&embeddings, "class_embedding", &[width])?,
            position_embedding: table(&embeddings.enter("position_embedding"), "weight", &[config.patches() + 1, width])?,
            norm_in: LayerNorm::load(ops, &tower.enter("pre_layrnorm"), width, epsilon)?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::load(ops, &layers.enter(index), config.layer()))
                .collect::<Result<_>>()?,
            norm_out: LayerNorm::load(ops, &tower.enter("post_layernorm"), width, epsilon)?,
            projection: Linear::load(ops, &scope.enter("visual_projection"), width, config.projection_dim, false)?,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ImageEncoderConfig {
        &self.config
    }

    /// `projection_dim` values for a picture of any size, which is resized against aliasing and loses its proportions, as in training.
    pub fn embed(
        &self,
        ops: &Ops,
        picture: &RgbPicture,
        normalisation: &Normalisation,
        interrupt: &Interrupt,
    ) -> Result<Vec<f32>> {
        interrupt.check()?;
        if !picture.is_whole() {
            return Err(Error::request("image", "it has no pixels, or other bytes than its sides promise"));
        }
        let mut picture = resize_antialiased(picture, self.config.image_size, self.config.image_size);
        normalisation.apply(&mut picture);
        self.embed_normalised(ops, &picture, interrupt)
    }

    /// [`Self::embed`] of a picture that has the encoder's own size and is normalised.
    pub fn embed_normalised(&self, ops: &Ops, picture: &Picture, interrupt: &Interrupt) -> Result<Vec<f32>> {
        let (side, width) = (self.config.image_size, self.config.hidden_size);
        if (picture.height, picture.width, picture.channels) != (side, side, CHANNELS) {
            let reason = format!("{}×{}×{}, this encoder takes {side}×{side}×3", picture.height, picture.width, picture.channels);
            return Err(Error::request("image", reason));
        }
        let input = ops.upload(Shape::new(1, side, side, CHANNELS), &picture.values)?;
        let patches = ops.download(&self.patch_embedding.forward(ops, &input, Epilogue::default())?)?;
        let tokens = self.class_embedding.iter().chain(&patches).zip(self.position_embedding.iter());
        let tokens: Vec<f32> = tokens.map(|(token, position)| token + position).collect();
        let tokens = ops.upload(Shape::sequence(1, self.config.patches() + 1, width), &tokens)?;

        let mut hidden = self.norm_in.forward(ops, &tokens, Output::Stream)?;
        for layer in &self.layers {
            interrupt.check()?;
            hidden = layer.forward(ops, &hidden, interrupt)?;
        }
        let class = ops.download(&hidden)?;
        let class = ops.upload(Shape::vectors(1, width), &class[..width])?;
        let pooled = self.norm_out.forward(ops, &class, Output::Operand)?;
        ops.download(&self.projection.forward(ops, &pooled, Epilogue::default())?)
    }
}
