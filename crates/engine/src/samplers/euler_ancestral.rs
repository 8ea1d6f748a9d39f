//! Euler's method with ancestral noise (diffusers' `EulerAncestralDiscreteScheduler`).

use super::Sampler;
use super::euler::{add_noise, model_input};
use super::run::{Prediction, Run};
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWEA";

/// Euler's method to a lower noise level than the next, then fresh noise up to it.
#[derive(Debug)]
pub(super) struct EulerAncestral {
    pub(super) run: Run,
    pub(super) prediction: Prediction,
    pub(super) leading: bool,
}

impl Sampler for EulerAncestral {
    fn initial_noise_scale(&self) -> f32 {
        self.run.initial_noise_scale(self.leading)
    }

    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent {
        add_noise(&self.run, clean, noise)
    }

    fn model_input(&self, sample: &Latent) -> Latent {
        model_input(&self.run, sample)
    }

    fn step(&mut self, model_output: &Latent, sample: &Latent, generator: &mut Generator) -> Result<Latent> {
        self.run.check(sample, [model_output])?;
        let (from, to) = (self.run.sigma(0), self.run.sigma(1));
        let clean = self.prediction.clean_of_exploding(from, model_output, sample);
        let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
        let down = (to * to - up * up).sqrt();
        let change = down - from;
        let lower = sample.zip(&clean, |sample, clean| sample + (sample - clean) / from * change);
        // Drawn on the last step too, where `up` is 0: the generator's position must not depend on the schedule.
        let noise = generator.latent(sample.frames, sample.height, sample.width, sample.channels);
        self.run.advance(clean);
        Ok(lower.zip(&noise, |lower, noise| lower + noise * up))
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
