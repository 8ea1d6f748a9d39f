//! The machine of one picture.

use std::sync::Arc;

use super::guidance::guided;
use super::inpainting::Inpainting;
use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::noise::Generator;
use crate::pipelines::machine::{Conditioning, Outputs, Row, StepMachine, Want};
use crate::samplers::Sampler;
use crate::snapshot::{Reader, Writer};
use crate::vision::Picture;

const TAG: [u8; 4] = *b"FWGN";
const VERSION: u8 = 1;

/// What prompts contribute to a picture, and how much.
#[derive(Debug)]
pub(super) struct Guidance {
    pub(super) positive: Arc<Conditioning>,
    /// `None` when guidance is off.
    pub(super) negative: Option<Arc<Conditioning>>,
    pub(super) scale: f32,
    pub(super) rescale: f32,
}

/// The machine of one SDXL picture.
#[derive(Debug)]
pub struct Generation {
    sampler: Box<dyn Sampler>,
    generator: Generator,
    latents: Latent,
    guidance: Guidance,
    inpainting: Option<Inpainting>,
    /// Latents are this many times the VAE's.
    scaling_factor: f32,
    picture: Option<Picture>,
    truncated_tokens: usize,
    /// Of the model and the request, for checkpoints.
    fingerprint: u64,
}

/// What a machine begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    /// The initial noise, or the noised latents of a picture.
    pub(super) latents: Latent,
    /// With a mask.
    pub(super) inpainting: Option<Inpainting>,
}

impl Generation {
    /// A machine before its first evaluation. `generator` has already drawn what it begins with.
    pub(super) fn new(
        sampler: Box<dyn Sampler>,
        generator: Generator,
        beginning: Beginning,
        guidance: Guidance,
        scaling_factor: f32,
        truncated_tokens: usize,
        fingerprint: u64,
    ) -> Self {
        let Beginning { latents, inpainting } = beginning;
        Self { sampler, generator, latents, guidance, inpainting, scaling_factor, picture: None, truncated_tokens, fingerprint }
    }

    /// The finished picture.
    pub fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref()
    }

    /// The latents as they stand, before and after every evaluation.
    pub fn latents(&self) -> &Latent {
        &self.latents
    }

    /// Tokens of the prompt that did not fit into the model's 77 (0 when all did).
    pub fn truncated_tokens(&self) -> usize {
        self.truncated_tokens
    }

    fn is_sampled(&self) -> bool {
        self.sampler.done() == self.sampler.evaluations()
    }

    /// One prediction out of the rows'.
    fn combined(&self, mut outputs: Vec<Latent>) -> Option<Latent> {
        if outputs.iter().any(|output| !output.same_shape(&self.latents)) {
            return None;
        }
        match (outputs.pop(), outputs.pop(), outputs.pop()) {
            (Some(positive), Some(negative), None) if self.guidance.negative.is_some() => {
                Some(guided(&negative, &positive, self.guidance.scale, self.guidance.rescale))
            }
            (Some(output), None, None) if self.guidance.negative.is_none() => Some(output),
            _ => None,
        }
    }
}

/// The machine was given something else than it wanted: a mistake of whoever drives it.
fn unwanted(what: &str) -> Error {
    Error::Device(format!("the pipeline was given {what} that it did not ask for"))
}

impl StepMachine for Generation {
    type Conditioning = Conditioning;
    type Decoded = Picture;

    fn want(&self) -> Want {
        if self.picture.is_some() {
            return Want::Done;
        }
        if self.is_sampled() {
            return Want::Decode { latent: self.latents.map(|value| value / self.scaling_factor) };
        }
        let scaled = self.sampler.model_input(&self.latents);
        let sample = match &self.inpainting {
            Some(inpainting) => inpainting.model_input(scaled),
            None => scaled,
        };
        let timestep = self.sampler.timestep();
        let row =
            |conditioning: &Arc<Conditioning>| Row { sample: sample.clone(), timestep, conditioning: Arc::clone(conditioning) };
        let negative = self.guidance.negative.iter().map(row);
        Want::Evaluate { rows: negative.chain([row(&self.guidance.positive)]).collect() }
    }

    fn give(&mut self, outputs: Outputs) -> Result<()> {
        match outputs {
            Outputs::Evaluated(outputs) if !self.is_sampled() => {
                let output = self.combined(outputs).ok_or_else(|| unwanted("an evaluation"))?;
                let stepped = self.sampler.step(&output, &self.latents, &mut self.generator)?;
                self.latents = match &self.inpainting {
                    Some(inpainting) => inpainting.kept(&*self.sampler, stepped),
                    None => stepped,
                };
                Ok(())
            }
            Outputs::Decoded(picture) if self.is_sampled() && self.picture.is_none() => {
                self.picture = Some(picture);
                Ok(())
            }
            Outputs::Evaluated(_) => Err(unwanted("an evaluation")),
            Outputs::Decoded(_) => Err(unwanted("a picture")),
        }
    }

    fn progress(&self) -> (usize, usize) {
        (self.sampler.done(), self.sampler.evaluations())
    }

    fn predicted(&self) -> Option<&Latent> {
        self.sampler.predicted()
    }

    /// The picture itself is not saved: a machine resumed from after the decode decodes again.
    fn checkpoint(&self) -> Vec<u8> {
        let mut writer = Writer::new(TAG, VERSION);
        writer.u64(self.fingerprint);
        writer.latent(&self.latents);
        writer.bytes(&self.generator.state());
        writer.bytes(&self.sampler.state());
        writer.finish()
    }

    fn resume(&mut self, checkpoint: &[u8]) -> Result<()> {
        let broken = || Error::checkpoint("checkpoint", "its bytes are not a saved generation of this version");
        let read = || {
            let mut reader = Reader::new(checkpoint, TAG, VERSION)?;
            let parts = (reader.u64()?, reader.latent()?, reader.bytes()?, reader.bytes()?);
            reader.finish()?;
            Some(parts)
        };
        let (fingerprint, latents, generator, sampler) = read().ok_or_else(broken)?;
        if fingerprint != self.fingerprint || !latents.same_shape(&self.latents) {
            return Err(Error::checkpoint("checkpoint", "it was made for another request, model or precision"));
        }
        let generator = Generator::from_state(generator).ok_or_else(broken)?;
        self.sampler.restore(sampler)?;
        (self.latents, self.generator, self.picture) = (latents, generator, None);
        Ok(())
    }
}
