//! A request for one clip.

use std::sync::Arc;

use crate::fingerprint::Fingerprint;
use crate::vision::RgbPicture;

/// A request for a clip, already in engine terms. [`super::VideoModelInfo::check`] validates it without loading anything.
#[derive(Clone, Debug)]
pub struct VideoRequest {
    /// What the clip starts from, of any size: the image encoder sees it as it is, the VAE resized to the clip's size.
    pub init_image: Arc<RgbPicture>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Frames of the clip.
    pub num_frames: usize,
    /// Sampler steps.
    pub num_inference_steps: usize,
    /// Classifier-free guidance of the first frame …
    pub min_guidance_scale: f32,
    /// … and of the last one, evenly in between; at most 1 turns guidance off.
    pub max_guidance_scale: f32,
    /// Frames a second that the motion is meant for. Changes how the model moves things, not how many frames there are.
    pub fps: usize,
    /// How much moves: 127 is usual, more is more.
    pub motion_bucket_id: usize,
    /// How much noise is added to the initial picture before the VAE sees it.
    pub noise_aug_strength: f32,
    /// Frames that are decoded together, and see each other in the decoder; more take more memory. What is above `num_frames` is all.
    pub decode_chunk_size: usize,
    /// Seed of the clip.
    pub seed: u64,
}

impl VideoRequest {
    /// Whether every evaluation has a second row, without the initial picture.
    pub fn is_guided(&self) -> bool {
        self.max_guidance_scale > 1.0
    }

    /// Frames that are decoded together.
    pub(super) fn chunk_frames(&self) -> usize {
        self.decode_chunk_size.min(self.num_frames)
    }

    /// A number that differs when the request does: a checkpoint of one request is no use to another.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Fingerprint::default();
        hash.number(self.init_image.height as u64);
        hash.number(self.init_image.width as u64);
        hash.bytes(&self.init_image.bytes);
        for number in [
            self.width,
            self.height,
            self.num_frames,
            self.num_inference_steps,
            self.fps,
            self.motion_bucket_id,
            self.chunk_frames(),
        ] {
            hash.number(number as u64);
        }
        for number in [self.min_guidance_scale, self.max_guidance_scale, self.noise_aug_strength] {
            hash.number(u64::from(number.to_bits()));
        }
        hash.number(self.seed);
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_changes_the_fingerprint() {
        let picture = |byte| Arc::new(RgbPicture { height: 1, width: 1, bytes: vec![byte; 3] });
        let request = VideoRequest {
            init_image: picture(1),
            width: 64,
            height: 64,
            num_frames: 5,
            num_inference_steps: 4,
            min_guidance_scale: 1.0,
            max_guidance_scale: 3.0,
            fps: 7,
            motion_bucket_id: 127,
            noise_aug_strength: 0.02,
            decode_chunk_size: 4,
            seed: 1,
        };
        let variants = [
            VideoRequest { init_image: picture(2), ..request.clone() },
            VideoRequest { width: 72, ..request.clone() },
            VideoRequest { height: 72, ..request.clone() },
            VideoRequest { num_frames: 6, ..request.clone() },
            VideoRequest { num_inference_steps: 5, ..request.clone() },
            VideoRequest { min_guidance_scale: 1.5, ..request.clone() },
            VideoRequest { max_guidance_scale: 3.5, ..request.clone() },
            VideoRequest { fps: 8, ..request.clone() },
            VideoRequest { motion_bucket_id: 128, ..request.clone() },
            VideoRequest { noise_aug_strength: 0.0, ..request.clone() },
            VideoRequest { decode_chunk_size: 5, ..request.clone() },
            VideoRequest { seed: 1 << 32 | 1, ..request.clone() },
        ];
        let mut seen: Vec<u64> = variants.iter().map(VideoRequest::fingerprint).collect();
        seen.push(request.fingerprint());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), variants.len() + 1);
        // All frames together, however that is said.
        let whole = |decode_chunk_size| VideoRequest { decode_chunk_size, ..request.clone() }.fingerprint();
        assert_eq!(whole(5), whole(500));
    }
}
