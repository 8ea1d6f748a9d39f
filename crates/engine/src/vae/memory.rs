//! How much memory the two halves work in, and whether a picture is decoded whole.
//!
//! The formulas follow `decoder.rs`, `encoder.rs` and their blocks from operation to operation and count what is in use at once.

use super::VaeConfig;
use super::tiling::TileGrid;
use crate::ops::DeviceFacts;
use crate::unet::resnet_bytes;

/// Bytes of a value on the host.
const HOST_BYTES: u64 = 4;

/// How latents are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodePlan {
    /// Every layer over the whole picture.
    Whole,
    /// In overlapping tiles, whose colours may differ a little.
    Tiled,
}

/// Whole where that takes no more than `available_bytes`, or where a tile would be the whole picture anyway; else in tiles, fit they or
/// not. `latent` is (height, width).
pub fn decode_plan(config: &VaeConfig, latent: (usize, usize), facts: DeviceFacts, available_bytes: u64) -> DecodePlan {
    let tile = TileGrid::new(config.sample_size, config.factor()).tile();
    let is_one_tile = latent.0 <= tile && latent.1 <= tile;
    if is_one_tile || decode_bytes(config, latent, facts, DecodePlan::Whole) <= available_bytes {
        DecodePlan::Whole
    } else {
        DecodePlan::Tiled
    }
}

/// Bytes that decoding takes, the picture on the host included.
pub fn decode_bytes(config: &VaeConfig, latent: (usize, usize), facts: DeviceFacts, plan: DecodePlan) -> u64 {
    let (factor, channels) = (config.factor() as u64, config.out_channels as u64);
    let picture = |height: usize, width: usize| height as u64 * width as u64 * factor * factor * channels * HOST_BYTES;
    let whole = picture(latent.0, latent.1);
    match plan {
        DecodePlan::Whole => facts.held_bytes(decode_live_bytes(config, latent, facts)) + whole,
        DecodePlan::Tiled => {
            let grid = TileGrid::new(config.sample_size, config.factor());
            let (height, width) = (latent.0.min(grid.tile()), latent.1.min(grid.tile()));
            // Two rows of tiles, and the picture that grows band by band.
            let rows = 2 * picture(height, grid.columns(latent.1) * width);
            facts.held_bytes(decode_live_bytes(config, (height, width), facts)) + rows + whole
        }
    }
}

/// Bytes in use at once while `latent` is decoded whole.
fn decode_live_bytes(config: &VaeConfig, latent: (usize, usize), facts: DeviceFacts) -> u64 {
    let stream = facts.stream_bytes();
    let mut positions = latent.0 as u64 * latent.1 as u64;
    let mut channels = config.block_out_channels.last().copied().unwrap_or_default() as u64;
    let mut most = positions * mid_bytes(config, channels, facts);
    for (index, &out_channels) in config.block_out_channels.iter().rev().enumerate() {
        let out_channels = out_channels as u64;
        most = most.max(positions * resnet_bytes(channels, out_channels, facts));
        most = most.max(positions * resnet_bytes(out_channels, out_channels, facts));
        channels = out_channels;
        if index + 1 < config.levels() {
            most = most.max(positions * channels * (stream + 4 * facts.operand_bytes()));
            positions *= 4;
            most = most.max(positions * channels * (facts.operand_bytes() + facts.converted_bytes() + stream));
        }
    }
    most.max(positions * end_bytes(channels, config.out_channels as u64, facts))
}

/// Bytes in use at once while a picture of `pixels` (height, width) is encoded, the picture on the host included.
pub(crate) fn encode_live_bytes(config: &VaeConfig, pixels: (usize, usize), facts: DeviceFacts) -> u64 {
    let stream = facts.stream_bytes();
    let mut positions = pixels.0 as u64 * pixels.1 as u64;
    let input = positions * config.in_channels as u64 * (stream + HOST_BYTES);
    let mut channels = config.block_out_channels.first().copied().unwrap_or_default() as u64;
    let mut most = positions * channels * stream;
    for (index, &out_channels) in config.block_out_channels.iter().enumerate() {
        let out_channels = out_channels as u64;
        most = most.max(positions * resnet_bytes(channels, out_channels, facts));
        most = most.max(positions * resnet_bytes(out_channels, out_channels, facts));
        channels = out_channels;
        if index + 1 < config.levels() {
            let kept = positions * channels * (stream + facts.converted_stream_bytes());
            positions = positions.div_ceil(4);
            most = most.max(kept + positions * channels * stream);
        }
    }
    most = most.max(positions * mid_bytes(config, channels, facts));
    input + most.max(positions * end_bytes(channels, 2 * config.latent_channels as u64, facts))
}

/// Per position of the smallest level.
fn mid_bytes(config: &VaeConfig, channels: u64, facts: DeviceFacts) -> u64 {
    let stream = facts.stream_bytes();
    let resnet = channels * stream + resnet_bytes(channels, channels, facts);
    let attention = if config.mid_block_add_attention { channels * 2 * stream + attention_bytes(channels, facts) } else { 0 };
    resnet.max(attention)
}

/// Per position: queries, keys and values, the packed keys and values (on a candle device: contiguous copies of all three), and the
/// result.
pub(crate) fn attention_bytes(channels: u64, facts: DeviceFacts) -> u64 {
    let (operand, converted) = (facts.operand_bytes(), facts.converted_bytes());
    channels * (4 * operand + 3 * converted + 3 * operand.max(converted))
}

/// Per position, the last norm and convolution.
fn end_bytes(channels: u64, out_channels: u64, facts: DeviceFacts) -> u64 {
    let (stream, operand) = (facts.stream_bytes(), facts.operand_bytes());
    let norm = channels * (stream + operand);
    norm.max(channels * (operand + facts.converted_bytes()) + out_channels * (stream + HOST_BYTES))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ops::{KernelPath, Precision};

    fn sdxl() -> VaeConfig {
        serde_json::from_value(json!({
            "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 1024,
            "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
        }))
        .unwrap()
    }

    const CPU: DeviceFacts = DeviceFacts { kernels: Some(KernelPath::Avx512Bf16), precision: Precision::F32 };

    #[test]
    fn the_first_full_size_resnet_rules() {
        // Its input of 256 channels, its normed hidden state, its shortcut and its result of 128 each.
        assert_eq!(decode_live_bytes(&sdxl(), (128, 128), CPU), (1 << 20) * (256 + 3 * 128) * 4);
        let half = decode_live_bytes(&sdxl(), (128, 128), CPU.with_precision(Precision::Bf16));
        assert!(half < (1 << 20) * (256 + 3 * 128) * 4, "{half}");
        assert!(encode_live_bytes(&sdxl(), (1024, 1024), CPU) < decode_live_bytes(&sdxl(), (128, 128), CPU));
    }

    #[test]
    fn tiles_only_where_whole_layers_do_not_fit() {
        let plan = |latent, available| decode_plan(&sdxl(), latent, CPU, available);
        let whole = decode_bytes(&sdxl(), (256, 256), CPU, DecodePlan::Whole);
        let tiled = decode_bytes(&sdxl(), (256, 256), CPU, DecodePlan::Tiled);
        assert!(tiled * 3 < whole, "{tiled} of {whole}");
        assert_eq!(plan((256, 256), whole), DecodePlan::Whole);
        for available in [whole - 1, tiled, tiled - 1, 0] {
            assert_eq!(plan((256, 256), available), DecodePlan::Tiled);
        }
        // A tile would be all of it.
        assert_eq!(plan((128, 128), 0), DecodePlan::Whole);
        assert_eq!(plan((129, 8), 0), DecodePlan::Tiled);
    }
}
