//! `image_encoder/config.json`.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::ops::{Function, Mask};
use crate::text::layer::LayerConfig;
use crate::weights::Settings;

/// Longer than any published picture has patches on a side.
const MOST_PATCHES: usize = 256;

/// `config.json` of a `CLIPVisionModelWithProjection`. Unknown architecture values are refused by name.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct ImageEncoderConfig {
    /// Width.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads; they divide the width.
    pub num_attention_heads: usize,
    /// Side of the picture in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels; it divides the picture's.
    pub patch_size: usize,
    /// Length of the embedding.
    pub projection_dim: usize,
    /// Of the feed-forward part.
    pub activation: Function,
    /// Of every norm.
    pub layer_norm_eps: f32,
}

impl ImageEncoderConfig {
    /// Patches of a picture.
    pub fn patches(&self) -> usize {
        let side = self.image_size / self.patch_size;
        side * side
    }

    /// The shape of every layer.
    pub(super) fn layer(&self) -> LayerConfig {
        LayerConfig {
            width: self.hidden_size,
            inner_width: self.intermediate_size,
            heads: self.num_attention_heads,
            activation: self.activation,
            epsilon: self.layer_norm_eps,
            mask: Mask::None,
        }
    }
}

impl TryFrom<Map<String, Value>> for ImageEncoderConfig {
    type Error = Error;

    fn try_from(values: Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("image_encoder", values);
        settings.pin("model_type", &[json!("clip_vision_model"), json!("clip")])?;
        settings.pin("num_channels", &[json!(3)])?;
        settings.ignore(&[
            "architectures",
            "attention_dropout",
            "dropout",
            "dtype",
            "gradient_checkpointing",
            "initializer_factor",
            "initializer_range",
            "return_dict",
            "torch_dtype",
            "transformers_version",
        ]);
        let hidden_size = settings.integer("hidden_size", 1..=16_384, Some(768))?;
        let num_attention_heads = settings.integer("num_attention_heads", 1..=256, Some(12))?;
        if !hidden_size.is_multiple_of(num_attention_heads) {
            let reason = format!("{num_attention_heads} do not divide hidden_size {hidden_size}");
            return Err(settings.refuse("num_attention_heads", reason));
        }
        let image_size = settings.integer("image_size", 1..=4096, Some(224))?;
        let patch_size = settings.integer("patch_size", 1..=4096, Some(32))?;
        if !image_size.is_multiple_of(patch_size) || image_size / patch_size > MOST_PATCHES {
            let reason = format!("{patch_size} does not cut image_size {image_size} into 1 to {MOST_PATCHES} patches a side");
            return Err(settings.refuse("patch_size", reason));
        }
        let activation = match settings.word("hidden_act")?.as_deref() {
            None | Some("quick_gelu") => Function::QuickGelu,
            Some("gelu") => Function::Gelu,
            Some(other) => {
                return Err(settings.refuse("hidden_act", format!("{other:?} is not supported (supported: quick_gelu, gelu)")));
            }
        };
        let config = Self {
            hidden_size,
            intermediate_size: settings.integer("intermediate_size", 1..=65_536, Some(3072))?,
            num_hidden_layers: settings.integer("num_hidden_layers", 1..=256, Some(12))?,
            num_attention_heads,
            image_size,
            patch_size,
            projection_dim: settings.integer("projection_dim", 1..=16_384, Some(512))?,
            activation,
            layer_norm_eps: settings.number("layer_norm_eps", 0.0..=1.0, 1e-5)? as f32,
        };
        settings.finish()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(changes: Value) -> std::result::Result<ImageEncoderConfig, String> {
        let mut values = json!({
            "architectures": ["CLIPVisionModelWithProjection"], "attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "gelu",
            "hidden_size": 1280, "image_size": 224, "initializer_factor": 1.0, "initializer_range": 0.02,
            "intermediate_size": 5120, "layer_norm_eps": 1e-5, "model_type": "clip_vision_model", "num_attention_heads": 16,
            "num_channels": 3, "num_hidden_layers": 32, "patch_size": 14, "projection_dim": 1024, "torch_dtype": "float16",
            "transformers_version": "4.34.0.dev0",
        });
        if let (Value::Object(values), Value::Object(changes)) = (&mut values, changes) {
            values.extend(changes);
        }
        serde_json::from_value(values).map_err(|error| error.to_string())
    }

    #[test]
    fn published_values() {
        let config = parsed(json!({})).unwrap();
        assert_eq!((config.patches(), config.activation, config.projection_dim), (256, Function::Gelu, 1024));
        assert_eq!(parsed(json!({"hidden_act": null})).unwrap().activation, Function::QuickGelu);
    }

    #[test]
    fn refusals_name_the_key() {
        for (changes, named) in [
            (json!({"hidden_act": "silu"}), "hidden_act: \"silu\""),
            (json!({"num_attention_heads": 7}), "num_attention_heads: 7"),
            (json!({"patch_size": 15}), "patch_size: 15"),
            (json!({"patch_size": 0}), "patch_size: 0"),
            (json!({"image_size": 4096, "patch_size": 1}), "patch_size: 1"),
            (json!({"num_channels": 4}), "num_channels: 4"),
            (json!({"model_type": "siglip_vision_model"}), "model_type: \"siglip_vision_model\""),
            (json!({"num_hidden_layers": 1e9}), "num_hidden_layers"),
            (json!({"rope_theta": 10_000}), "rope_theta: 10000"),
        ] {
            let error = parsed(changes).unwrap_err();
            assert!(error.starts_with("image_encoder: config.json: ") && error.contains(named), "{error}");
        }
    }
}
