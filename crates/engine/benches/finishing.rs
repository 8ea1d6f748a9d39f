//! Speed of upscaling and interpolation on the CPU, with weights by formula: the arithmetic is that of the published networks.
//!
//! `cargo bench -p framewright-engine --bench finishing -- [amxbf16|avx512bf16|avx512|gemm] [f32|bf16]`: without a path the fastest, without a
//! precision both. `scripts/bench/finishing.py` times torch on the same work. Prints the median time of a picture or frame.
#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::time::Instant;

use framewright_engine::Result;
use framewright_engine::interpolate::{Interpolator, InterpolatorConfig};
use framewright_engine::ops::{Interrupt, KernelPath, Ops, Precision};
use framewright_engine::upscale::{CompactConfig, RrdbConfig, Upscaler, UpscalerConfig};
use framewright_engine::vision::RgbPicture;
use framewright_engine::weights::{RandomWeights, Scope};

/// Calls whose median is reported, after one that is not.
const CALLS: usize = 5;

fn noise(side: usize, seed: usize) -> RgbPicture {
    let byte = |index: usize| ((index + seed).wrapping_mul(2_654_435_761) >> 13) as u8;
    RgbPicture { height: side, width: side, bytes: (0..side * side * 3).map(byte).collect() }
}

fn line<T>(name: &str, mut call: impl FnMut() -> Result<T>) -> Result<()> {
    call()?;
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let before = Instant::now();
        call()?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    println!("{name:<44} {:>9.1} ms", times[CALLS / 2].as_secs_f64() * 1e3);
    Ok(())
}

fn all(ops: &Ops) -> Result<()> {
    println!("{}", ops.description());
    let (weights, interrupt) = (RandomWeights::default(), Interrupt::default());
    let scope = Scope::root(&weights);
    let picture = noise(128, 0);
    for config in [
        UpscalerConfig::Rrdb(RrdbConfig { features: 64, growth: 32, blocks: 23, unshuffle: 1 }),
        UpscalerConfig::Rrdb(RrdbConfig { features: 64, growth: 32, blocks: 6, unshuffle: 1 }),
        UpscalerConfig::Compact(CompactConfig { features: 64, convolutions: 16, scale: 4 }),
    ] {
        let network = Upscaler::load(ops, &scope, config)?;
        line(&format!("{}, 128²", network.description()), || network.upscale(&picture, &interrupt))?;
    }
    let network = Interpolator::load(ops, &scope, InterpolatorConfig::PUBLISHED)?;
    for side in [256, 512] {
        let (first, second) = (noise(side, 0), noise(side, 7));
        line(&format!("RIFE 4.25, {side}², both frames encoded"), || network.between(&first, &second, 0.5, &interrupt))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let (mut path, mut precisions) = (None, vec![Precision::F32, Precision::Bf16]);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "amxbf16" => path = Some(KernelPath::AmxBf16),
            "avx512bf16" => path = Some(KernelPath::Avx512Bf16),
            "avx512" => path = Some(KernelPath::Avx512),
            "gemm" => path = Some(KernelPath::Gemm),
            "f32" => precisions = vec![Precision::F32],
            "bf16" => precisions = vec![Precision::Bf16],
            _ => {}
        }
    }
    for precision in precisions {
        all(&Ops::cpu(precision, path)?)?;
    }
    Ok(())
}
