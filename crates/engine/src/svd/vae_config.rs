//! `vae/config.json` of Stable Video Diffusion.

use serde_json::{Map, Value};

use super::NORM_GROUPS;
use crate::error::{Error, Result};
use crate::vae::VaeConfig;
use crate::vae::config::{MAX_CHANNELS, MOST_LEVELS};
use crate::weights::Settings;

/// The configuration of an `AutoencoderKLTemporalDecoder`. Unknown architecture values are refused by name.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct TemporalVaeConfig {
    /// Channels of the picture.
    pub in_channels: usize,
    /// Channels of the decoded pictures.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level, from the full-size one down.
    pub block_out_channels: Vec<usize>,
    /// Resnets of each level of the encoder, and of the decoder's smallest one; its other levels have one more.
    pub layers_per_block: usize,
    /// Picture side the model was trained at.
    pub sample_size: usize,
    /// Latents of a clip are multiplied by this; those of the picture that conditions it are not.
    pub scaling_factor: f32,
    /// Half precision overflows in the encoder, so f32 or bf16 must be used there.
    pub force_upcast: bool,
}

impl TemporalVaeConfig {
    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Pixels per latent position.
    pub fn factor(&self) -> usize {
        1 << (self.levels() - 1)
    }

    /// The encoder's configuration, and that of the decoder's attention: they are those of an `AutoencoderKL`.
    pub(super) fn plain(&self) -> VaeConfig {
        VaeConfig {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            latent_channels: self.latent_channels,
            block_out_channels: self.block_out_channels.clone(),
            layers_per_block: self.layers_per_block,
            norm_num_groups: NORM_GROUPS,
            sample_size: self.sample_size,
            scaling_factor: self.scaling_factor,
            mid_block_add_attention: true,
            use_quant_conv: true,
            use_post_quant_conv: false,
            force_upcast: self.force_upcast,
        }
    }
}

impl TryFrom<Map<String, Value>> for TemporalVaeConfig {
    type Error = Error;

    fn try_from(values: Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("vae", values);
        let block_out_channels = settings.integers("block_out_channels", 1..=MAX_CHANNELS, None)?.unwrap_or_else(|| vec![64]);
        let levels = block_out_channels.len();
        if levels > MOST_LEVELS {
            return Err(settings.refuse("block_out_channels", format!("{levels} entries; at most {MOST_LEVELS} are supported")));
        }
        if let Some(channels) = block_out_channels.iter().find(|channels| !channels.is_multiple_of(NORM_GROUPS)) {
            let reason = format!("{channels} channels cannot be cut into the {NORM_GROUPS} groups of every norm");
            return Err(settings.refuse("block_out_channels", reason));
        }
        let words = settings.words("down_block_types")?;
        if words.len() != levels {
            let reason = format!("{} entries, block_out_channels has {levels}", words.len());
            return Err(settings.refuse("down_block_types", reason));
        }
        if let Some(other) = words.iter().find(|word| *word != "DownEncoderBlock2D") {
            let reason = format!("{other:?} is not supported (supported: DownEncoderBlock2D)");
            return Err(settings.refuse("down_block_types", reason));
        }
        let config = Self {
            in_channels: settings.integer("in_channels", 1..=1024, Some(3))?,
            out_channels: settings.integer("out_channels", 1..=1024, Some(3))?,
            latent_channels: settings.integer("latent_channels", 1..=1024, Some(4))?,
            layers_per_block: settings.integer("layers_per_block", 1..=64, Some(1))?,
            sample_size: settings.integer("sample_size", 1..=65_536, Some(32))?,
            scaling_factor: settings.number("scaling_factor", 1e-6..=1e6, 0.18215)? as f32,
            force_upcast: settings.flag("force_upcast", true)?,
            block_out_channels,
        };
        settings.finish()?;
        Ok(config)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// The published configuration with changes.
    fn parsed(changes: Value) -> std::result::Result<TemporalVaeConfig, String> {
        let mut values = json!({
            "_class_name": "AutoencoderKLTemporalDecoder", "block_out_channels": [128, 256, 512, 512],
            "down_block_types": vec!["DownEncoderBlock2D"; 4], "force_upcast": true, "in_channels": 3, "latent_channels": 4,
            "layers_per_block": 2, "out_channels": 3, "sample_size": 768, "scaling_factor": 0.18215,
        });
        if let (Value::Object(values), Value::Object(changes)) = (&mut values, changes) {
            values.extend(changes);
        }
        serde_json::from_value(values).map_err(|error| error.to_string())
    }

    /// The published autoencoder.
    pub(in crate::svd) fn published() -> TemporalVaeConfig {
        parsed(json!({})).unwrap()
    }

    #[test]
    fn published_values() {
        let config = published();
        assert_eq!((config.factor(), config.layers_per_block, config.scaling_factor), (8, 2, 0.18215));
        assert!(config.plain().use_quant_conv && !config.plain().use_post_quant_conv);
    }

    #[test]
    fn refusals_name_key_and_value() {
        for (changes, named) in [
            (json!({"block_out_channels": [128, 250]}), "block_out_channels: 250"),
            (json!({"block_out_channels": vec![32; 7]}), "block_out_channels: 7 entries"),
            (json!({"down_block_types": ["DownEncoderBlock2D"]}), "down_block_types: 1 entries"),
            (json!({"down_block_types": vec!["AttnDownEncoderBlock2D"; 4]}), "down_block_types: \"AttnDownEncoderBlock2D\""),
            (json!({"layers_per_block": 0}), "layers_per_block: 0"),
            (json!({"scaling_factor": 0}), "scaling_factor: 0"),
            (json!({"norm_num_groups": 16}), "norm_num_groups: 16"),
        ] {
            let error = parsed(changes).unwrap_err();
            assert!(error.starts_with("vae: config.json: ") && error.contains(named), "{error}");
        }
    }
}
