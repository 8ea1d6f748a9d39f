//! Both halves together.

use super::VaeConfig;
use super::decoder::Decoder;
use super::encoder::EncoderHalf;
use super::tiling::{self, TileGrid};
use crate::activation::Shape;
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::ops::{Conv2d, Epilogue, Interrupt, Ops};
use crate::unet::conv_1x1;
use crate::vision::Picture;
use crate::weights::Scope;

/// The diagonal Gaussian that an encoder gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Mean.
    pub mean: Latent,
    /// Logarithm of the variance, clamped to −30…20.
    pub log_variance: Latent,
}

impl Moments {
    /// `mean + exp(log_variance / 2) · noise`.
    pub fn sample(&self, noise: &Latent) -> Latent {
        let spread = self.log_variance.values.iter().zip(&noise.values);
        let values = self.mean.values.iter().zip(spread);
        self.mean.with_values(values.map(|(mean, (log_variance, noise))| mean + (0.5 * log_variance).exp() * noise).collect())
    }
}

/// An autoencoder with its packed weights.
#[derive(Debug)]
pub struct Vae {
    config: VaeConfig,
    encoder: EncoderHalf,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
}

impl Vae {
    /// Reads and packs every weight.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let pointwise = |name: &str, channels: usize| Conv2d::load(ops, &scope.enter(name), conv_1x1(channels, channels));
        let latents = config.latent_channels;
        Ok(Self {
            encoder: EncoderHalf::load(ops, scope, config)?,
            post_quant_conv: config.use_post_quant_conv.then(|| pointwise("post_quant_conv", latents)).transpose()?,
            decoder: Decoder::load(ops, &scope.enter("decoder"), config)?,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Pixels per latent position (8 for SDXL).
    pub fn factor(&self) -> usize {
        self.config.factor()
    }

    /// A picture (values −1…1, sides multiples of [`Self::factor`]) to the moments of its unscaled latents.
    pub fn encode(&self, ops: &Ops, picture: &Picture, interrupt: &Interrupt) -> Result<Moments> {
        self.encoder.encode(ops, &self.config, picture, interrupt)
    }

    /// Unscaled latents (already divided by `scaling_factor`) to a picture with values around −1…1, not clamped.
    pub fn decode(&self, ops: &Ops, latent: &Latent, interrupt: &Interrupt) -> Result<Picture> {
        let Latent { frames, height, width, channels, .. } = *latent;
        let fits = frames == 1 && channels == self.config.latent_channels && height > 0 && width > 0;
        if !fits || latent.values.len() != height * width * channels {
            let reason = format!(
                "{frames} frames of {height}×{width}×{channels}, this model decodes 1 of {} channels",
                self.config.latent_channels
            );
            return Err(Error::request("latents", reason));
        }
        let mut input = ops.upload(Shape::new(1, height, width, channels), &latent.values)?;
        if let Some(post_quant_conv) = &self.post_quant_conv {
            input = post_quant_conv.forward(ops, &input, Epilogue::default())?;
        }
        let output = self.decoder.forward(ops, &input, interrupt)?;
        let Shape { height, width, channels, .. } = output.shape();
        Ok(Picture { height, width, channels, values: ops.download(&output)? })
    }

    /// [`Self::decode`] in tiles of the side that the model was trained at, blended where they overlap (diffusers' `tiled_decode`).
    /// Every tile sees only itself, so colours may drift from tile to tile: for pictures that memory cannot hold whole.
    pub fn decode_tiled(&self, ops: &Ops, latent: &Latent, interrupt: &Interrupt) -> Result<Picture> {
        let grid = TileGrid::new(self.config.sample_size, self.factor());
        tiling::decode(&grid, latent, |tile| self.decode(ops, tile, interrupt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_spread_around_the_mean() {
        let latent = |values: [f32; 2]| Latent { frames: 1, height: 1, width: 2, channels: 1, values: values.to_vec() };
        let moments = Moments { mean: latent([1.0, -2.0]), log_variance: latent([0.0, 2.0 * 3.0_f32.ln()]) };
        let sample = moments.sample(&latent([0.5, -1.0]));
        assert!((sample.values[0] - 1.5).abs() < 1e-6 && (sample.values[1] + 5.0).abs() < 1e-5, "{sample:?}");
    }
}
