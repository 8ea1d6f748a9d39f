//! torch's CPU generator.

use std::f64::consts::TAU;

use super::mersenne::{MersenneTwister, WORDS};
use crate::latent::Latent;
use crate::snapshot::{Reader, Writer};

/// From this many values on torch fills a block at once; below, it draws one by one in f64.
const BLOCK: usize = 16;

const TAG: [u8; 4] = *b"FWMT";
const VERSION: u8 = 1;

/// mt19937 seeded and drawn from as torch's CPU generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Generator {
    twister: MersenneTwister,
    /// The second value of a Box-Muller pair of the one-by-one path, kept for the next draw.
    spare: Option<f64>,
}

impl Generator {
    /// Seeds as `torch.Generator().manual_seed(seed)`: only the low 32 bits reach the twister.
    pub fn new(seed: u64) -> Self {
        Self { twister: MersenneTwister::new(seed as u32), spare: None }
    }

    /// `torch.randn(count)`, f32. Transcendental functions are evaluated in f64 and rounded, so that values are the same on every
    /// platform; torch's own vectorised f32 functions differ from them by at most 2.4e-7 (in ATen's `DistributionTemplates.h`).
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.single() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        let (blocks, tail) = values.as_chunks_mut::<BLOCK>();
        blocks.iter_mut().for_each(box_muller);
        if !tail.is_empty() {
            // A last, partial block: its sixteen places are all drawn anew.
            let mut block = [0.0; BLOCK];
            block.fill_with(|| self.uniform());
            box_muller(&mut block);
            values[count - BLOCK..].copy_from_slice(&block);
        }
        values
    }

    /// `torch.randn(frames, channels, height, width)`, permuted to channels last.
    pub fn latent(&mut self, frames: usize, height: usize, width: usize, channels: usize) -> Latent {
        let values = self.normal(frames * channels * height * width);
        Latent::from_channels_first(frames, channels, height, width, &values)
    }

    /// The state as bytes, for checkpoints.
    pub fn state(&self) -> Vec<u8> {
        let mut writer = Writer::new(TAG, VERSION);
        for word in self.twister.words() {
            writer.u32(*word);
        }
        writer.size(self.twister.next_index());
        writer.u8(u8::from(self.spare.is_some()));
        writer.u64(self.spare.unwrap_or_default().to_bits());
        writer.finish()
    }

    /// A generator from [`Self::state`]; `None` when the bytes are not one.
    pub fn from_state(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, TAG, VERSION)?;
        let mut words = Box::new([0; WORDS]);
        for word in words.iter_mut() {
            *word = reader.u32()?;
        }
        let twister = MersenneTwister::from_parts(words, reader.size()?)?;
        let has_spare = reader.u8()?;
        let spare = f64::from_bits(reader.u64()?);
        reader.finish()?;
        match has_spare {
            0 => Some(Self { twister, spare: None }),
            1 => Some(Self { twister, spare: Some(spare) }),
            _ => None,
        }
    }

    /// Uniform in [0, 1) with 24 bits.
    fn uniform(&mut self) -> f32 {
        (self.twister.next_u32() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// Uniform in [0, 1) with 53 bits of two draws, the first one high.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.twister.next_u32());
        let low = u64::from(self.twister.next_u32());
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }

    /// One normal value of the one-by-one path.
    fn single(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let angle = TAU * self.uniform_f64();
        let radius = (-2.0 * libm::log1p(-self.uniform_f64())).sqrt();
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }
}

/// Sixteen uniform values to sixteen normal ones: radii from the first eight, angles from the last eight. Intermediate results are
/// rounded to f32 where torch has them in f32.
fn box_muller(block: &mut [f32; BLOCK]) {
    const HALF: usize = BLOCK / 2;
    for index in 0..HALF {
        let logarithm = libm::log(f64::from(1.0 - block[index])) as f32;
        let radius = (-2.0 * logarithm).sqrt();
        let angle = f64::from(std::f32::consts::TAU * block[index + HALF]);
        block[index] = radius * libm::cos(angle) as f32;
        block[index + HALF] = radius * libm::sin(angle) as f32;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seed_1234_gives_torchs_first_values() {
        let values = Generator::new(1234).normal(16);
        for (value, expected) in values.iter().zip([-0.1117, -0.4966, 0.1631, -0.8817]) {
            assert!((value - expected).abs() < 5e-5, "{value} for {expected}");
        }
    }

    #[test]
    fn the_low_32_bits_of_the_seed_count() {
        assert_eq!(Generator::new(7).normal(20), Generator::new(7 + (1 << 32)).normal(20));
    }

    #[test]
    fn a_partial_block_replaces_the_last_sixteen() {
        let whole = Generator::new(3).normal(32);
        let partial = Generator::new(3).normal(33);
        assert_eq!(whole[..16], partial[..16]);
        assert_ne!(whole[17..], partial[17..32]);
    }

    #[test]
    fn bytes_that_are_no_state_are_refused() {
        let state = Generator::new(1).state();
        assert!(Generator::from_state(&state).is_some());
        assert!(Generator::from_state(&[]).is_none());
        assert!(Generator::from_state(&state[..state.len() - 1]).is_none());
        assert!(Generator::from_state(&[&state[..], &[0]].concat()).is_none());
        let mut far = state;
        let index = 5 + 4 * WORDS;
        far[index..index + 8].copy_from_slice(&(WORDS as u64 + 1).to_le_bytes());
        assert!(Generator::from_state(&far).is_none());
    }

    proptest! {
        #[test]
        fn a_restored_generator_goes_on_alike(seed: u64, before in proptest::collection::vec(0_usize..40, 0..6), after in 1_usize..700) {
            let mut generator = Generator::new(seed);
            for count in before {
                generator.normal(count);
            }
            let mut restored = Generator::from_state(&generator.state()).unwrap();
            prop_assert_eq!(&restored, &generator);
            prop_assert_eq!(restored.normal(after), generator.normal(after));
            prop_assert_eq!(restored.normal(3), generator.normal(3));
        }

        #[test]
        fn hostile_states_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let _ = Generator::from_state(&bytes);
        }
    }
}
