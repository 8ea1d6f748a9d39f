//! Latent consistency sampling (Luo et al. 2023; diffusers' `LCMScheduler`).

use super::Sampler;
use super::ddim::add_noise;
use super::run::{Prediction, Run, clipped};
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWLC";
/// σ of the data in the boundary condition.
const DATA_DEVIATION: f32 = 0.5;

/// Latent consistency: predict the picture, noise it again to the next level.
#[derive(Debug)]
pub(super) struct Lcm {
    pub(super) run: Run,
    pub(super) prediction: Prediction,
    pub(super) clip: Option<f32>,
    /// ᾱ at each evaluation's timestep.
    pub(super) alphas: Vec<f32>,
    pub(super) timestep_scaling: f32,
}

impl Lcm {
    fn alpha(&self, ahead: usize) -> f32 {
        self.alphas.get(self.run.index() + ahead).copied().unwrap_or(1.0)
    }
}

impl Sampler for Lcm {
    fn initial_noise_scale(&self) -> f32 {
        1.0
    }

    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent {
        add_noise(self.alpha(0), clean, noise)
    }

    fn model_input(&self, sample: &Latent) -> Latent {
        sample.clone()
    }

    fn step(&mut self, model_output: &Latent, sample: &Latent, generator: &mut Generator) -> Result<Latent> {
        self.run.check(sample, [model_output])?;
        let alpha = self.alpha(0);
        let predicted = self.prediction.clean_of_preserving(alpha.sqrt(), (1.0 - alpha).sqrt(), model_output, sample);
        let predicted = clipped(predicted, self.clip);
        // Near t = 0 the function must be the identity.
        let scaled = self.run.timestep() * self.timestep_scaling;
        let variance = scaled * scaled + DATA_DEVIATION * DATA_DEVIATION;
        let (skip, out) = (DATA_DEVIATION * DATA_DEVIATION / variance, scaled / variance.sqrt());
        let denoised = predicted.zip(sample, |predicted, sample| out * predicted + skip * sample);
        let next = if self.run.remaining() > 1 {
            let noise = generator.latent(sample.frames, sample.height, sample.width, sample.channels);
            add_noise(self.alpha(1), &denoised, &noise)
        } else {
            denoised.clone()
        };
        self.run.advance(denoised);
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
