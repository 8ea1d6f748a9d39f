//! Heun's second-order method (diffusers' `HeunDiscreteScheduler`): two evaluations a step, the last step has one.

use super::Sampler;
use super::euler::{add_noise, model_input};
use super::run::{Prediction, Run, clipped};
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWHE";

/// Heun's method. In the schedule every level but the first and the last stands twice: once as the end of a step, once as the
/// beginning of the next.
#[derive(Debug)]
pub(super) struct Heun {
    pub(super) run: Run,
    pub(super) prediction: Prediction,
    pub(super) leading: bool,
    pub(super) clip: Option<f32>,
    /// Set between the two evaluations of a step.
    pub(super) first_half: Option<FirstHalf>,
}

/// What the first evaluation of a step leaves for the second.
#[derive(Debug)]
pub(super) struct FirstHalf {
    sample: Latent,
    derivative: Latent,
}

impl Sampler for Heun {
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
        self.run.check(sample, std::iter::once(model_output).chain(self.first_half.as_ref().map(|half| &half.sample)))?;
        let sigma = self.run.sigma(0);
        let clean = clipped(self.prediction.clean_of_exploding(sigma, model_output, sample), self.clip);
        let derivative = sample.zip(&clean, |sample, clean| (sample - clean) / sigma);
        let next = match self.first_half.take() {
            None => {
                let change = self.run.sigma(1) - sigma;
                let next = sample.zip(&derivative, |sample, derivative| sample + derivative * change);
                // A last step to σ = 0 has no second half: there is nothing to divide by.
                if self.run.remaining() > 1 {
                    self.first_half = Some(FirstHalf { sample: sample.clone(), derivative });
                }
                next
            }
            Some(first) => {
                let change = sigma - self.run.sigma_before(1);
                let mean = first.derivative.zip(&derivative, |first, second| 0.5 * (first + second));
                first.sample.zip(&mean, |sample, derivative| sample + derivative * change)
            }
        };
        self.run.advance(clean);
        Ok(next)
    }

    fn state(&self) -> Vec<u8> {
        let mut writer = self.run.save(TAG);
        writer.optional_latent(self.first_half.as_ref().map(|half| &half.sample));
        writer.optional_latent(self.first_half.as_ref().map(|half| &half.derivative));
        writer.finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        (self.run, self.first_half) = self.run.restored(TAG, state, |reader, run| {
            let first_half = match (reader.optional_latent()?, reader.optional_latent()?) {
                (Some(sample), Some(derivative)) if sample.same_shape(&derivative) => Some(FirstHalf { sample, derivative }),
                (None, None) => None,
                _ => return None,
            };
            let between = run.done() % 2 == 1 && run.remaining() > 0;
            (first_half.is_some() == between).then_some(first_half)
        })?;
        Ok(())
    }

    fn run(&self) -> &Run {
        &self.run
    }
}
