//! What enlarging takes.
//!
//! The formulas follow `rrdb.rs` and `compact.rs` from operation to operation and count what is in use at once.

use super::config::{COLOURS, CompactConfig, RrdbConfig, UpscalerConfig};
use crate::ops::{DeviceFacts, Footprint};

/// Bytes of a value on the host.
const HOST_BYTES: u64 = 4;

/// Of a picture of `height × width`, of which a tile sees at most `seen` pixels.
pub(super) fn footprint(config: &UpscalerConfig, (height, width): (usize, usize), seen: usize, facts: DeviceFacts) -> Footprint {
    let (colours, scale) = (COLOURS as u64, config.scale() as u64);
    let (pixels, seen) = (height as u64 * width as u64, seen as u64);
    let weights_bytes = match config {
        UpscalerConfig::Rrdb(config) => rrdb_weights(config, facts),
        UpscalerConfig::Compact(config) => compact_weights(config, facts),
    };
    // The picture as floats, the result as bytes; a tile as floats before and after, and for a while as it comes from the device.
    let host_bytes = pixels * colours * (HOST_BYTES + scale * scale) + seen * colours * HOST_BYTES * (1 + 2 * scale * scale);
    Footprint { weights_bytes, activations_bytes: facts.held_bytes(live_bytes(config, seen, facts)) + host_bytes }
}

/// Bytes in use at once while a tile of `pixels` goes through the network.
fn live_bytes(config: &UpscalerConfig, pixels: u64, facts: DeviceFacts) -> u64 {
    pixels
        * match config {
            UpscalerConfig::Rrdb(config) => rrdb_bytes(config, facts),
            UpscalerConfig::Compact(config) => compact_bytes(config, facts),
        }
}

/// The weights of a 3 × 3 convolution.
fn convolution_bytes(inputs: usize, outputs: usize, facts: DeviceFacts) -> u64 {
    facts.packed_outputs(outputs as u64) * inputs.next_multiple_of(2) as u64 * 9 * facts.weight_bytes()
}

fn rrdb_weights(config: &RrdbConfig, facts: DeviceFacts) -> u64 {
    let RrdbConfig { features, growth, blocks, unshuffle } = *config;
    let dense: u64 = (0..4).map(|index| convolution_bytes(features + index * growth, growth, facts)).sum();
    let dense = dense + convolution_bytes(features + 4 * growth, features, facts);
    let ends = convolution_bytes(COLOURS * unshuffle * unshuffle, features, facts) + convolution_bytes(features, COLOURS, facts);
    blocks as u64 * 3 * dense + ends + 4 * convolution_bytes(features, features, facts)
}

/// Per pixel that a tile sees.
fn rrdb_bytes(config: &RrdbConfig, facts: DeviceFacts) -> u64 {
    let (features, growth, unshuffle) = (config.features as u64, config.growth as u64, config.unshuffle as u64);
    let (stream, operand, converted) = (facts.stream_bytes(), facts.operand_bytes(), facts.converted_bytes());
    // All channels of a dense block, what one convolution adds, and four residual streams: the first features, the block's and the dense
    // block's input, its result.
    let body = (features + 4 * growth) * (operand + converted) + growth * operand + 4 * features * stream;
    // For each of 16 pixels of the network's result: what goes into a convolution and what comes out.
    let end = 16 * features * (2 * operand + converted);
    body.max(end).div_ceil(unshuffle * unshuffle)
}

fn compact_weights(config: &CompactConfig, facts: DeviceFacts) -> u64 {
    let CompactConfig { features, convolutions, scale } = *config;
    convolution_bytes(COLOURS, features, facts)
        + convolutions as u64 * convolution_bytes(features, features, facts)
        + convolution_bytes(features, COLOURS * scale * scale, facts)
}

/// Per pixel that a tile sees.
fn compact_bytes(config: &CompactConfig, facts: DeviceFacts) -> u64 {
    let (features, outputs) = (config.features as u64, (COLOURS * config.scale * config.scale) as u64);
    let (stream, operand, converted) = (facts.stream_bytes(), facts.operand_bytes(), facts.converted_bytes());
    COLOURS as u64 * stream + features * (operand + converted) + (features * operand).max(outputs * stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Interrupt, KernelPath, Ops, Precision};
    use crate::upscale::Upscaler;
    use crate::vision::Picture;
    use crate::weights::{RandomWeights, Scope};

    const CPU: DeviceFacts = DeviceFacts { kernels: Some(KernelPath::Avx512Bf16), precision: Precision::F32 };
    const X4: UpscalerConfig = UpscalerConfig::Rrdb(RrdbConfig { features: 64, growth: 32, blocks: 23, unshuffle: 1 });

    #[test]
    fn published_weights() {
        let bytes = footprint(&X4, (64, 64), 64 * 64, CPU).weights_bytes;
        // 16,697,987 parameters, and a last convolution of 3 outputs in a panel of 32.
        assert!(bytes > 4 * 16_690_000 && bytes < 4 * 16_800_000, "{bytes}");
    }

    #[test]
    fn a_larger_picture_takes_no_more_on_the_device() {
        let of = |side: usize| footprint(&X4, (side, side), 276 * 276, CPU).activations_bytes;
        assert_eq!(of(4096) - of(2048), (4096 * 4096 - 2048 * 2048) * 3 * (4 + 16));
    }

    #[test]
    fn what_is_in_use_at_once_is_what_is_predicted() {
        let side = 96;
        let picture = Picture { height: side, width: side, channels: COLOURS, values: vec![0.5; side * side * COLOURS] };
        for config in [
            UpscalerConfig::Rrdb(RrdbConfig { features: 64, growth: 32, blocks: 1, unshuffle: 1 }),
            UpscalerConfig::Rrdb(RrdbConfig { features: 64, growth: 32, blocks: 1, unshuffle: 2 }),
            UpscalerConfig::Compact(CompactConfig { features: 64, convolutions: 2, scale: 4 }),
        ] {
            for precision in [Precision::F32, Precision::Bf16] {
                let ops = Ops::cpu(precision, None).unwrap();
                let network = Upscaler::load(&ops, &Scope::root(&RandomWeights::default()), config).unwrap();
                // Beside activations, every thread has the sums of its task and, on the matrix unit, its inputs: some 3 MB.
                let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
                threads.install(|| network.enlarge(&picture, &Interrupt::default())).unwrap();
                let (peak, live) = (ops.peak_live_bytes(), live_bytes(&config, (side * side) as u64, DeviceFacts::of(&ops)));
                assert!(
                    live * 100 < peak * 120 && live * 110 + (220 << 20) > peak * 100,
                    "{config:?} {precision:?}: {live} for {peak}"
                );
            }
        }
    }
}
