//! `unet/config.json` of Stable Video Diffusion.

use serde_json::{Map, Value};

use super::NORM_GROUPS;
use crate::error::{Error, Result};
use crate::unet::config::{BlockKind, block_kinds, check_heads};
use crate::weights::Settings;

/// More than any published network has; what is beyond is a lie.
const MAX_CHANNELS: usize = 16_384;
const MAX_LAYERS: usize = 64;
const MAX_FRAMES: usize = 1024;
const DOWN_BLOCKS: [&str; 2] = ["DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"];
const UP_BLOCKS: [&str; 2] = ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"];

/// The configuration of a `UNetSpatioTemporalConditionModel`. Unknown architecture values are refused by name.
///
/// Lists run from the full-size level down; the up blocks mirror them.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct SvdUNetConfig {
    /// Channels of the input: noisy latents, then the picture's.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Latent side the model was trained at.
    pub sample_size: usize,
    /// Frames of a clip that the model was trained on.
    pub num_frames: usize,
    /// Width of the picture's embedding.
    pub cross_attention_dim: usize,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Kind of each down block.
    pub down_blocks: Vec<BlockKind>,
    /// Kind of each up block, from the smallest level up.
    pub up_blocks: Vec<BlockKind>,
    /// Resnets of each level's down block; its up block has one more.
    pub layers_per_block: Vec<usize>,
    /// Layers of each transformer of a level; the mid block has those of the last level.
    pub transformer_layers_per_block: Vec<usize>,
    /// Heads of each level.
    pub attention_heads: Vec<usize>,
    /// Width of the embedding of each added number.
    pub addition_time_embed_dim: usize,
    /// Width of all embedded added numbers together.
    pub projection_class_embeddings_input_dim: usize,
}

impl SvdUNetConfig {
    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Channels of the full-size level.
    pub(super) fn first_channels(&self) -> usize {
        self.block_out_channels.first().copied().unwrap_or_default()
    }

    /// Channels of the smallest level.
    pub(super) fn last_channels(&self) -> usize {
        self.block_out_channels.last().copied().unwrap_or_default()
    }

    /// Width of the time embedding.
    pub(super) fn time_channels(&self) -> usize {
        4 * self.first_channels()
    }
}

impl TryFrom<Map<String, Value>> for SvdUNetConfig {
    type Error = Error;

    fn try_from(values: Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("unet", values);
        let block_out_channels =
            settings.integers("block_out_channels", 1..=MAX_CHANNELS, None)?.unwrap_or_else(|| vec![320, 640, 1280, 1280]);
        if let Some(channels) = block_out_channels.iter().find(|channels| !channels.is_multiple_of(NORM_GROUPS)) {
            let reason = format!("{channels} channels cannot be cut into the {NORM_GROUPS} groups of every norm");
            return Err(settings.refuse("block_out_channels", reason));
        }
        let levels = block_out_channels.len();
        let down_blocks = block_kinds(&mut settings, "down_block_types", DOWN_BLOCKS, levels)?;
        let up_blocks = block_kinds(&mut settings, "up_block_types", UP_BLOCKS, levels)?;
        let heads_key = "num_attention_heads";
        let attention_heads = settings
            .integers(heads_key, 1..=MAX_CHANNELS, Some(levels))?
            .ok_or_else(|| settings.refuse(heads_key, "missing; expected a number for each block"))?;
        check_heads(&settings, heads_key, &block_out_channels, &attention_heads, (&down_blocks, &up_blocks))?;

        let layers = |settings: &mut Settings, key, default| {
            Ok::<_, Error>(settings.integers(key, 1..=MAX_LAYERS, Some(levels))?.unwrap_or_else(|| vec![default; levels]))
        };
        let config = Self {
            in_channels: settings.integer("in_channels", 1..=MAX_CHANNELS, Some(8))?,
            out_channels: settings.integer("out_channels", 1..=MAX_CHANNELS, Some(4))?,
            sample_size: settings.integer("sample_size", 1..=65_536, Some(96))?,
            num_frames: settings.integer("num_frames", 1..=MAX_FRAMES, Some(25))?,
            cross_attention_dim: cross_attention_dim(&mut settings, levels)?,
            layers_per_block: layers(&mut settings, "layers_per_block", 2)?,
            transformer_layers_per_block: layers(&mut settings, "transformer_layers_per_block", 1)?,
            addition_time_embed_dim: settings.integer("addition_time_embed_dim", 4..=MAX_CHANNELS, Some(256))?,
            projection_class_embeddings_input_dim: settings.integer(
                "projection_class_embeddings_input_dim",
                1..=65_536,
                Some(768),
            )?,
            block_out_channels,
            down_blocks,
            up_blocks,
            attention_heads,
        };
        settings.finish()?;
        Ok(config)
    }
}

/// One width: the same embedding is given to every level.
fn cross_attention_dim(settings: &mut Settings, levels: usize) -> Result<usize> {
    const KEY: &str = "cross_attention_dim";
    let widths = settings.integers(KEY, 1..=65_536, Some(levels))?.unwrap_or_else(|| vec![1024; levels]);
    match widths.as_slice() {
        [first, rest @ ..] if rest.iter().all(|width| width == first) => Ok(*first),
        _ => Err(settings.refuse(KEY, format!("{widths:?} are different widths, which one embedding cannot have"))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// The published configuration with changes.
    fn parsed(changes: Value) -> std::result::Result<SvdUNetConfig, String> {
        let mut values = json!({
            "_class_name": "UNetSpatioTemporalConditionModel", "addition_time_embed_dim": 256,
            "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024,
            "down_block_types": [DOWN_BLOCKS[1], DOWN_BLOCKS[1], DOWN_BLOCKS[1], DOWN_BLOCKS[0]], "in_channels": 8,
            "layers_per_block": 2, "num_attention_heads": [5, 10, 20, 20], "num_frames": 25, "out_channels": 4,
            "projection_class_embeddings_input_dim": 768, "sample_size": 96, "transformer_layers_per_block": 1,
            "up_block_types": [UP_BLOCKS[0], UP_BLOCKS[1], UP_BLOCKS[1], UP_BLOCKS[1]],
        });
        if let (Value::Object(values), Value::Object(changes)) = (&mut values, changes) {
            values.extend(changes);
        }
        serde_json::from_value(values).map_err(|error| error.to_string())
    }

    /// The published network.
    pub(in crate::svd) fn published() -> SvdUNetConfig {
        parsed(json!({})).unwrap()
    }

    #[test]
    fn published_values() {
        let config = published();
        assert_eq!((config.levels(), config.time_channels(), config.num_frames), (4, 1280, 25));
        assert_eq!(config.down_blocks.iter().filter(|kind| **kind == BlockKind::Plain).count(), 1);
        assert_eq!(config.layers_per_block, [2; 4]);
        assert_eq!(parsed(json!({"layers_per_block": [1, 2, 1, 2], "num_frames": 14})).unwrap().layers_per_block, [1, 2, 1, 2]);
        assert_eq!(parsed(json!({"cross_attention_dim": [64, 64, 64, 64]})).unwrap().cross_attention_dim, 64);
    }

    #[test]
    fn refusals_name_key_and_value() {
        for (changes, named) in [
            (json!({"block_out_channels": [320, 640, 1280, 1000]}), "block_out_channels: 1000"),
            (json!({"block_out_channels": [320, 640]}), "down_block_types: 4 entries"),
            (json!({"down_block_types": vec!["DownBlock3D"; 4]}), "down_block_types: \"DownBlock3D\""),
            (json!({"up_block_types": vec!["UpBlockMotion"; 4]}), "up_block_types: \"UpBlockMotion\""),
            (json!({"num_attention_heads": [5, 10, 20, 7]}), "num_attention_heads: 7 heads"),
            (json!({"num_attention_heads": null}), "num_attention_heads: missing"),
            (json!({"cross_attention_dim": [1024, 1024, 768, 1024]}), "cross_attention_dim: [1024, 1024, 768, 1024]"),
            (json!({"transformer_layers_per_block": [[1, 1], 1, 1, 1]}), "transformer_layers_per_block: [1,1]"),
            (json!({"num_frames": 0}), "num_frames: 0"),
            (json!({"layers_per_block": 1_000_000}), "layers_per_block: 1000000"),
            (json!({"motion_modules": true}), "motion_modules: true"),
        ] {
            let error = parsed(changes).unwrap_err();
            assert!(error.starts_with("unet: config.json: ") && error.contains(named), "{error}");
        }
    }
}
