//! DPM-Solver++ 2M on the diffusion SDE (diffusers' `DPMSolverMultistepScheduler` with `sde-dpmsolver++`).

use super::Sampler;
use super::multistep::{Correction, TwoStep};
use super::run::Run;
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWDS";

/// DPM-Solver++ 2M with fresh noise in every step.
#[derive(Debug)]
pub(super) struct Dpmpp2mSde {
    pub(super) solver: TwoStep,
}

impl Sampler for Dpmpp2mSde {
    fn initial_noise_scale(&self) -> f32 {
        1.0
    }

    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent {
        self.solver.level().add_noise(clean, noise)
    }

    fn model_input(&self, sample: &Latent) -> Latent {
        sample.clone()
    }

    fn step(&mut self, model_output: &Latent, sample: &Latent, generator: &mut Generator) -> Result<Latent> {
        let step = self.solver.ingredients(model_output, sample)?;
        // Drawn on the last step too, where its weight may be 0, as diffusers does.
        let noise = generator.latent(sample.frames, sample.height, sample.width, sample.channels);
        let keep = step.to.sigma / step.from.sigma * libm::expf(-step.width);
        let fresh = 1.0 - libm::expf(-2.0 * step.width);
        let gain = step.to.alpha * fresh;
        let first = sample.zip(&step.clean, |sample, clean| keep * sample + gain * clean);
        let drifted = match &step.difference {
            None => first,
            Some(difference) => {
                let weight = match self.solver.policy.correction {
                    Correction::Midpoint => 0.5 * gain,
                    Correction::Heun => step.to.alpha * (fresh / (-2.0 * step.width) + 1.0),
                };
                first.zip(difference, |first, difference| first + weight * difference)
            }
        };
        let deviation = step.to.sigma * fresh.sqrt();
        self.solver.run.advance(step.clean);
        Ok(drifted.zip(&noise, |drifted, noise| drifted + deviation * noise))
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
