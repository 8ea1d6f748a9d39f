//! The training noise schedule, in torch's precision: tables in f32, the running product in f64.

/// How β grows from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BetaSchedule {
    /// Evenly.
    Linear,
    /// Its square root evenly (Stable Diffusion).
    ScaledLinear,
}

/// The settings of the training schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Betas {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) schedule: BetaSchedule,
    /// How many.
    pub(super) count: usize,
    /// Shifted so that the last step is pure noise (Lin et al. 2024, algorithm 1).
    pub(super) zero_terminal_snr: bool,
}

/// What stands for ᾱ = 0 where a sampler needs a finite σ: the smallest f16.
pub(super) const LEAST_ALPHA_CUMPROD: f32 = 1.0 / 16_777_216.0;

impl Betas {
    /// ᾱ, the products of 1 − β. `finite_last` keeps the last one above zero after the shift, as diffusers does for samplers that
    /// divide by it.
    pub(super) fn alphas_cumprod(&self, zero_terminal_snr: bool, finite_last: bool) -> Vec<f32> {
        let mut betas = match self.schedule {
            BetaSchedule::Linear => linspace(self.start as f32, self.end as f32, self.count),
            BetaSchedule::ScaledLinear => {
                let roots = linspace(self.start.sqrt() as f32, self.end.sqrt() as f32, self.count);
                roots.into_iter().map(|root| root * root).collect()
            }
        };
        if !zero_terminal_snr {
            return products(&betas);
        }
        betas = shift_to_zero_snr(&betas);
        let mut alphas_cumprod = products(&betas);
        if let (true, Some(last)) = (finite_last, alphas_cumprod.last_mut()) {
            *last = LEAST_ALPHA_CUMPROD;
        }
        alphas_cumprod
    }
}

/// `torch.linspace` in f32: from both ends, fused.
pub(crate) fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count == 1 {
        return vec![start];
    }
    let step = (end - start) / (count - 1) as f32;
    (0..count)
        .map(
            |index| {
                if index < count / 2 {
                    step.mul_add(index as f32, start)
                } else {
                    (-step).mul_add((count - 1 - index) as f32, end)
                }
            },
        )
        .collect()
}

/// `torch.cumprod(1 − β)`: accumulated in f64, each stored as f32.
fn products(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0_f64;
    betas
        .iter()
        .map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        })
        .collect()
}

fn shift_to_zero_snr(betas: &[f32]) -> Vec<f32> {
    let mut roots: Vec<f32> = products(betas).into_iter().map(f32::sqrt).collect();
    let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else {
        return Vec::new();
    };
    let scale = first / (first - last);
    for root in &mut roots {
        *root = (*root - last) * scale;
    }
    let squares: Vec<f32> = roots.into_iter().map(|root| root * root).collect();
    let mut previous = 1.0;
    squares
        .into_iter()
        .map(|square| {
            let beta = 1.0 - square / previous;
            previous = square;
            beta
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDXL: Betas =
        Betas { start: 0.00085, end: 0.012, schedule: BetaSchedule::ScaledLinear, count: 1000, zero_terminal_snr: false };

    #[test]
    fn sdxls_table_has_its_known_ends() {
        let alphas_cumprod = SDXL.alphas_cumprod(false, true);
        assert_eq!(alphas_cumprod.len(), 1000);
        assert!((alphas_cumprod[0] - 0.99915).abs() < 1e-7);
        assert!((alphas_cumprod[999] / 0.004_660_095 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_shift_ends_at_zero_and_keeps_the_beginning() {
        let plain = SDXL.alphas_cumprod(false, true);
        let shifted = SDXL.alphas_cumprod(true, false);
        assert_eq!(shifted[999].to_bits(), 0.0_f32.to_bits());
        assert!((shifted[0] - plain[0]).abs() < 1e-6);
        assert_eq!(SDXL.alphas_cumprod(true, true)[999].to_bits(), 2.0_f32.powi(-24).to_bits());
    }
}
