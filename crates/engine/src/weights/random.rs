//! Weights by formula, for tests and benchmarks: any size, no files, the same in every language.

use rayon::prelude::*;

use super::source::{HostTensor, TensorSource};
use crate::error::{Error, Result};

/// Spread of norm weights around one.
const NORM_SPREAD: f64 = 0.2;
/// Spread of biases around zero.
const BIAS_SPREAD: f64 = 0.1;
/// Spread of token and position embeddings.
const EMBEDDING_SPREAD: f64 = 0.5;
/// The last convolutions get half of what keeps the variance, so that pictures do not clip.
const OUTPUT_GAIN: f64 = 0.5;
/// Values computed by one task.
const PIECE: usize = 1 << 16;

/// A source whose tensors are a function of their name, shape and index (see `tests/fixtures/README.md` for the formula).
#[derive(Clone, Debug, Default)]
pub struct RandomWeights {
    salt: String,
}

impl RandomWeights {
    /// Weights that differ for every `salt`: two text encoders of one model share all names.
    pub fn salted(salt: impl Into<String>) -> Self {
        Self { salt: salt.into() }
    }

    /// The values of tensor `name`.
    pub fn values(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let (offset, scale) = offset_and_scale(name, shape);
        uniform(&format!("{}{name}", self.salt), shape.iter().product(), offset, scale)
    }
}

/// `count` values `offset + (2u − 1)·scale` of the stream called `name`: one f32 product and one f32 sum each. `u` is the top 24 bits
/// of splitmix64's i-th output, started at the FNV-1a hash of the name.
pub fn uniform(name: &str, count: usize, offset: f32, scale: f32) -> Vec<f32> {
    let start = fnv1a64(name);
    let mut values = vec![0.0; count];
    values.par_chunks_mut(PIECE).enumerate().for_each(|(piece, values)| {
        let first = (piece * PIECE) as u64 + 1;
        for (index, value) in (first..).zip(values) {
            let top = splitmix64(start.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15))) >> 40;
            *value = offset + (top as f32 * (2.0 / 16_777_216.0) - 1.0) * scale;
        }
    });
    values
}

fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

fn splitmix64(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// The rule: no parameter keeps a special value, because a zero bias or a norm weight of one would hide its own loss.
fn offset_and_scale(name: &str, shape: &[usize]) -> (f32, f32) {
    let is_weight = name.ends_with(".weight");
    let (offset, scale) = match shape {
        [] | [_] if is_weight => (1.0, NORM_SPREAD),
        [] | [_] => (0.0, BIAS_SPREAD),
        _ if name.ends_with("token_embedding.weight") || name.ends_with("position_embedding.weight") => (0.0, EMBEDDING_SPREAD),
        [_, inputs @ ..] => {
            let gain = if name.ends_with("conv_out.weight") { OUTPUT_GAIN } else { 1.0 };
            // Keeps the variance through the layer.
            (0.0, gain * (3.0 / inputs.iter().product::<usize>() as f64).sqrt())
        }
    };
    (offset, scale as f32)
}

impl TensorSource for RandomWeights {
    fn component(&self) -> &'static str {
        "random weights"
    }
    fn has(&self, _name: &str) -> bool {
        true
    }
    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        if shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side)).is_none() {
            return Err(Error::checkpoint(
                self.component(),
                format!("{name}: {shape:?} has more values than memory has addresses"),
            ));
        }
        Ok(HostTensor::Values { shape: shape.to_vec(), values: self.values(name, shape) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_shapes_and_indices_decide_the_values() {
        let plain = RandomWeights::default();
        // First values and scale of the reference implementation in scripts/golden/weights.py.
        assert_eq!(fnv1a64("conv_in.weight"), 0x1ce6_9906_bdc5_74a7);
        let values = plain.values("conv_in.weight", &[32, 4, 3, 3]);
        assert_eq!(values[..4], [0.041_136_22, 0.221_277_88, -0.236_696_87, -0.114_135_07]);
        assert_eq!(values.last(), Some(&-0.047_414_068));
        assert_eq!(plain.values("conv_norm_out.weight", &[32])[..1], [0.893_359_7]);
        assert_eq!(plain.values("conv_norm_out.bias", &[32])[..1], [0.020_737_28]);
        let salted = RandomWeights::salted("two_level/text_encoder_2/");
        assert_eq!(salted.values("text_projection.weight", &[24, 40])[..1], [-0.000_302_995_03]);
    }

    #[test]
    fn pieces_join_without_a_seam() {
        let long = uniform("x", 3 * PIECE + 5, 0.0, 1.0);
        let start = fnv1a64("x");
        for index in [0, PIECE - 1, PIECE, 2 * PIECE + 1, 3 * PIECE + 4] {
            let z = splitmix64(start.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let expected = 2.0 * ((z >> 40) as f32 / 16_777_216.0) - 1.0;
            assert_eq!(long[index..=index], [expected]);
        }
    }

    #[test]
    fn a_shape_that_overflows_is_refused() {
        assert!(RandomWeights::default().take("a.weight", &[usize::MAX, 2]).is_err());
    }
}
