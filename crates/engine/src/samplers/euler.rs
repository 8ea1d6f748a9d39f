//! Euler's method on the probability-flow ODE (diffusers' `EulerDiscreteScheduler`, no churn).

use super::Sampler;
use super::run::{Prediction, Run};
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWEU";

/// Euler's method.
#[derive(Debug)]
pub(super) struct Euler {
    pub(super) run: Run,
    pub(super) prediction: Prediction,
    /// Whether the timesteps are spaced from zero upward, which changes the initial scale.
    pub(super) leading: bool,
}

impl Sampler for Euler {
    fn initial_noise_scale(&self) -> f32 {
        self.run.initial_noise_scale(self.leading)
    }

    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent {
        add_noise(&self.run, clean, noise)
    }

    fn model_input(&self, sample: &Latent) -> Latent {
        model_input(&self.run, sample)
    }

    fn step(&mut self, model_output: &Latent, sample: &Latent, _generator: &mut Generator) -> Result<Latent> {
        self.run.check(sample, [model_output])?;
        let sigma = self.run.sigma(0);
        let clean = self.prediction.clean_of_exploding(sigma, model_output, sample);
        let change = self.run.sigma(1) - sigma;
        let next = sample.zip(&clean, |sample, clean| sample + (sample - clean) / sigma * change);
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

/// x0 + σ·noise.
pub(super) fn add_noise(run: &Run, clean: &Latent, noise: &Latent) -> Latent {
    let sigma = run.sigma(0);
    clean.zip(noise, |clean, noise| clean + noise * sigma)
}

/// x / √(σ² + 1).
pub(super) fn model_input(run: &Run, sample: &Latent) -> Latent {
    let sigma = run.sigma(0);
    let scale = (sigma * sigma + 1.0).sqrt();
    sample.map(|value| value / scale)
}
