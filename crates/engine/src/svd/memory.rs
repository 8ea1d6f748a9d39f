//! How much memory the networks work in, as formulas of their shapes and the device.
//!
//! They follow `network.rs`, `blocks.rs`, `transformer.rs` and `resnet.rs`, or `decoder.rs`, from operation to operation and count what is
//! in use at once. [`DeviceFacts::held_bytes`] makes of it what a device holds.

use super::{SvdUNetConfig, TemporalVaeConfig};
use crate::ops::DeviceFacts;
use crate::unet::config::BlockKind;
use crate::unet::resnet_bytes;
use crate::vae::{attention_bytes, encode_live_bytes};

/// Bytes of a value on the host.
const HOST_BYTES: u64 = 4;

/// Bytes in use at once in an evaluation of one row of `frames` frames; `latent` is (height, width). Rows of one evaluation take as much
/// each.
pub fn unet_live_bytes(config: &SvdUNetConfig, latent: (usize, usize), frames: usize, facts: DeviceFacts) -> u64 {
    let stream = facts.stream_bytes();
    let positions = |level: usize| {
        let side = |side: usize| (side as u64).div_ceil(1 << level);
        side(latent.0) * side(latent.1) * frames as u64
    };
    let channels_of = |level: usize| config.block_out_channels[level] as u64;
    let last = config.levels() - 1;

    // Channels and positions of the skips in use, from conv_in on, whose input is on the device and on the host.
    let input = positions(0) * config.in_channels as u64 * (stream + facts.converted_stream_bytes() + HOST_BYTES);
    let mut skips = vec![(channels_of(0), positions(0))];
    let mut kept = channels_of(0) * positions(0) * stream;
    let mut most = kept + input;
    for level in 0..=last {
        let (out_channels, positions_here) = (channels_of(level), positions(level));
        let transformer = transformer_bytes(out_channels, config.down_blocks[level], facts);
        for _ in 0..config.layers_per_block[level] {
            let in_channels = skips.last().map_or(out_channels, |(channels, _)| *channels);
            let resnet = resnet_bytes(in_channels, out_channels, facts) - in_channels * stream;
            most = most.max(kept + positions_here * resnet.max(over_frames_bytes(out_channels, facts)).max(transformer));
            skips.push((out_channels, positions_here));
            kept += out_channels * positions_here * stream;
        }
        if level < last {
            let skip = (out_channels, positions(level + 1));
            most = most.max(kept + skip.0 * skip.1 * stream + out_channels * positions_here * facts.converted_stream_bytes());
            skips.push(skip);
            kept += skip.0 * skip.1 * stream;
        }
    }

    let mut channels = channels_of(last);
    let middle = transformer_bytes(channels, BlockKind::CrossAttention, facts);
    most = most.max(kept + positions(last) * middle.max(pair_bytes(channels, channels, facts)));

    for level in (0..=last).rev() {
        let (out_channels, here) = (channels_of(level), positions(level));
        let transformer = transformer_bytes(out_channels, config.up_blocks[last - level], facts);
        for _ in 0..=config.layers_per_block[level] {
            let Some((skip, skip_positions)) = skips.pop() else { break };
            let joined = (channels + skip) * stream;
            most = most.max(kept + here * (channels * stream + joined));
            kept -= skip * skip_positions * stream;
            // What was joined goes when the resnet per frame is done.
            most = most.max(kept + here * pair_bytes(channels + skip, out_channels, facts).max(transformer));
            channels = out_channels;
        }
        if let Some(above) = level.checked_sub(1).map(positions) {
            let enlarged = above * channels * facts.operand_bytes();
            let product = enlarged + above * channels * (facts.converted_bytes() + stream);
            most = most.max(kept + product.max(enlarged + here * channels * stream));
        }
    }
    let end = channels * (stream + facts.operand_bytes() + facts.converted_bytes());
    most.max(kept + positions(0) * (end + config.out_channels as u64 * (stream + HOST_BYTES)))
}

/// Bytes in use at once while `frames` frames are decoded together, their pictures on the host included; `latent` is (height, width).
pub fn vae_decode_live_bytes(config: &TemporalVaeConfig, latent: (usize, usize), frames: usize, facts: DeviceFacts) -> u64 {
    let (stream, operand) = (facts.stream_bytes(), facts.operand_bytes());
    let mut positions = latent.0 as u64 * latent.1 as u64 * frames as u64;
    let mut channels = config.block_out_channels.last().copied().unwrap_or_default() as u64;
    let mut most = positions * pair_bytes(channels, channels, facts).max(channels * stream + attention_bytes(channels, facts));
    for (index, &out_channels) in config.block_out_channels.iter().rev().enumerate() {
        let out_channels = out_channels as u64;
        most = most.max(positions * pair_bytes(channels, out_channels, facts));
        most = most.max(positions * pair_bytes(out_channels, out_channels, facts));
        channels = out_channels;
        if index + 1 < config.levels() {
            most = most.max(positions * channels * (stream + 4 * operand));
            positions *= 4;
            most = most.max(positions * channels * (operand + facts.converted_bytes() + stream));
        }
    }
    let pictures = config.out_channels as u64 * (3 * stream + 2 * HOST_BYTES);
    most.max(positions * (channels * (stream + operand)))
        .max(positions * (channels * (operand + facts.converted_bytes()) + pictures))
}

/// Bytes in use at once while a picture of `pixels` (height, width) is encoded, the picture on the host included.
pub fn vae_encode_live_bytes(config: &TemporalVaeConfig, pixels: (usize, usize), facts: DeviceFacts) -> u64 {
    encode_live_bytes(&config.plain(), pixels, facts)
}

/// Most bytes per position in use at once in a pair of resnets, its input included.
fn pair_bytes(in_channels: u64, out_channels: u64, facts: DeviceFacts) -> u64 {
    resnet_bytes(in_channels, out_channels, facts).max(over_frames_bytes(out_channels, facts))
}

/// Of the second one alone: the first one's result, a norm's, and a convolution's.
fn over_frames_bytes(channels: u64, facts: DeviceFacts) -> u64 {
    channels * (2 * facts.stream_bytes() + facts.operand_bytes() + facts.converted_bytes() + frame_copies(facts))
}

/// Bytes of a value that a candle device copies around a convolution over frames: channels first, and padded.
fn frame_copies(facts: DeviceFacts) -> u64 {
    if facts.kernels.is_some() { 0 } else { 2 * facts.operand_bytes() }
}

/// Most bytes per position in use at once in a transformer of `channels`, its input included; 0 where the block has none.
fn transformer_bytes(channels: u64, kind: BlockKind, facts: DeviceFacts) -> u64 {
    if kind == BlockKind::Plain {
        return 0;
    }
    let (stream, operand) = (facts.stream_bytes(), facts.operand_bytes());
    let multiplied = operand + facts.converted_bytes();
    // Input, stream, queries, keys and values in the making or at work.
    let over_positions = channels * 2 * stream + attention_bytes(channels, facts).max(channels * (multiplied + 3 * operand));
    // The same with what entered, and without packed keys and values; on a candle device by position, all three.
    let by_position = if facts.kernels.is_some() { 3 * facts.converted_bytes() } else { 4 * operand };
    let over_frames = channels * (3 * stream + 4 * operand + by_position.max(facts.converted_bytes()));
    // Input, spatial result, what is added to, the widened, and the result.
    let feed_forward = channels * (4 * stream + 4 * multiplied);
    over_positions.max(over_frames).max(feed_forward)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{KernelPath, Precision};

    const CPU: DeviceFacts = DeviceFacts { kernels: Some(KernelPath::Avx512Bf16), precision: Precision::F32 };
    const SIZE: (usize, usize) = (72, 128);

    #[test]
    fn a_published_clip() {
        let config = crate::svd::config::tests::published();
        let bytes = unet_live_bytes(&config, SIZE, 25, CPU);
        // A transformer at full size rules, where its attention is counted with nine times its channels, and two skips beside it.
        let values = 72 * 128 * 25 * 320_u64;
        assert_eq!(bytes, values * 4 * (9 + 2));
        // In bf16 it is the feed-forward part: four times the channels in f32, and four as wide in bf16.
        let half = unet_live_bytes(&config, SIZE, 25, CPU.with_precision(Precision::Bf16));
        assert_eq!(half, values * (4 * (4 + 2) + 2 * 4));
        assert!(unet_live_bytes(&config, SIZE, 14, CPU) < bytes);
        assert!(unet_live_bytes(&config, (40, 64), 25, CPU) < bytes / 3);
    }

    #[test]
    fn decoding_grows_with_the_chunk() {
        let config = crate::svd::vae_config::tests::published();
        let of = |frames| vae_decode_live_bytes(&config, SIZE, frames, CPU);
        // The first full-size pair rules: its input of 256 channels, and three of 128 each.
        assert_eq!(of(1), 576 * 1024 * (256 + 3 * 128) * 4);
        assert_eq!(of(14), 14 * of(1));
        assert!(vae_encode_live_bytes(&config, (576, 1024), CPU) < of(1) + of(1) / 4);
    }
}
