//! DPM-Solver++ 2M (Lu et al. 2022; diffusers' `DPMSolverMultistepScheduler` with `dpmsolver++`).

use super::Sampler;
use super::multistep::{Correction, TwoStep};
use super::run::Run;
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWD2";

/// DPM-Solver++ 2M.
#[derive(Debug)]
pub(super) struct Dpmpp2m {
    pub(super) solver: TwoStep,
}

impl Sampler for Dpmpp2m {
    fn initial_noise_scale(&self) -> f32 {
        1.0
    }

    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent {
        self.solver.level().add_noise(clean, noise)
    }

    fn model_input(&self, sample: &Latent) -> Latent {
        sample.clone()
    }

    fn step(&mut self, model_output: &Latent, sample: &Latent, _generator: &mut Generator) -> Result<Latent> {
        let step = self.solver.ingredients(model_output, sample)?;
        let keep = step.to.sigma / step.from.sigma;
        let decay = libm::expf(-step.width) - 1.0;
        let gain = step.to.alpha * decay;
        let first = sample.zip(&step.clean, |sample, clean| keep * sample - gain * clean);
        let next = match &step.difference {
            None => first,
            Some(difference) => {
                let weight = match self.solver.policy.correction {
                    Correction::Midpoint => -0.5 * gain,
                    Correction::Heun => step.to.alpha * (decay / step.width + 1.0),
                };
                first.zip(difference, |first, difference| first + weight * difference)
            }
        };
        self.solver.run.advance(step.clean);
        Ok(next)
    }

    fn state(&self) -> Vec<u8> {
        self.solver.run.save(TAG).finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.solver.restore(TAG, state)
    }

    fn run(&self) -> &Run {
        &self.solver.run
    }
}
