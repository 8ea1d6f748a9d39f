//! DDIM with η = 0 (Song et al. 2021; diffusers' `DDIMScheduler`).

use super::Sampler;
use super::run::{Prediction, Run, clipped};
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWDI";

/// DDIM. `alphas[i]` is ᾱ at evaluation i's timestep, `previous_alphas[i]` that of the timestep it steps to.
#[derive(Debug)]
pub(super) struct Ddim {
    pub(super) run: Run,
    pub(super) prediction: Prediction,
    pub(super) clip: Option<f32>,
    pub(super) alphas: Vec<f32>,
    pub(super) previous_alphas: Vec<f32>,
}

impl Ddim {
    fn alpha(&self) -> f32 {
        self.alphas.get(self.run.index()).copied().unwrap_or(1.0)
    }
}

impl Sampler for Ddim {
    fn initial_noise_scale(&self) -> f32 {
        1.0
    }

    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent {
        add_noise(self.alpha(), clean, noise)
    }

    fn model_input(&self, sample: &Latent) -> Latent {
        sample.clone()
    }

    fn step(&mut self, model_output: &Latent, sample: &Latent, _generator: &mut Generator) -> Result<Latent> {
        self.run.check(sample, [model_output])?;
        let alpha = self.alpha();
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let predicted = self.prediction.clean_of_preserving(signal, noise, model_output, sample);
        // The noise is taken from the prediction before clipping.
        let epsilon = match self.prediction {
            Prediction::Epsilon => model_output.clone(),
            Prediction::V => model_output.zip(sample, |output, sample| signal * output + noise * sample),
            Prediction::Sample => sample.zip(&predicted, |sample, clean| (sample - signal * clean) / noise),
        };
        let clean = clipped(predicted, self.clip);
        let previous = self.previous_alphas.get(self.run.index()).copied().unwrap_or(1.0);
        let (signal, noise) = (previous.sqrt(), (1.0 - previous).sqrt());
        let next = clean.zip(&epsilon, |clean, epsilon| signal * clean + noise * epsilon);
        self.run.advance(clean);
        Ok(next)
    }

    fn state(&self) -> Vec<u8> {
        self.run.save(TAG).finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        (self.run, ()) = self.run.restored(TAG, state, |_, _| Some(()))?;
        Ok(())
    }

    fn run(&self) -> &Run {
        &self.run
    }
}

/// √ᾱ·x0 + √(1 − ᾱ)·noise.
pub(super) fn add_noise(alpha: f32, clean: &Latent, noise: &Latent) -> Latent {
    let (signal, deviation) = (alpha.sqrt(), (1.0 - alpha).sqrt());
    clean.zip(noise, |clean, noise| signal * clean + deviation * noise)
}
