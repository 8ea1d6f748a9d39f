//! How much memory a request takes, as a formula of the networks' shapes and the device.
//!
//! The UNet's part follows `unet/network.rs`, `unet/blocks.rs` and `unet/transformer.rs` from operation to operation and counts what is
//! in use at once; the autoencoder's is `vae/memory.rs`.

use super::conditioning::KEPT;
use crate::ops::DeviceFacts;
use crate::pipelines::memory::{HOST_BYTES, MemoryEstimate, Weights, vae_precision};
use crate::unet::config::BlockKind;
use crate::unet::{UNetConfig, resnet_bytes};
use crate::vae::{DecodePlan, VaeConfig, attention_bytes, decode_bytes, encode_live_bytes};

/// Tokens of a prompt.
const TOKENS: u64 = 77;

/// What a request's memory depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Height and width in latent positions.
    pub(super) latent: (usize, usize),
    /// Whether every evaluation has a second row.
    pub(super) guided: bool,
    /// Whether it starts from a picture.
    pub(super) encodes: bool,
}

/// What the formulas need of a model's shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Text encoders and UNet.
    pub(super) networks: Weights,
    pub(super) autoencoder: Weights,
    pub(super) unet: UNetConfig,
    pub(super) vae: VaeConfig,
}

/// The memory of one picture. Weights are those of all components together; activations are the larger of an evaluation's, the
/// autoencoder's and what loading takes, which never happen at once. Of the text, as many prompts as are kept are counted.
pub(super) fn estimate(layout: &Layout, demand: Demand, facts: DeviceFacts) -> MemoryEstimate {
    let vae_facts = facts.with_precision(vae_precision(facts.precision, layout.vae.force_upcast));
    let contexts = KEPT as u64 * context_bytes(&layout.unet, facts);
    let factor = layout.vae.factor();
    let (height, width) = demand.latent;
    let rows = if demand.guided { 2 } else { 1 };

    let evaluation = facts.held_bytes(contexts + rows * unet_live_bytes(&layout.unet, demand.latent, facts));
    let encode = if demand.encodes {
        vae_facts.held_bytes(contexts + encode_live_bytes(&layout.vae, (height * factor, width * factor), vae_facts))
    } else {
        0
    };
    let load = layout.networks.load_bytes().max(layout.autoencoder.load_bytes());
    let others = evaluation.max(encode).max(load);
    // The picture as bytes, beside its values.
    let picture = (height * width * factor * factor * layout.vae.out_channels) as u64;
    let total = |plan| {
        let decode = contexts + contexts / 2 + decode_bytes(&layout.vae, demand.latent, vae_facts, plan);
        others.max(decode) + picture + HOST_BYTES
    };
    let whole = total(DecodePlan::Whole);
    MemoryEstimate {
        weights_bytes: layout.networks.bytes(facts) + layout.autoencoder.bytes(vae_facts),
        activations_bytes: whole,
        least_activations_bytes: whole.min(total(DecodePlan::Tiled)),
    }
}

/// The memory of an evaluation of `rows` rows with the text of as many prompts, bytes: what grows with a batch.
pub(super) fn evaluation_bytes(layout: &Layout, latent: (usize, usize), rows: usize, facts: DeviceFacts) -> u64 {
    let rows = rows as u64;
    facts.held_bytes(rows * (context_bytes(&layout.unet, facts) + unet_live_bytes(&layout.unet, latent, facts)))
}

/// One prompt's keys and values in every cross-attention.
fn context_bytes(config: &UNetConfig, facts: DeviceFacts) -> u64 {
    let layers = |level: usize, blocks: usize| {
        (config.block_out_channels[level] * config.transformer_layers_per_block[level] * blocks) as u64
    };
    let last = config.levels() - 1;
    let down = (0..=last).filter(|level| config.down_blocks[*level] == BlockKind::CrossAttention);
    let up = (0..=last).filter(|level| config.up_blocks[last - level] == BlockKind::CrossAttention);
    let channels = down.map(|level| layers(level, config.layers_per_block[level])).sum::<u64>()
        + up.map(|level| layers(level, config.layers_per_block[level] + 1)).sum::<u64>()
        + layers(last, 1);
    channels * TOKENS * 2 * facts.operand_bytes()
}

/// Bytes in use at once in an evaluation of one row.
fn unet_live_bytes(config: &UNetConfig, latent: (usize, usize), facts: DeviceFacts) -> u64 {
    let stream = facts.stream_bytes();
    let positions = |level: usize| {
        let side = |side: usize| (side as u64).div_ceil(1 << level);
        side(latent.0) * side(latent.1)
    };
    let channels_of = |level: usize| config.block_out_channels[level] as u64;
    let last = config.levels() - 1;

    // Channels and positions of the skips in use, from conv_in on.
    let mut skips = vec![(channels_of(0), positions(0))];
    let mut kept = channels_of(0) * positions(0) * stream;
    let mut most = kept;
    for level in 0..=last {
        let (out_channels, positions_here) = (channels_of(level), positions(level));
        let transformer = transformer_bytes(out_channels, config.down_blocks[level], facts);
        for _ in 0..config.layers_per_block[level] {
            let in_channels = skips.last().map_or(out_channels, |(channels, _)| *channels);
            let resnet = resnet_bytes(in_channels, out_channels, facts) - in_channels * stream;
            most = most.max(kept + positions_here * resnet.max(transformer));
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
    most = most.max(kept + positions(last) * middle.max(channels * stream + resnet_bytes(channels, channels, facts)));

    for level in (0..=last).rev() {
        let (out_channels, here) = (channels_of(level), positions(level));
        let transformer = transformer_bytes(out_channels, config.up_blocks[last - level], facts);
        for _ in 0..=config.layers_per_block[level] {
            let Some((skip, skip_positions)) = skips.pop() else { break };
            let joined = (channels + skip) * stream;
            most = most.max(kept + here * (channels * stream + joined));
            kept -= skip * skip_positions * stream;
            // What was joined stays until the transformer is done.
            let resnet = resnet_bytes(channels + skip, out_channels, facts);
            most = most.max(kept + here * resnet.max(joined + transformer));
            channels = out_channels;
        }
        if let Some(above) = level.checked_sub(1).map(positions) {
            let enlarged = above * channels * facts.operand_bytes();
            let product = enlarged + above * channels * (facts.converted_bytes() + stream);
            most = most.max(kept + product.max(enlarged + here * channels * stream));
        }
    }
    most.max(kept + positions(0) * channels * (stream + facts.operand_bytes() + facts.converted_bytes()))
}

/// Most bytes per position in use at once in a transformer of `channels`, its input included; 0 where the block has none.
fn transformer_bytes(channels: u64, kind: BlockKind, facts: DeviceFacts) -> u64 {
    if kind == BlockKind::Plain {
        return 0;
    }
    let (stream, operand) = (facts.stream_bytes(), facts.operand_bytes());
    let converted = facts.converted_bytes();
    // The transformer's input and the layer's are in use throughout.
    let self_attention = channels * 2 * stream + attention_bytes(channels, facts);
    let self_out = channels * (3 * stream + 4 * operand + converted);
    // The input, the layer's, and what each attention gave; then the inner part of four times as many channels.
    let gated = channels * (4 * stream + 5 * operand + converted);
    let down = channels * (5 * stream + 4 * (operand + converted));
    self_attention.max(self_out).max(gated).max(down)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ops::{KernelPath, Precision};

    /// SDXL base 1.0 as published: configurations, names and shapes.
    fn sdxl() -> Layout {
        let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/published");
        let read = |name: &str| std::fs::read_to_string(published.join(name)).unwrap();
        let weights = |component: &str, weights: &mut Weights| {
            for line in read(&format!("{component}.tsv")).lines() {
                let (name, shape) = line.split_once('\t').unwrap();
                weights.add(name, &shape.split('x').map(|side| side.parse().unwrap()).collect::<Vec<_>>());
            }
        };
        let mut layout = Layout {
            networks: Weights::default(),
            autoencoder: Weights::default(),
            unet: serde_json::from_str(&read("unet.json")).unwrap(),
            vae: serde_json::from_str(&read("vae.json")).unwrap(),
        };
        for component in ["text_encoder", "text_encoder_2", "unet"] {
            weights(component, &mut layout.networks);
        }
        weights("vae", &mut layout.autoencoder);
        layout
    }

    fn facts(kernels: Option<KernelPath>, precision: Precision) -> DeviceFacts {
        DeviceFacts { kernels, precision }
    }

    const BF16: Option<KernelPath> = Some(KernelPath::Avx512Bf16);

    fn demand(side: usize) -> Demand {
        Demand { latent: (side, side), guided: true, encodes: false }
    }

    #[test]
    fn sdxl_at_1024_in_f32() {
        let layout = sdxl();
        let estimate = estimate(&layout, demand(128), facts(BF16, Precision::F32));
        let parameters = 3_468_837_867_u64 * 4;
        assert!((parameters..parameters * 101 / 100).contains(&estimate.weights_bytes), "{}", estimate.weights_bytes);
        // The decoder rules: 2.7 GB in use at once.
        assert!((4_000_000_000..4_800_000_000).contains(&estimate.activations_bytes), "{}", estimate.activations_bytes);
        // 1024 pixels are one tile.
        assert_eq!(estimate.least_activations_bytes, estimate.activations_bytes);
        // 70 cross-attentions of 640 (10) or 1280 channels.
        assert_eq!(context_bytes(&layout.unet, facts(BF16, Precision::F32)), (10 * 640 + 60 * 1280) * 77 * 2 * 4);
    }

    #[test]
    fn tiles_take_less() {
        let estimate = estimate(&sdxl(), demand(256), facts(BF16, Precision::F32));
        assert!(estimate.least_activations_bytes * 2 < estimate.activations_bytes, "{estimate:?}");
    }

    #[test]
    fn memory_follows_size_guidance_picture_and_device() {
        let layout = sdxl();
        let of = |demand, kernels, precision| estimate(&layout, demand, facts(kernels, precision));
        let base = of(demand(64), BF16, Precision::F32);
        assert!(of(demand(96), BF16, Precision::F32).activations_bytes > base.activations_bytes);
        let tiled = |demand| of(demand, BF16, Precision::F32).least_activations_bytes;
        let mut small_tiles = layout.clone();
        small_tiles.vae.sample_size = 256;
        let evaluation = |guided| {
            let demand = Demand { guided, ..demand(256) };
            estimate(&small_tiles, demand, facts(BF16, Precision::F32)).least_activations_bytes
        };
        assert!(evaluation(false) < evaluation(true));
        assert!(tiled(Demand { encodes: true, ..demand(256) }) > tiled(demand(256)));
        // Embedding tables stay as they are; everything else is half as wide, but only for kernels that multiply bf16.
        let half = of(demand(64), BF16, Precision::Bf16).weights_bytes;
        assert!(half * 2 > base.weights_bytes && half * 100 < base.weights_bytes * 52, "{half} of {}", base.weights_bytes);
        assert_eq!(of(demand(64), Some(KernelPath::Avx512), Precision::Bf16).weights_bytes, base.weights_bytes);
        assert_eq!(of(demand(64), Some(KernelPath::Gemm), Precision::Bf16).weights_bytes, base.weights_bytes);
        // In f16 the VAE stays f32; in bf16 it does not.
        assert!(of(demand(64), None, Precision::F16).weights_bytes > of(demand(64), None, Precision::Bf16).weights_bytes);
    }
}
