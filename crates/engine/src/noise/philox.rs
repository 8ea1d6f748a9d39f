//! CUDA's generator: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), drawn from as
//! `torch.randn(…, device="cuda")` and A1111's noise source "GPU" do.

use std::f64::consts::TAU;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// A counter-based generator: value `i` of draw `n` depends on the seed, `n` and `i` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhiloxGenerator {
    seed: u64,
    draws: u32,
}

impl PhiloxGenerator {
    /// Seeds as `torch.Generator("cuda").manual_seed(seed)`.
    pub fn new(seed: u64) -> Self {
        Self { seed, draws: 0 }
    }

    /// `torch.randn(count, device="cuda")`, f32.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let draw = self.draws;
        self.draws = self.draws.wrapping_add(1);
        (0..count)
            .map(|index| {
                let [first, second, ..] = philox([draw, 0, index as u32, 0], key);
                let unit = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
                ((-2.0 * libm::log(unit(first))).sqrt() * libm::sin(TAU * unit(second))) as f32
            })
            .collect()
    }
}

/// The block function: a counter to four random words.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let wide = |left: u32, right: u32| {
        let product = u64::from(left) * u64::from(right);
        ((product >> 32) as u32, product as u32)
    };
    let mut words = counter;
    let mut key = key;
    for _ in 0..ROUNDS {
        let (high_a, low_a) = wide(MULTIPLIERS[0], words[0]);
        let (high_b, low_b) = wide(MULTIPLIERS[1], words[2]);
        words = [high_b ^ words[1] ^ key[0], low_b, high_a ^ words[3] ^ key[1], low_a];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_function_has_the_published_answers() {
        // Random123's known-answer tests.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn seed_0_gives_cudas_first_values() {
        let expected = [-0.924_662_6, -0.425_344_06, -2.643_845_7, 0.145_183_9, -0.120_866_51, -0.579_725_7];
        for (value, expected) in PhiloxGenerator::new(0).normal(16).into_iter().zip(expected) {
            assert!((value - expected).abs() < 5e-7, "{value} for {expected}");
        }
    }

    #[test]
    fn draws_differ_and_repeat_with_the_seed() {
        let mut generator = PhiloxGenerator::new(5);
        let first = generator.normal(8);
        assert_ne!(first, generator.normal(8));
        assert_eq!(first, PhiloxGenerator::new(5).normal(8));
        assert!(first.iter().all(|value| value.is_finite()));
    }
}
