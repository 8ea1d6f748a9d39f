//! The machine of one clip.

use std::sync::Arc;

use super::guidance::guided;
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::noise::Generator;
use crate::pipelines::machine::{Outputs, Row, StepMachine, Want};
use crate::samplers::Sampler;
use crate::snapshot::{Reader, Writer};
use crate::svd::SvdContext;
use crate::vision::Picture;

const TAG: [u8; 4] = *b"FWVG";
const VERSION: u8 = 1;

/// What a row is conditioned on besides its latents; shared by all evaluations of a request.
#[derive(Debug)]
pub struct ClipConditioning {
    /// What the cross-attentions make of the initial picture's embedding.
    pub context: SvdContext,
    /// Frames a second less one, motion bucket, strength of the noise on the initial picture.
    pub added_ids: [f32; 3],
}

/// The conditioning of one row, and the latents that go beside the sample's.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) conditioning: Arc<ClipConditioning>,
    /// One frame, unscaled: `[1, height, width, channels]`.
    pub(super) image_latents: Latent,
}

/// What the initial picture contributes to a clip, and how much.
#[derive(Debug)]
pub(super) struct Guidance {
    pub(super) positive: Branch,
    /// `None` when guidance is off.
    pub(super) negative: Option<Branch>,
    /// Of each frame.
    pub(super) scales: Vec<f32>,
}

/// How latents become frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoding {
    /// Frames at a time; at least 1.
    pub(super) chunk_frames: usize,
    /// Latents are this many times the VAE's.
    pub(super) scaling_factor: f32,
}

/// The machine of one SVD clip: evaluations until the latents are sampled, then decodes of some frames at a time.
///
/// Frames are handed out by [`Self::take_frames`] as they come, so that memory need not hold all of them; a checkpoint counts those
/// handed out as done.
#[derive(Debug)]
pub struct Generation {
    sampler: Box<dyn Sampler>,
    generator: Generator,
    latents: Latent,
    guidance: Guidance,
    decoding: Decoding,
    /// Frames handed out: those before `frames`.
    handed_out: usize,
    /// Frames decoded and not yet handed out.
    frames: Vec<Picture>,
    /// Of the model and the request, for checkpoints.
    fingerprint: u64,
}

impl Generation {
    /// A machine before its first evaluation. `latents` are the initial noise, which `generator` has already drawn.
    pub(super) fn new(
        sampler: Box<dyn Sampler>,
        generator: Generator,
        latents: Latent,
        guidance: Guidance,
        decoding: Decoding,
        fingerprint: u64,
    ) -> Self {
        Self { sampler, generator, latents, guidance, decoding, handed_out: 0, frames: Vec::new(), fingerprint }
    }

    /// The latents as they stand, before and after every evaluation.
    pub fn latents(&self) -> &Latent {
        &self.latents
    }

    /// Frames of the clip.
    pub fn num_frames(&self) -> usize {
        self.latents.frames
    }

    /// Frames decoded so far, handed out or not.
    pub fn frames_decoded(&self) -> usize {
        self.handed_out + self.frames.len()
    }

    /// Frames handed out so far, which a checkpoint counts as done; after [`StepMachine::resume`], those that an earlier machine handed
    /// out.
    pub fn frames_handed_out(&self) -> usize {
        self.handed_out
    }

    /// The frames decoded since the last call, in order; the first of them is number [`Self::frames_handed_out`] (before the call).
    pub fn take_frames(&mut self) -> Vec<Picture> {
        self.handed_out += self.frames.len();
        std::mem::take(&mut self.frames)
    }

    /// Has every frame decoded and handed out anew: for a resumed machine whose earlier frames are lost.
    pub fn decode_again(&mut self) {
        self.handed_out = 0;
        self.frames.clear();
    }

    fn is_sampled(&self) -> bool {
        self.sampler.done() == self.sampler.evaluations()
    }

    /// The frames that are decoded next: from, to. Empty when all are.
    fn next_chunk(&self) -> (usize, usize) {
        let from = self.frames_decoded();
        (from, (from + self.decoding.chunk_frames).min(self.num_frames()))
    }

    /// One prediction out of the rows'.
    fn combined(&self, mut outputs: Vec<Latent>) -> Option<Latent> {
        if outputs.iter().any(|output| !output.same_shape(&self.latents)) {
            return None;
        }
        match (outputs.pop(), outputs.pop(), outputs.pop()) {
            (Some(positive), Some(negative), None) if self.guidance.negative.is_some() => {
                Some(guided(&negative, &positive, &self.guidance.scales))
            }
            (Some(output), None, None) if self.guidance.negative.is_none() => Some(output),
            _ => None,
        }
    }
}

/// The channels of `sample`, then those of `image`, which has one frame for all of the sample's.
fn beside(sample: &Latent, image: &Latent) -> Latent {
    let channels = sample.channels + image.channels;
    let mut values = Vec::with_capacity(sample.values.len() / sample.channels.max(1) * channels);
    let positions = image.values.chunks_exact(image.channels.max(1)).cycle();
    for (sample, image) in sample.values.chunks_exact(sample.channels.max(1)).zip(positions) {
        values.extend_from_slice(sample);
        values.extend_from_slice(image);
    }
    Latent { channels, values, ..*sample }
}

/// The machine was given something else than it wanted: a mistake of whoever drives it.
fn unwanted(what: &str) -> Error {
    Error::Device(format!("the pipeline was given {what} that it did not ask for"))
}

impl StepMachine for Generation {
    type Conditioning = ClipConditioning;
    type Decoded = Vec<Picture>;

    fn want(&self) -> Want<ClipConditioning> {
        if self.is_sampled() {
            let (from, to) = self.next_chunk();
            if from == to {
                return Want::Done;
            }
            let scale = 1.0 / self.decoding.scaling_factor;
            return Want::Decode { latent: self.latents.frame_range(from..to).map(|value| scale * value) };
        }
        let sample = self.sampler.model_input(&self.latents);
        let timestep = self.sampler.timestep();
        let row = |branch: &Branch| Row {
            sample: beside(&sample, &branch.image_latents),
            timestep,
            conditioning: Arc::clone(&branch.conditioning),
        };
        let negative = self.guidance.negative.iter().map(row);
        Want::Evaluate { rows: negative.chain([row(&self.guidance.positive)]).collect() }
    }

    fn give(&mut self, outputs: Outputs<Vec<Picture>>) -> Result<()> {
        match outputs {
            Outputs::Evaluated(outputs) if !self.is_sampled() => {
                let output = self.combined(outputs).ok_or_else(|| unwanted("an evaluation"))?;
                self.latents = self.sampler.step(&output, &self.latents, &mut self.generator)?;
                Ok(())
            }
            Outputs::Decoded(frames) if self.is_sampled() => {
                let (from, to) = self.next_chunk();
                if frames.is_empty() || frames.len() != to - from {
                    return Err(unwanted("frames"));
                }
                self.frames.extend(frames);
                Ok(())
            }
            Outputs::Evaluated(_) => Err(unwanted("an evaluation")),
            Outputs::Decoded(_) => Err(unwanted("frames")),
        }
    }

    fn progress(&self) -> (usize, usize) {
        (self.sampler.done(), self.sampler.evaluations())
    }

    fn predicted(&self) -> Option<&Latent> {
        self.sampler.predicted()
    }

    /// Frames themselves are not saved: those handed out count as done, others will be decoded again.
    fn checkpoint(&self) -> Vec<u8> {
        let mut writer = Writer::new(TAG, VERSION);
        writer.u64(self.fingerprint);
        writer.latent(&self.latents);
        writer.bytes(&self.generator.state());
        writer.bytes(&self.sampler.state());
        writer.size(self.handed_out);
        writer.finish()
    }

    fn resume(&mut self, checkpoint: &[u8]) -> Result<()> {
        let broken = || Error::checkpoint("checkpoint", "its bytes are not a saved generation of this version");
        let read = || {
            let mut reader = Reader::new(checkpoint, TAG, VERSION)?;
            let parts = (reader.u64()?, reader.latent()?, reader.bytes()?, reader.bytes()?, reader.size()?);
            reader.finish()?;
            Some(parts)
        };
        let (fingerprint, latents, generator, sampler, handed_out) = read().ok_or_else(broken)?;
        if fingerprint != self.fingerprint || !latents.same_shape(&self.latents) {
            return Err(Error::checkpoint("checkpoint", "it was made for another request, model or precision"));
        }
        let ends_a_chunk = handed_out == self.num_frames() || handed_out.is_multiple_of(self.decoding.chunk_frames);
        if handed_out > self.num_frames() || !ends_a_chunk {
            return Err(broken());
        }
        let generator = Generator::from_state(generator).ok_or_else(broken)?;
        self.sampler.restore(sampler)?;
        // Frames come of sampled latents alone.
        let handed_out = if self.is_sampled() { handed_out } else { 0 };
        (self.latents, self.generator, self.handed_out) = (latents, generator, handed_out);
        self.frames.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_has_the_pictures_latents_beside_its_own() {
        let sample = Latent { frames: 2, height: 1, width: 2, channels: 1, values: vec![1.0, 2.0, 3.0, 4.0] };
        let image = Latent { frames: 1, height: 1, width: 2, channels: 2, values: vec![5.0, 6.0, 7.0, 8.0] };
        let joined = beside(&sample, &image);
        assert_eq!((joined.frames, joined.height, joined.width, joined.channels), (2, 1, 2, 3));
        assert_eq!(joined.values, [1.0, 5.0, 6.0, 2.0, 7.0, 8.0, 3.0, 5.0, 6.0, 4.0, 7.0, 8.0]);
    }
}
