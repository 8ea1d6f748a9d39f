//! Scalar functions that compilers turn into vector code: no branches, no calls.
//!
//! `FMA` says whether a fused multiply-add is one instruction where the function is used; without it `mul_add` would be a call.

#![expect(clippy::inline_always, reason = "bodies must be inlined into the functions that enable vector instructions")]

use half::bf16;

use super::memory::Plain;

/// A stored value: f32, or bf16 that is computed with as f32.
pub(crate) trait Lane: Plain {
    /// As f32.
    fn widen(self) -> f32;
    /// Rounded to the stored type, to nearest, ties to even.
    fn narrow(value: f32) -> Self;
}

impl Lane for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
}

impl Lane for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // a NaN must not be rounded into an infinity
        let quiet = (bits >> 16) | 0x40;
        Self::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { quiet as u16 } else { rounded as u16 })
    }
}

/// `a·b + c`.
#[inline(always)]
pub(crate) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The polynomial of `fused` from the highest coefficient down.
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for &coefficient in &coefficients[1..] {
        value = fused::<FMA>(value, x, coefficient);
    }
    value
}

/// e^x to about 1e-7 relative (the polynomial of Cephes' `expf`); the argument is clamped to −87 … 88.
#[inline(always)]
pub(crate) fn exponential<const FMA: bool>(x: f32) -> f32 {
    /// 1.5 · 2^23: adding it leaves the rounded integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let rounded = fused::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let whole = rounded - ROUND;
    // ln 2 in two parts, the first with few bits so that its multiples are exact
    let rest = fused::<FMA>(whole, -0.693_359_4, x);
    let rest = fused::<FMA>(whole, 2.121_944_4e-4, rest);
    let tail = polynomial::<FMA, 6>(rest, [1.987_569_2e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1]);
    let value = fused::<FMA>(tail, rest * rest, rest) + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    value * f32::from_bits(exponent)
}

/// erf to about one unit in the last place (6e-8 absolute): a polynomial up to 475/512, beyond it `1 − e^polynomial` (the minimax
/// coefficients of N. Juffa's `erff`).
#[inline(always)]
pub(crate) fn error_function<const FMA: bool>(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let near = polynomial::<FMA, 6>(
        square,
        [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1],
    );
    let near = fused::<FMA>(near, x, x);
    // beyond 4 the result is 1 in f32, and the polynomial would turn
    let magnitude = magnitude.min(4.0);
    let far = polynomial::<FMA, 7>(
        magnitude,
        [-1.728_534_7e-5, 3.831_971_3e-4, -3.883_964_4e-3, 2.425_462_2e-2, -1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1],
    );
    let far = fused::<FMA>(far, magnitude, -magnitude);
    let far = (1.0 - exponential::<FMA>(far)).copysign(x);
    if magnitude > 475.0 / 512.0 { far } else { near }
}

/// x·σ(x).
#[inline(always)]
pub(crate) fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exponential::<FMA>(-x))
}

/// x·σ(1.702·x).
#[inline(always)]
pub(crate) fn quick_gelu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exponential::<FMA>(-1.702 * x))
}

/// x·Φ(x), with the error function.
#[inline(always)]
pub(crate) fn gelu<const FMA: bool>(x: f32) -> f32 {
    let half = 0.5 * x;
    fused::<FMA>(half, error_function::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(from: f64, to: f64) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| (from + (to - from) * f64::from(i) / 200_000.0) as f32)
    }

    #[test]
    fn exponential_is_accurate() {
        for x in grid(-86.9, 87.9) {
            for value in [exponential::<true>(x), exponential::<false>(x)] {
                let exact = f64::from(x).exp();
                assert!((f64::from(value) - exact).abs() <= 1.5e-7 * exact, "e^{x} = {exact}, not {value}");
            }
        }
        assert_eq!(exponential::<true>(0.0).to_bits(), 1.0_f32.to_bits());
    }

    #[test]
    fn error_function_is_accurate() {
        let mut worst = 0.0_f64;
        for x in grid(-6.0, 6.0) {
            worst = worst.max((f64::from(error_function::<true>(x)) - libm::erf(f64::from(x))).abs());
        }
        assert!(worst < 1.2e-7, "{worst}");
    }

    #[test]
    fn gelu_and_silu_keep_their_tails() {
        for x in grid(-12.0, 12.0) {
            let wide = f64::from(x);
            let gelu_exact = 0.5 * wide * (1.0 + libm::erf(wide / std::f64::consts::SQRT_2));
            let silu_exact = wide / (1.0 + (-wide).exp());
            let tolerance = 2e-7 * wide.abs().max(1.0);
            assert!((f64::from(gelu::<true>(x)) - gelu_exact).abs() < tolerance, "gelu({x})");
            assert!((f64::from(silu::<true>(x)) - silu_exact).abs() < tolerance, "silu({x})");
        }
        assert!(silu::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn bf16_rounds_as_the_half_crate_does() {
        for bits in (0..u32::MAX - 10_007).step_by(10_007) {
            let value = f32::from_bits(bits);
            let (ours, theirs) = (<bf16 as Lane>::narrow(value), bf16::from_f32(value));
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{value}");
        }
    }
}
