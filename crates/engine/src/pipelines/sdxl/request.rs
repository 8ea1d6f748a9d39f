//! A request for one picture.

use std::sync::Arc;

use crate::fingerprint::Fingerprint;
use crate::vision::{GreyPicture, RgbPicture};

/// A request for a picture, already in engine terms. [`super::ModelInfo::check`] validates it without loading anything.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// What the picture shows.
    pub prompt: String,
    /// What it must not show; `None` and `Some("")` differ (`force_zeros_for_empty_prompt`).
    pub negative_prompt: Option<String>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Sampler steps.
    pub num_inference_steps: usize,
    /// Classifier-free guidance; at most 1 turns it off.
    pub guidance_scale: f32,
    /// Rescale of the guided prediction (φ).
    pub guidance_rescale: f32,
    /// A sampler's name; `None` is the checkpoint's own.
    pub sampler: Option<String>,
    /// Seed of this picture.
    pub seed: u64,
    /// Start from this picture …
    pub init_image: Option<Arc<RgbPicture>>,
    /// … noised this much (0…1) …
    pub strength: f32,
    /// … and repainted where this is white, if there is one; resized to the picture's size, and black or white from one half on.
    pub mask: Option<Arc<GreyPicture>>,
}

impl ImageRequest {
    /// Whether every evaluation has a second row, for the negative prompt.
    pub fn is_guided(&self) -> bool {
        self.guidance_scale > 1.0
    }

    /// The strength where it counts: with a picture to start from.
    pub(super) fn effective_strength(&self) -> Option<f32> {
        self.init_image.as_ref().map(|_| self.strength)
    }

    /// A number that differs when the request does: a checkpoint of one request is no use to another.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Fingerprint::default();
        hash.bytes(self.prompt.as_bytes());
        hash.number(u64::from(self.negative_prompt.is_some()));
        hash.bytes(self.negative_prompt.as_deref().unwrap_or_default().as_bytes());
        hash.number(self.width as u64);
        hash.number(self.height as u64);
        hash.number(self.num_inference_steps as u64);
        hash.number(u64::from(self.guidance_scale.to_bits()));
        hash.number(u64::from(self.guidance_rescale.to_bits()));
        hash.bytes(self.sampler.as_deref().unwrap_or_default().as_bytes());
        hash.number(self.seed);
        if let Some(picture) = &self.init_image {
            hash.number(u64::from(self.strength.to_bits()));
            hash.number(picture.height as u64);
            hash.number(picture.width as u64);
            hash.bytes(&picture.bytes);
        }
        if let Some(mask) = &self.mask {
            hash.number(mask.height as u64);
            hash.number(mask.width as u64);
            hash.bytes(&mask.bytes);
        }
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_changes_the_fingerprint() {
        let request = ImageRequest {
            prompt: "a".to_owned(),
            negative_prompt: None,
            width: 64,
            height: 64,
            num_inference_steps: 4,
            guidance_scale: 5.0,
            guidance_rescale: 0.0,
            sampler: None,
            seed: 1,
            init_image: None,
            strength: 0.5,
            mask: None,
        };
        let mask = |byte| Some(Arc::new(GreyPicture { height: 1, width: 1, bytes: vec![byte] }));
        let picture = |byte| Some(Arc::new(RgbPicture { height: 1, width: 1, bytes: vec![byte; 3] }));
        let variants = [
            ImageRequest { prompt: "b".to_owned(), ..request.clone() },
            ImageRequest { negative_prompt: Some(String::new()), ..request.clone() },
            ImageRequest { negative_prompt: Some("a".to_owned()), ..request.clone() },
            ImageRequest { width: 72, ..request.clone() },
            ImageRequest { height: 72, ..request.clone() },
            ImageRequest { num_inference_steps: 5, ..request.clone() },
            ImageRequest { guidance_scale: 4.0, ..request.clone() },
            ImageRequest { guidance_rescale: 0.7, ..request.clone() },
            ImageRequest { sampler: Some("ddim".to_owned()), ..request.clone() },
            ImageRequest { seed: 1 << 32 | 1, ..request.clone() },
            ImageRequest { init_image: picture(1), ..request.clone() },
            ImageRequest { init_image: picture(2), ..request.clone() },
            ImageRequest { init_image: picture(2), strength: 0.6, ..request.clone() },
            ImageRequest { init_image: picture(2), mask: mask(1), ..request.clone() },
            ImageRequest { init_image: picture(2), mask: mask(2), ..request.clone() },
        ];
        let mut seen: Vec<u64> = variants.iter().map(ImageRequest::fingerprint).collect();
        seen.push(request.fingerprint());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), variants.len() + 1);
        assert_eq!(request.fingerprint(), ImageRequest { strength: 0.9, ..request.clone() }.fingerprint());
    }
}
