//! A mask: which part of a picture is repainted, and how the rest is kept. As diffusers' `StableDiffusionXLInpaintPipeline` does it.
//!
//! What is kept is kept in latents alone: the decoder draws all pixels anew, and none of the initial picture are pasted over its own.

use crate::latent::Latent;
use crate::samplers::Sampler;
use crate::vision::resize::resize_lanczos_grey;
use crate::vision::{GreyPicture, Picture};

/// From this on a pixel of a mask is repainted: one half of 255, rounded up.
const REPAINTED_FROM: u8 = 128;

/// A mask at the size of the picture that is made: for each pixel, whether it is repainted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mask {
    height: usize,
    width: usize,
    repainted: Vec<bool>,
}

impl Mask {
    /// `mask` at `height × width`, each pixel black or white.
    pub(super) fn new(mask: &GreyPicture, height: usize, width: usize) -> Self {
        let fitted = resize_lanczos_grey(mask, height, width);
        Self { height, width, repainted: fitted.bytes.iter().map(|byte| *byte >= REPAINTED_FROM).collect() }
    }

    /// `picture`, which is of the same size, with the middle grey where it is repainted.
    pub(super) fn hidden(&self, mut picture: Picture) -> Picture {
        let pixels = picture.values.chunks_exact_mut(picture.channels.max(1));
        pixels.zip(&self.repainted).filter(|(_, repainted)| **repainted).for_each(|(pixel, _)| pixel.fill(0.0));
        picture
    }

    /// One value for each latent position: its first pixel's.
    pub(super) fn at_latents(&self, factor: usize) -> Vec<bool> {
        let rows = (0..self.height).step_by(factor);
        rows.flat_map(|row| (0..self.width).step_by(factor).map(move |column| self.repainted[row * self.width + column]))
            .collect()
    }
}

/// How a machine keeps what is not repainted.
#[derive(Debug)]
pub(super) enum Inpainting {
    /// The network knows of no mask: after every evaluation what is kept is put back, with the noise of the next one.
    Blended {
        /// For each latent position.
        repainted: Vec<bool>,
        /// Of the initial picture.
        clean: Latent,
        /// What the run began with.
        noise: Latent,
    },
    /// The network is shown the mask and what is kept beside the latents.
    Shown {
        /// The mask's channel, then those of the picture with a hole.
        channels: Latent,
    },
}

impl Inpainting {
    /// For a network that takes the mask, and the latents of the picture with the masked part hidden.
    pub(super) fn shown(repainted: &[bool], hidden: &Latent) -> Self {
        let mask = repainted.iter().map(|repainted| f32::from(u8::from(*repainted))).collect();
        let mask = Latent { channels: 1, values: mask, ..*hidden };
        Self::Shown { channels: beside(&mask, hidden) }
    }

    /// What the network is given of a scaled sample.
    pub(super) fn model_input(&self, sample: Latent) -> Latent {
        match self {
            Self::Blended { .. } => sample,
            Self::Shown { channels } => beside(&sample, channels),
        }
    }

    /// The latents that `sampler` goes on with after it gave `stepped`.
    pub(super) fn kept(&self, sampler: &dyn Sampler, stepped: Latent) -> Latent {
        let Self::Blended { repainted, clean, noise } = self else { return stepped };
        let is_last = sampler.done() == sampler.evaluations();
        let known = if is_last { clean.clone() } else { sampler.add_noise(clean, noise) };
        let positions = stepped.values.chunks_exact(stepped.channels).zip(known.values.chunks_exact(known.channels));
        let chosen = positions.zip(repainted).flat_map(|((stepped, known), repainted)| if *repainted { stepped } else { known });
        let values = chosen.copied().collect();
        Latent { values, ..stepped }
    }
}

/// The channels of `left`, then those of `right`, which has the same sides.
fn beside(left: &Latent, right: &Latent) -> Latent {
    let positions = left.values.chunks_exact(left.channels).zip(right.values.chunks_exact(right.channels));
    let values = positions.flat_map(|(left, right)| left.iter().chain(right).copied()).collect();
    Latent { channels: left.channels + right.channels, values, ..*left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_from_one_half_on_is_repainted() {
        let grey = GreyPicture { height: 2, width: 4, bytes: vec![0, 127, 128, 255, 255, 0, 0, 0] };
        let mask = Mask::new(&grey, 2, 4);
        assert_eq!(mask.repainted, [false, false, true, true, true, false, false, false]);
        assert_eq!(mask.at_latents(1), mask.repainted);
        assert_eq!(mask.at_latents(2), [false, true], "the first pixel of each position");
        let picture = Picture { height: 2, width: 4, channels: 2, values: vec![1.0; 16] };
        let hidden = mask.hidden(picture).values;
        assert_eq!(hidden, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn channels_lie_beside_each_other() {
        let latent = |channels, values: &[f32]| Latent { frames: 1, height: 1, width: 2, channels, values: values.to_vec() };
        let shown = Inpainting::shown(&[true, false], &latent(2, &[3.0, 4.0, 5.0, 6.0]));
        let input = shown.model_input(latent(1, &[8.0, 9.0]));
        assert_eq!(input, latent(4, &[8.0, 1.0, 3.0, 4.0, 9.0, 0.0, 5.0, 6.0]));
    }
}
