//! Small pictures of latents without the VAE: a linear map of their channels.

use std::path::Path;

use serde::Deserialize;

use super::model_files;
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::vision::{Picture, RgbPicture};

/// What a linear map of four latent channels to red, green and blue in −1…1 needs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewFactors {
    /// One row a latent channel.
    latent_rgb_factors: Vec<[f32; 3]>,
    #[serde(default)]
    latent_rgb_bias: [f32; 3],
}

impl PreviewFactors {
    /// Those in a model's `preview.json` (`{"latent_rgb_factors": [[r, g, b], …], "latent_rgb_bias": [r, g, b]}`), or else `published`
    /// ones.
    pub(super) fn read(path: &Path, latent_channels: usize, published: Self) -> Result<Self> {
        let Some(text) = model_files::read_optional(path)? else { return Ok(published) };
        let factors: Self = model_files::parse(path, &text)?;
        if factors.latent_rgb_factors.len() != latent_channels {
            let reason =
                format!("latent_rgb_factors has {} rows for {latent_channels} channels", factors.latent_rgb_factors.len());
            return Err(Error::Malformed { path: path.to_owned(), reason });
        }
        Ok(factors)
    }

    /// Those published for SDXL's VAE.
    pub(super) fn sdxl() -> Self {
        Self {
            latent_rgb_factors: vec![
                [0.3651, 0.4232, 0.4341],
                [-0.2533, -0.0042, 0.1068],
                [0.1076, 0.1111, -0.0362],
                [-0.3165, -0.2492, -0.2188],
            ],
            latent_rgb_bias: [0.1084, -0.0175, -0.0011],
        }
    }

    /// Those published for the VAE of Stable Diffusion 1, whose latents SVD's are.
    pub(super) fn stable_diffusion() -> Self {
        Self {
            latent_rgb_factors: vec![
                [0.3512, 0.2297, 0.3227],
                [0.3250, 0.4974, 0.2350],
                [-0.2829, 0.1762, 0.2721],
                [-0.2120, -0.2616, -0.7177],
            ],
            latent_rgb_bias: [0.0; 3],
        }
    }

    /// One pixel a latent position of the first frame.
    pub(super) fn picture(&self, latent: &Latent) -> RgbPicture {
        let positions = latent.height * latent.width;
        let values = latent
            .values
            .chunks_exact(latent.channels.max(1))
            .take(positions)
            .flat_map(|channels| {
                let mut colour = self.latent_rgb_bias;
                for (value, factors) in channels.iter().zip(&self.latent_rgb_factors) {
                    for (sum, factor) in colour.iter_mut().zip(factors) {
                        *sum += value * factor;
                    }
                }
                colour
            })
            .collect();
        Picture { height: latent.height, width: latent.width, channels: 3, values }.to_rgb()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_latents_show_the_bias() {
        let preview = PreviewFactors::sdxl().picture(&Latent::zeros(1, 2, 3, 4));
        assert_eq!((preview.height, preview.width), (2, 3));
        assert_eq!(preview.bytes[..3], [141, 125, 127]);
    }

    #[test]
    fn a_models_own_factors_are_read_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("preview.json");
        let read = |channels| PreviewFactors::read(&path, channels, PreviewFactors::sdxl());
        assert_eq!(read(4).unwrap(), PreviewFactors::sdxl());
        std::fs::write(&path, r#"{"latent_rgb_factors": [[1, 0, 0], [0, 1, 0]]}"#).unwrap();
        let factors = read(2).unwrap();
        let latent = Latent { frames: 1, height: 1, width: 1, channels: 2, values: vec![1.0, -1.0] };
        assert_eq!(factors.picture(&latent).bytes, [255, 0, 128]);
        assert!(read(4).unwrap_err().to_string().contains("2 rows for 4 channels"));
    }
}
