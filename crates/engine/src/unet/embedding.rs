//! Timesteps, picture sizes and pooled text as one vector per row.

use crate::activation::{Activation, Shape};
use crate::error::Result;
use crate::ops::{Epilogue, Function, Linear, Ops, Output};
use crate::weights::Scope;

/// Two layers over a sinusoid or a vector: `linear_2(silu(linear_1(x)))`.
#[derive(Debug)]
pub(crate) struct EmbeddingLayers {
    first: Linear,
    second: Linear,
}

impl EmbeddingLayers {
    /// From `channels[0]` by way of `channels[1]` to `channels[2]`.
    pub(crate) fn load(ops: &Ops, scope: &Scope<'_>, channels: [usize; 3]) -> Result<Self> {
        let [in_channels, inner_channels, out_channels] = channels;
        Ok(Self {
            first: Linear::load(ops, &scope.enter("linear_1"), in_channels, inner_channels, true)?,
            second: Linear::load(ops, &scope.enter("linear_2"), inner_channels, out_channels, true)?,
        })
    }

    /// `rows` vectors, and what is added to them.
    pub(crate) fn forward(&self, ops: &Ops, rows: usize, vectors: &[f32], addend: Option<&Activation>) -> Result<Activation> {
        let input = ops.upload(Shape::vectors(rows, vectors.len() / rows), vectors)?;
        let silu = Epilogue { function: Function::Silu, output: Output::Operand, ..Epilogue::default() };
        let hidden = self.first.forward(ops, &input, silu)?;
        self.second.forward(ops, &hidden, Epilogue { residual: addend, ..Epilogue::default() })
    }
}

/// How numbers become sinusoids (diffusers' `Timesteps`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sinusoid {
    /// Cosines before sines.
    pub(crate) flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in the exponent's divisor.
    pub(crate) freq_shift: f32,
}

/// The sinusoid of `value` with `channels` numbers, appended to `vector`.
///
/// In f32 in the order of diffusers' `get_timestep_embedding` (models/embeddings.py): the angle of the first frequencies is the value
/// itself, so at 1000 a differently rounded product would already show in the fifth digit.
pub(crate) fn push_sinusoid(vector: &mut Vec<f32>, value: f32, channels: usize, sinusoid: Sinusoid) {
    let half = channels / 2;
    let divisor = half as f32 - sinusoid.freq_shift;
    let angle = |index: usize| {
        let exponent = -(10_000_f64.ln() as f32) * index as f32 / divisor;
        f64::from(value * f64::from(exponent).exp() as f32)
    };
    let sines = (0..half).map(|index| angle(index).sin() as f32);
    let cosines = (0..half).map(|index| angle(index).cos() as f32);
    if sinusoid.flip_sin_to_cos {
        vector.extend(cosines.chain(sines));
    } else {
        vector.extend(sines.chain(cosines));
    }
    vector.resize(vector.len() + channels % 2, 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: Sinusoid = Sinusoid { flip_sin_to_cos: true, freq_shift: 0.0 };

    #[test]
    fn published_sinusoids() {
        // torch's values. Its exponential misses the nearest f32 by one step at some frequencies, which turns the angle by up to
        // 958 · 2⁻²⁴; f64 throughout would be as far off at others.
        for (value, channels, cosines, sines) in [
            (
                1024.0,
                256,
                [0.987_353_6, -0.537_617_2, 0.683_457_2, -0.491_926_8],
                [-0.158_533_4, -0.843_189, 0.729_990_6, 0.870_636_6],
            ),
            (
                958.0,
                320,
                [-0.982_796_3, 0.932_902_6, 0.768_193_66, -0.235_762_3],
                [0.184_692_9, -0.360_128_8, -0.640_217_5, 0.971_810_8],
            ),
            (
                1.637_770_2,
                320,
                [-0.066_923_8, 0.024_639_1, 0.110_903_6, 0.191_592_6],
                [0.997_758_1, 0.999_696_4, 0.993_831_2, 0.981_474_6],
            ),
        ] {
            let mut vector = Vec::new();
            push_sinusoid(&mut vector, value, channels, PUBLISHED);
            assert_eq!(vector.len(), channels);
            for (given, expected) in vector.iter().zip(cosines).chain(vector[channels / 2..].iter().zip(sines)) {
                assert!((given - expected).abs() < 6e-5, "{value}: {given} is not {expected}");
            }
        }
    }

    #[test]
    fn order_and_padding() {
        let plain = Sinusoid { flip_sin_to_cos: false, ..PUBLISHED };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        push_sinusoid(&mut first, 3.0, 9, PUBLISHED);
        push_sinusoid(&mut second, 3.0, 9, plain);
        assert_eq!(first[..4], second[4..8]);
        assert_eq!(first[4..8], second[..4]);
        assert_eq!((first[8], second[8], first.len(), second.len()), (0.0, 0.0, 9, 9));
    }
}
