//! Noise levels σ = √((1 − ᾱ)/ᾱ): by timestep, respaced, and back to timesteps. f32 and f64 where diffusers has them.

use super::betas::LEAST_ALPHA_CUMPROD;
use super::kind::SigmaSpacing;
use super::spacing::linspace;

/// Karras' ρ.
const RHO: f64 = 7.0;

/// σ of every training timestep.
#[derive(Clone, Debug)]
pub(super) struct SigmaTable {
    sigmas: Vec<f32>,
    logarithms: Vec<f32>,
}

impl SigmaTable {
    pub(super) fn new(alphas_cumprod: &[f32]) -> Self {
        let sigmas: Vec<f32> = alphas_cumprod.iter().map(|alpha| sigma(*alpha)).collect();
        let logarithms = sigmas.iter().map(|sigma| libm::logf(*sigma)).collect();
        Self { sigmas, logarithms }
    }

    /// σ of the first timestep.
    pub(super) fn least(&self) -> f32 {
        self.sigmas.first().copied().unwrap_or_default()
    }

    /// σ of the last timestep.
    pub(super) fn greatest(&self) -> f32 {
        self.sigmas.last().copied().unwrap_or_default()
    }

    /// σ at a possibly fractional timestep, linear in between, constant outside.
    pub(super) fn at(&self, timestep: f64) -> f64 {
        let last = self.sigmas.len() - 1;
        if timestep <= 0.0 {
            return f64::from(self.sigmas[0]);
        }
        if timestep >= last as f64 {
            return f64::from(self.sigmas[last]);
        }
        let below = timestep as usize;
        let (low, high) = (f64::from(self.sigmas[below]), f64::from(self.sigmas[below + 1]));
        (high - low) * (timestep - below as f64) + low
    }

    /// The fractional timestep whose σ this is, linear in log σ.
    pub(super) fn timestep_of(&self, sigma: f64) -> f64 {
        let logarithm = libm::log(sigma.max(1e-10));
        // σ rises with the timestep, so the entries at or below it come first.
        let at_or_below = self.logarithms.partition_point(|entry| f64::from(*entry) <= logarithm);
        let low = at_or_below.saturating_sub(1).min(self.logarithms.len().saturating_sub(2));
        let (below, above) = (self.logarithms[low], self.logarithms[low + 1]);
        let weight = ((f64::from(below) - logarithm) / f64::from(below - above)).clamp(0.0, 1.0);
        (1.0 - weight) * low as f64 + weight * (low + 1) as f64
    }
}

/// √((1 − ᾱ)/ᾱ).
fn sigma(alpha_cumprod: f32) -> f32 {
    // The end of a zero-terminal-SNR schedule. The exact root of 2²⁴ − 1 lies halfway between two floats; torch's square root, which
    // is not always correctly rounded, gives the upper one, and the first step multiplies the difference by thousands.
    if alpha_cumprod.to_bits() == LEAST_ALPHA_CUMPROD.to_bits() { 4096.0 } else { ((1.0 - alpha_cumprod) / alpha_cumprod).sqrt() }
}

/// `count` levels from `greatest` to `least`.
pub(super) fn respaced(spacing: SigmaSpacing, greatest: f64, least: f64, count: usize) -> Vec<f64> {
    match spacing {
        SigmaSpacing::Karras => {
            let (from, to) = (libm::pow(greatest, 1.0 / RHO), libm::pow(least, 1.0 / RHO));
            linspace(0.0, 1.0, count).into_iter().map(|ramp| libm::pow(from + ramp * (to - from), RHO)).collect()
        }
        SigmaSpacing::Plain | SigmaSpacing::Exponential => {
            linspace(libm::log(greatest), libm::log(least), count).into_iter().map(libm::exp).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::betas::{BetaSchedule, Betas};
    use super::*;

    fn sdxl() -> SigmaTable {
        let betas =
            Betas { start: 0.00085, end: 0.012, schedule: BetaSchedule::ScaledLinear, count: 1000, zero_terminal_snr: false };
        SigmaTable::new(&betas.alphas_cumprod(false, true))
    }

    #[track_caller]
    fn close(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 2e-6, "{value} for {expected}");
    }

    #[test]
    fn sdxls_levels() {
        let table = sdxl();
        close(f64::from(table.least()), 0.029_167_533);
        close(f64::from(table.greatest()), 14.614_647);
        close(table.at(958.0), 11.476_85);
        close(table.at(925.0), 9.543_59);
        close(table.at(2000.0), 14.614_647);
        close(table.at(-1.0), 0.029_167_533);
    }

    #[test]
    fn karras_levels_and_their_timesteps() {
        let table = sdxl();
        let levels = respaced(SigmaSpacing::Karras, f64::from(table.greatest()), f64::from(table.least()), 25);
        close(levels[1], 12.283_04);
        close(levels[2], 10.277_83);
        let levels = respaced(SigmaSpacing::Karras, table.at(958.0), table.at(1.0), 30);
        close(levels[1], 10.031_29);
        assert!((table.timestep_of(levels[1]) - 934.07).abs() < 0.005);
        assert!((table.timestep_of(levels[2]) - 908.79).abs() < 0.005);
    }

    #[test]
    fn a_levels_timestep_has_that_level() {
        let table = sdxl();
        for timestep in [0_u32, 1, 2, 500, 998, 999] {
            let back = table.timestep_of(table.at(f64::from(timestep)));
            assert!((back - f64::from(timestep)).abs() < 1e-3, "{timestep}: {back}");
        }
        assert!((table.timestep_of(1e9) - 999.0).abs() < 1e-9);
        assert!(table.timestep_of(0.0).abs() < 1e-9);
    }
}
