//! `vae/config.json`.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::weights::Settings;

/// More than any published network has; what is beyond is a lie.
pub(crate) const MAX_CHANNELS: usize = 16_384;
/// Each level doubles the pixels along a side of one latent position: 32 with six. Published ones have four.
pub(crate) const MOST_LEVELS: usize = 6;

/// The configuration of an `AutoencoderKL`. Unknown architecture values are refused by name.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in config.json")]
#[serde(try_from = "Map<String, Value>")]
pub struct VaeConfig {
    /// Channels of the picture.
    pub in_channels: usize,
    /// Channels of the decoded picture.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level, from the full-size one down.
    pub block_out_channels: Vec<usize>,
    /// Resnets of each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Picture side the model was trained at; a tile of a tiled decode has it.
    pub sample_size: usize,
    /// Latents are multiplied by this after encoding.
    pub scaling_factor: f32,
    /// Whether the smallest level attends.
    pub mid_block_add_attention: bool,
    /// Whether moments go through a last 1×1 convolution.
    pub use_quant_conv: bool,
    /// Whether latents go through a first 1×1 convolution.
    pub use_post_quant_conv: bool,
    /// Half precision overflows in the decoder, so f32 or bf16 must be used (SDXL's own weights; the fp16-fix has false).
    pub force_upcast: bool,
}

impl VaeConfig {
    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Pixels per latent position.
    pub fn factor(&self) -> usize {
        1 << (self.levels() - 1)
    }
}

impl TryFrom<Map<String, Value>> for VaeConfig {
    type Error = Error;

    fn try_from(values: Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("vae", values);
        settings.pin("act_fn", &[json!("silu"), json!("swish")])?;
        for key in ["latents_mean", "latents_std", "shift_factor"] {
            settings.pin(key, &[])?;
        }
        let block_out_channels = settings.integers("block_out_channels", 1..=MAX_CHANNELS, None)?.unwrap_or_else(|| vec![64]);
        let levels = block_out_channels.len();
        if levels > MOST_LEVELS {
            return Err(settings.refuse("block_out_channels", format!("{levels} entries; at most {MOST_LEVELS} are supported")));
        }
        for (key, kind) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
            let words = settings.words(key)?;
            if words.len() != levels {
                return Err(settings.refuse(key, format!("{} entries, block_out_channels has {levels}", words.len())));
            }
            if let Some(other) = words.iter().find(|word| *word != kind) {
                return Err(settings.refuse(key, format!("{other:?} is not supported (supported: {kind})")));
            }
        }
        let norm_num_groups = settings.integer("norm_num_groups", 1..=MAX_CHANNELS, Some(32))?;
        if let Some(channels) = block_out_channels.iter().find(|channels| !channels.is_multiple_of(norm_num_groups)) {
            return Err(
                settings.refuse("norm_num_groups", format!("{norm_num_groups} does not divide block_out_channels {channels}"))
            );
        }
        let config = Self {
            in_channels: settings.integer("in_channels", 1..=1024, Some(3))?,
            out_channels: settings.integer("out_channels", 1..=1024, Some(3))?,
            latent_channels: settings.integer("latent_channels", 1..=1024, Some(4))?,
            layers_per_block: settings.integer("layers_per_block", 1..=64, Some(1))?,
            sample_size: settings.integer("sample_size", 1..=65_536, Some(32))?,
            scaling_factor: settings.number("scaling_factor", 1e-6..=1e6, 0.18215)? as f32,
            mid_block_add_attention: settings.flag("mid_block_add_attention", true)?,
            use_quant_conv: settings.flag("use_quant_conv", true)?,
            use_post_quant_conv: settings.flag("use_post_quant_conv", true)?,
            force_upcast: settings.flag("force_upcast", true)?,
            block_out_channels,
            norm_num_groups,
        };
        settings.finish()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(changes: Value) -> std::result::Result<VaeConfig, String> {
        let mut values = json!({
            "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
            "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
            "force_upcast": true, "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32,
            "out_channels": 3, "sample_size": 1024, "scaling_factor": 0.13025,
        });
        if let (Value::Object(values), Value::Object(changes)) = (&mut values, changes) {
            values.extend(changes);
        }
        serde_json::from_value(values).map_err(|error| error.to_string())
    }

    #[test]
    fn sdxl() {
        let config = parsed(json!({"shift_factor": null, "latents_mean": null, "latents_std": null})).unwrap();
        assert_eq!((config.factor(), config.layers_per_block, config.scaling_factor), (8, 2, 0.13025));
        assert!(config.mid_block_add_attention && config.use_quant_conv && config.use_post_quant_conv && config.force_upcast);
    }

    #[test]
    fn refusals_name_key_and_value() {
        for (changes, named) in [
            (json!({"latents_mean": [0.1, 0.2, 0.3, 0.4]}), "latents_mean: [0.1,0.2,0.3,0.4]"),
            (json!({"latents_std": [1.0]}), "latents_std: [1.0]"),
            (json!({"shift_factor": 0.1159}), "shift_factor: 0.1159"),
            (json!({"act_fn": "relu"}), "act_fn: \"relu\""),
            (json!({"down_block_types": ["DownEncoderBlock2D"]}), "down_block_types: 1 entries"),
            (json!({"up_block_types": vec!["AttnUpDecoderBlock2D"; 4]}), "up_block_types: \"AttnUpDecoderBlock2D\""),
            (json!({"norm_num_groups": 24}), "norm_num_groups: 24"),
            (json!({"block_out_channels": vec![32; 70]}), "block_out_channels: 70 entries"),
            (json!({"block_out_channels": vec![32; 7]}), "block_out_channels: 7 entries"),
            (json!({"layers_per_block": 0}), "layers_per_block: 0"),
            (json!({"latent_channels": 1_000_000_000}), "latent_channels: 1000000000"),
            (json!({"scaling_factor": 0}), "scaling_factor: 0"),
            (json!({"scaling_factor": "big"}), "scaling_factor: \"big\""),
            (json!({"temporal": true}), "temporal: true"),
        ] {
            let error = parsed(changes).unwrap_err();
            assert!(error.starts_with("vae: config.json: ") && error.contains(named), "{error}");
        }
    }
}
