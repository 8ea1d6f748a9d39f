//! Both halves of the autoencoder together.

use super::decoder::Decoder;
use super::vae_config::TemporalVaeConfig;
use crate::activation::Shape;
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::ops::{Interrupt, Ops};
use crate::vae::{EncoderHalf, Moments};
use crate::vision::Picture;
use crate::weights::Scope;

/// An autoencoder whose decoder sees the frames of a clip together, with its packed weights.
#[derive(Debug)]
pub struct TemporalVae {
    config: TemporalVaeConfig,
    encoder: EncoderHalf,
    decoder: Decoder,
}

impl TemporalVae {
    /// Reads and packs every weight.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: &TemporalVaeConfig) -> Result<Self> {
        Ok(Self {
            encoder: EncoderHalf::load(ops, scope, &config.plain())?,
            decoder: Decoder::load(ops, &scope.enter("decoder"), config)?,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TemporalVaeConfig {
        &self.config
    }

    /// Pixels per latent position.
    pub fn factor(&self) -> usize {
        self.config.factor()
    }

    /// A picture (values −1…1, sides multiples of [`Self::factor`]) to the moments of its unscaled latents. Their mean is what a clip
    /// is conditioned by, as it is, without `scaling_factor`.
    pub fn encode(&self, ops: &Ops, picture: &Picture, interrupt: &Interrupt) -> Result<Moments> {
        self.encoder.encode(ops, &self.config.plain(), picture, interrupt)
    }

    /// Unscaled latents (already divided by `scaling_factor`) of successive frames to their pictures, with values around −1…1, not
    /// clamped. The temporal layers see these frames alone: how a clip is cut shows in the result.
    pub fn decode(&self, ops: &Ops, latents: &Latent, interrupt: &Interrupt) -> Result<Vec<Picture>> {
        let Latent { frames, height, width, channels, .. } = *latents;
        let fits = frames > 0 && height > 0 && width > 0 && channels == self.config.latent_channels;
        if !fits || latents.values.len() != frames * height * width * channels {
            let reason = format!(
                "{frames} frames of {height}×{width}×{channels}, this model decodes {} channels",
                self.config.latent_channels
            );
            return Err(Error::request("latents", reason));
        }
        let input = ops.upload(Shape::new(frames, height, width, channels), &latents.values)?;
        let output = self.decoder.forward(ops, &input, interrupt)?;
        let Shape { height, width, channels, .. } = output.shape();
        let values = ops.download(&output)?;
        let pictures = values.chunks_exact(height * width * channels);
        Ok(pictures.map(|values| Picture { height, width, channels, values: values.to_vec() }).collect())
    }
}
