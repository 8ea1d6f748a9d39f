//! How much memory a request takes, as a formula of the network's shape.

use crate::ops::Precision;
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;

/// Tokens of a prompt.
const TOKENS: u64 = 77;
/// Packing buffers of the matrix products and the latents on the host.
const FIXED_SCRATCH_BYTES: u64 = 64 << 20;
/// Bytes of a value of the residual stream.
const STREAM_BYTES: u64 = 4;

/// Predicted memory of a request, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Packed weights.
    pub weights_bytes: u64,
    /// Peak of activations and scratch.
    pub activations_bytes: u64,
}

/// Numbers of parameters by component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) text: u64,
    pub(super) unet: u64,
    pub(super) vae: u64,
}

/// What the formulas need of a model's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    parameters: Parameters,
    /// Channels, resnets and transformer layers of the UNet's levels, from the full-size one down.
    levels: Vec<Level>,
    vae_channels: Vec<u64>,
    vae_force_upcast: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    channels: u64,
    resnets: u64,
    transformer_layers: u64,
}

impl Layout {
    pub(super) fn new(unet: &UNetConfig, vae: &VaeConfig, parameters: Parameters) -> Self {
        let levels = (0..unet.levels())
            .map(|level| Level {
                channels: unet.block_out_channels[level] as u64,
                resnets: unet.layers_per_block[level] as u64,
                transformer_layers: unet.transformer_layers_per_block[level] as u64,
            })
            .collect();
        let vae_channels = vae.block_out_channels.iter().map(|channels| *channels as u64).collect();
        Self { parameters, levels, vae_channels, vae_force_upcast: vae.force_upcast }
    }
}

/// The memory of one picture of `latent` (height, width) positions. Weights are those of all components together; activations are
/// the larger of an evaluation's and the decoder's, which never run at once.
pub(super) fn estimate(layout: &Layout, latent: (usize, usize), guided: bool, precision: Precision) -> MemoryEstimate {
    let operand_bytes = width_bytes(precision);
    let vae_bytes = width_bytes(vae_precision(precision, layout.vae_force_upcast));
    let Parameters { text, unet, vae } = layout.parameters;
    let rows = if guided { 2 } else { 1 };
    let positions = latent.0 as u64 * latent.1 as u64;
    let factor = 1 << (layout.vae_channels.len().max(1) - 1);
    let evaluation = rows * (unet_bytes(layout, positions, operand_bytes) + context_bytes(layout));
    let decode = vae_decode_bytes(&layout.vae_channels, positions * factor * factor, vae_bytes) + rows * context_bytes(layout);
    MemoryEstimate {
        weights_bytes: (text + unet) * operand_bytes + vae * vae_bytes,
        activations_bytes: evaluation.max(decode) + FIXED_SCRATCH_BYTES,
    }
}

/// The VAE's precision in a model of `precision`: half precision overflows in SDXL's VAE unless its configuration says otherwise.
pub(super) fn vae_precision(precision: Precision, force_upcast: bool) -> Precision {
    match precision {
        Precision::F16 if force_upcast => Precision::F32,
        other => other,
    }
}

const fn width_bytes(precision: Precision) -> u64 {
    match precision {
        Precision::F32 => 4,
        Precision::Bf16 | Precision::F16 => 2,
    }
}

/// One row: every skip connection, and the largest working set of a block.
fn unet_bytes(layout: &Layout, positions: u64, operand_bytes: u64) -> u64 {
    let mut skips = 0;
    let mut working = 0;
    for (index, level) in layout.levels.iter().enumerate() {
        let here = positions.div_ceil(1 << (2 * index));
        let next = layout.levels.get(index + 1);
        // conv_in or the downsampler before, and each resnet.
        skips += here * level.channels * (level.resnets + 1);
        // The first resnet of the up block sees the level below and the skip together, normalised and not.
        let concatenated = level.channels + next.map_or(level.channels, |next| next.channels);
        let resnet = concatenated * (STREAM_BYTES + operand_bytes) + level.channels * (2 * STREAM_BYTES + operand_bytes);
        // Stream and residual; either Q, K, V and the attention's result, or the feed-forward part's inner 4 × channels.
        let transformer = if level.transformer_layers > 0 { level.channels * (2 * STREAM_BYTES + 5 * operand_bytes) } else { 0 };
        working = working.max(here * resnet.max(transformer));
    }
    skips * STREAM_BYTES + working
}

/// One prompt's keys and values in every cross-attention: down and up blocks (one resnet more), and the mid block.
fn context_bytes(layout: &Layout) -> u64 {
    let blocks: u64 = layout.levels.iter().map(|level| level.channels * level.transformer_layers * (2 * level.resnets + 1)).sum();
    let mid = layout.levels.last().map_or(0, |level| level.channels * level.transformer_layers);
    (blocks + mid) * TOKENS * 2 * STREAM_BYTES
}

/// The decoder's last, full-size block: its upsampled input (channels of the level before) with its normalised copy, and the hidden
/// layer's.
fn vae_decode_bytes(channels: &[u64], pixels: u64, operand_bytes: u64) -> u64 {
    let finest = channels.first().copied().unwrap_or_default();
    let before = channels.get(1).copied().unwrap_or(finest);
    pixels * ((before + finest) * (STREAM_BYTES + operand_bytes) + 3 * STREAM_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdxl() -> Layout {
        let level = |channels, transformer_layers| Level { channels, resnets: 2, transformer_layers };
        Layout {
            parameters: Parameters { text: 817_720_320, unet: 2_567_463_684, vae: 83_653_863 },
            levels: vec![level(320, 0), level(640, 2), level(1280, 10)],
            vae_channels: vec![128, 256, 512, 512],
            vae_force_upcast: true,
        }
    }

    #[test]
    fn sdxl_at_1024_in_f32() {
        let estimate = estimate(&sdxl(), (128, 128), true, Precision::F32);
        assert_eq!(estimate.weights_bytes, 3_468_837_867 * 4);
        // The decoder rules: 384 channels twice over a million pixels.
        assert!((3_000_000_000..4_500_000_000).contains(&estimate.activations_bytes), "{}", estimate.activations_bytes);
    }

    #[test]
    fn memory_grows_with_size_and_guidance_and_shrinks_with_precision() {
        let of = |side, guided, precision| estimate(&sdxl(), (side, side), guided, precision);
        let base = of(64, true, Precision::F32);
        assert!(of(96, true, Precision::F32).activations_bytes > base.activations_bytes);
        assert!(of(64, false, Precision::F32).activations_bytes < base.activations_bytes);
        assert!(of(64, true, Precision::Bf16).weights_bytes * 2 == base.weights_bytes);
        // In f16 the VAE stays f32.
        assert!(of(64, true, Precision::F16).weights_bytes > of(64, true, Precision::Bf16).weights_bytes);
        assert_eq!(of(0, false, Precision::F32).activations_bytes, FIXED_SCRATCH_BYTES + context_bytes(&sdxl()));
    }
}
