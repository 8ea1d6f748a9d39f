//! What DPM-Solver++ 2M, its stochastic form, and UniPC share: noise levels in the variance-preserving form, log-SNR steps, and the
//! memory of the last predictions (Lu et al. 2022; Zhao et al. 2023).

use super::run::{Prediction, Run};
use crate::error::Result;
use crate::latent::Latent;

/// A noise level: α² + σ² = 1, λ = ln α − ln σ (infinite at σ = 0).
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) alpha: f32,
    pub(super) sigma: f32,
    pub(super) lambda: f32,
}

impl Level {
    /// From σ of the form x0 + σ·noise.
    pub(super) fn new(exploding_sigma: f32) -> Self {
        let alpha = 1.0 / (exploding_sigma * exploding_sigma + 1.0).sqrt();
        let sigma = exploding_sigma * alpha;
        Self { alpha, sigma, lambda: libm::logf(alpha) - libm::logf(sigma) }
    }

    /// α·x0 + σ·noise.
    pub(super) fn add_noise(self, clean: &Latent, noise: &Latent) -> Latent {
        clean.zip(noise, |clean, noise| self.alpha * clean + self.sigma * noise)
    }
}

/// How the second-order term is weighted (`solver_type` of DPM-Solver++).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Correction {
    Midpoint,
    Heun,
}

/// When a solver falls back to the first order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrderPolicy {
    /// 1 or 2.
    pub(super) highest: usize,
    /// The last step is of the first order when there are fewer than 15.
    pub(super) lower_order_final: bool,
    /// The last step is of the first order always (`euler_at_final`, or a final σ of 0).
    pub(super) first_order_last: bool,
    pub(super) correction: Correction,
}

/// The state of DPM-Solver++ with at most two predictions in play.
#[derive(Debug)]
pub(super) struct TwoStep {
    pub(super) run: Run,
    pub(super) prediction: Prediction,
    pub(super) policy: OrderPolicy,
}

/// One step's ingredients.
pub(super) struct Ingredients {
    /// Where the step ends.
    pub(super) to: Level,
    /// Where it begins.
    pub(super) from: Level,
    /// λ(to) − λ(from).
    pub(super) width: f32,
    /// The prediction at `from`.
    pub(super) clean: Latent,
    /// Its divided difference to the one before; `None` in a step of the first order.
    pub(super) difference: Option<Latent>,
}

impl TwoStep {
    pub(super) fn level(&self) -> Level {
        Level::new(self.run.sigma(0))
    }

    pub(super) fn ingredients(&self, model_output: &Latent, sample: &Latent) -> Result<Ingredients> {
        self.run.check(sample, std::iter::once(model_output).chain(self.run.predicted()))?;
        let (to, from) = (Level::new(self.run.sigma(1)), self.level());
        let clean = self.prediction.clean_of_preserving(from.alpha, from.sigma, model_output, sample);
        let width = to.lambda - from.lambda;
        let steps = self.run.timesteps().len();
        let last = self.run.remaining() == 1;
        let first_order =
            self.policy.highest == 1 || last && (self.policy.first_order_last || self.policy.lower_order_final && steps < 15);
        let difference = match self.run.predicted() {
            Some(before) if !first_order => {
                let ratio = (from.lambda - Level::new(self.run.sigma_before(1)).lambda) / width;
                let inverse = 1.0 / ratio;
                Some(clean.zip(before, |clean, before| inverse * (clean - before)))
            }
            _ => None,
        };
        Ok(Ingredients { to, from, width, clean, difference })
    }

    pub(super) fn restore(&mut self, tag: [u8; 4], state: &[u8]) -> Result<()> {
        (self.run, ()) = self.run.restored(tag, state, |_, _| Some(()))?;
        Ok(())
    }
}
