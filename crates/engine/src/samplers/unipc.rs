//! UniPC (Zhao et al. 2023; diffusers' `UniPCMultistepScheduler`, predicting x0): a predictor of at most the second order, and a
//! corrector that uses each evaluation once more to mend the step that led to it.

use super::Sampler;
use super::multistep::Level;
use super::run::{Prediction, Run};
use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

const TAG: [u8; 4] = *b"FWUP";

/// B(h) of the paper (`solver_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scaling {
    /// h.
    Bh1,
    /// eʰ − 1.
    Bh2,
}

/// UniPC.
#[derive(Debug)]
pub(super) struct UniPc {
    pub(super) run: Run,
    pub(super) prediction: Prediction,
    pub(super) scaling: Scaling,
    /// 1 or 2.
    pub(super) highest_order: usize,
    pub(super) lower_order_final: bool,
    pub(super) history: History,
}

/// What one step leaves for the next.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The (corrected) sample that the last step began with.
    sample: Option<Latent>,
    /// The prediction before the last one, which [`Run`] keeps.
    before_last: Option<Latent>,
    /// The order of the last step; 0 before the first.
    order: usize,
}

/// The scalars of one update from `from` to `to`, all in f32 as torch has them.
struct Coefficients {
    /// Weight of the sample.
    keep: f32,
    /// Weight of the prediction at `from`, negated.
    gain: f32,
    /// α·B(h).
    scale: f32,
    /// The right-hand sides of the order conditions.
    conditions: [f32; 2],
    width: f32,
}

impl Coefficients {
    fn new(scaling: Scaling, from: Level, to: Level) -> Self {
        let width = to.lambda - from.lambda;
        let negative = -width;
        let growth = libm::expm1f(negative);
        let scale = match scaling {
            Scaling::Bh1 => negative,
            Scaling::Bh2 => growth,
        };
        let first = growth / negative - 1.0;
        let second = first / negative - 0.5;
        Self {
            keep: to.sigma / from.sigma,
            gain: to.alpha * growth,
            scale: to.alpha * scale,
            conditions: [first / scale, second * 2.0 / scale],
            width,
        }
    }
}

impl UniPc {
    /// Mends `sample`, which the last step led to, with the prediction now made there.
    fn corrected(&self, sample: &Latent, clean: &Latent) -> Latent {
        let (Some(begin), Some(last)) = (&self.history.sample, self.run.predicted()) else {
            return sample.clone();
        };
        let (to, from) = (Level::new(self.run.sigma(0)), Level::new(self.run.sigma_before(1)));
        let coefficients = Coefficients::new(self.scaling, from, to);
        let base = begin.zip(last, |begin, last| coefficients.keep * begin - coefficients.gain * last);
        let newest = clean.zip(last, |clean, last| clean - last);
        let residual = match (&self.history.before_last, self.history.order) {
            (Some(before), 2..) => {
                let earlier = Level::new(self.run.sigma_before(2));
                let ratio = (earlier.lambda - from.lambda) / coefficients.width;
                let [outer, inner] = solve(ratio, coefficients.conditions);
                let older = before.zip(last, |before, last| (before - last) / ratio);
                older.zip(&newest, |older, newest| outer * older + inner * newest)
            }
            _ => newest.map(|newest| 0.5 * newest),
        };
        base.zip(&residual, |base, residual| base - coefficients.scale * residual)
    }

    /// The next sample from a (corrected) one.
    fn predicted_sample(&self, sample: &Latent, clean: &Latent, order: usize) -> Latent {
        let (to, from) = (Level::new(self.run.sigma(1)), Level::new(self.run.sigma(0)));
        let coefficients = Coefficients::new(self.scaling, from, to);
        let base = sample.zip(clean, |sample, clean| coefficients.keep * sample - coefficients.gain * clean);
        match self.run.predicted() {
            Some(last) if order == 2 => {
                let earlier = Level::new(self.run.sigma_before(1));
                let ratio = (earlier.lambda - from.lambda) / coefficients.width;
                let difference = last.zip(clean, |last, clean| (last - clean) / ratio);
                base.zip(&difference, |base, difference| base - coefficients.scale * (0.5 * difference))
            }
            _ => base,
        }
    }
}

/// Solves x + y = a, ratio·x + y = b: Gaussian elimination with pivoting, as torch's solver.
fn solve(ratio: f32, [a, b]: [f32; 2]) -> [f32; 2] {
    if ratio.abs() > 1.0 {
        let factor = 1.0 / ratio;
        let y = (a - factor * b) / (1.0 - factor);
        [(b - y) / ratio, y]
    } else {
        let y = (b - ratio * a) / (1.0 - ratio);
        [a - y, y]
    }
}

impl Sampler for UniPc {
    fn initial_noise_scale(&self) -> f32 {
        1.0
    }

    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent {
        Level::new(self.run.sigma(0)).add_noise(clean, noise)
    }

    fn model_input(&self, sample: &Latent) -> Latent {
        sample.clone()
    }

    fn step(&mut self, model_output: &Latent, sample: &Latent, _generator: &mut Generator) -> Result<Latent> {
        let saved = self.run.predicted().into_iter().chain(&self.history.sample).chain(&self.history.before_last);
        self.run.check(sample, std::iter::once(model_output).chain(saved))?;
        let level = Level::new(self.run.sigma(0));
        let clean = self.prediction.clean_of_preserving(level.alpha, level.sigma, model_output, sample);
        let sample = self.corrected(sample, &clean);
        let affordable = if self.lower_order_final { self.run.remaining() } else { self.highest_order };
        let order = self.highest_order.min(affordable).min(self.run.done() + 1);
        let next = self.predicted_sample(&sample, &clean, order);
        self.history = History { sample: Some(sample), before_last: self.run.predicted().cloned(), order };
        self.run.advance(clean);
        Ok(next)
    }

    fn state(&self) -> Vec<u8> {
        let mut writer = self.run.save(TAG);
        writer.optional_latent(self.history.sample.as_ref());
        writer.optional_latent(self.history.before_last.as_ref());
        writer.size(self.history.order);
        writer.finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let highest_order = self.highest_order;
        (self.run, self.history) = self.run.restored(TAG, state, |reader, run| {
            let (sample, before_last) = (reader.optional_latent()?, reader.optional_latent()?);
            let order = reader.size()?;
            let consistent = order <= highest_order
                && (order > 0) == (run.done() > 0)
                && sample.is_some() == (run.done() > 0)
                && before_last.is_some() == (run.done() > 1);
            consistent.then_some(History { sample, before_last, order })
        })?;
        Ok(())
    }

    fn run(&self) -> &Run {
        &self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solver_solves_on_both_sides_of_the_pivot() {
        for ratio in [-3.0, -1.0, -0.4] {
            let [x, y] = solve(ratio, [0.7, -0.2]);
            assert!((x + y - 0.7).abs() < 1e-6 && (ratio * x + y + 0.2).abs() < 1e-6, "{ratio}: {x} {y}");
        }
    }
}
