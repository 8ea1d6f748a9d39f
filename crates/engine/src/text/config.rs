//! `text_encoder/config.json`.

use serde_json::{Map, Value, json};

use super::layer::LayerConfig;
use crate::error::{Error, Result};
use crate::ops::{Function, Mask};
use crate::weights::Settings;

/// The end token's id in the configurations of all early CLIP models, which is not the tokenizer's. transformers takes it as a sign to
/// look for the highest id instead (`models/clip/modeling_clip.py`).
const LEGACY_END_TOKEN: usize = 2;

/// `config.json` of a `CLIPTextModel` or `CLIPTextModelWithProjection`. Unknown architecture values are refused by name.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct TextEncoderConfig {
    /// Width.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads; they divide the width.
    pub num_attention_heads: usize,
    /// Of the feed-forward part.
    pub activation: Function,
    /// Of every norm.
    pub layer_norm_eps: f32,
    /// Longest prompt in tokens.
    pub max_position_embeddings: usize,
    /// Token ids are below this.
    pub vocab_size: usize,
    /// Length of the pooled vector where there is a projection.
    pub projection_dim: usize,
    /// How the token is found whose state is pooled.
    pub end_token: EndToken,
}

/// How the token is found whose state is pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndToken {
    /// The first of those with the highest id.
    HighestId,
    /// The first with this id; the first token of all if there is none.
    Id(u32),
}

impl EndToken {
    /// The position in `ids`.
    pub fn position(self, ids: &[u32]) -> usize {
        let wanted = match self {
            Self::HighestId => ids.iter().max().copied(),
            Self::Id(id) => Some(id),
        };
        ids.iter().position(|id| Some(*id) == wanted).unwrap_or(0)
    }
}

impl TextEncoderConfig {
    /// The shape of every layer.
    pub(super) fn layer(&self) -> LayerConfig {
        LayerConfig {
            width: self.hidden_size,
            inner_width: self.intermediate_size,
            heads: self.num_attention_heads,
            activation: self.activation,
            epsilon: self.layer_norm_eps,
            mask: Mask::Causal,
        }
    }
}

impl TryFrom<Map<String, Value>> for TextEncoderConfig {
    type Error = Error;

    fn try_from(values: Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("text_encoder", values);
        settings.pin("model_type", &[json!("clip_text_model"), json!("clip")])?;
        settings.pin("is_decoder", &[json!(false)])?;
        settings.ignore(&[
            "architectures",
            "attention_dropout",
            "bos_token_id",
            "dropout",
            "dtype",
            "gradient_checkpointing",
            "initializer_factor",
            "initializer_range",
            "pad_token_id",
            "return_dict",
            "tie_word_embeddings",
            "torch_dtype",
            "transformers_version",
            "use_cache",
        ]);
        let hidden_size = settings.integer("hidden_size", 1..=16_384, Some(512))?;
        let num_attention_heads = settings.integer("num_attention_heads", 1..=256, Some(8))?;
        if !hidden_size.is_multiple_of(num_attention_heads) {
            return Err(
                settings.refuse("num_attention_heads", format!("{num_attention_heads} do not divide hidden_size {hidden_size}"))
            );
        }
        let activation = match settings.word("hidden_act")?.as_deref() {
            None | Some("quick_gelu") => Function::QuickGelu,
            Some("gelu") => Function::Gelu,
            Some(other) => {
                return Err(settings.refuse("hidden_act", format!("{other:?} is not supported (supported: quick_gelu, gelu)")));
            }
        };
        let end_token = match settings.integer("eos_token_id", 0..=u32::MAX as usize, Some(49_407))? {
            LEGACY_END_TOKEN => EndToken::HighestId,
            id => EndToken::Id(id as u32),
        };
        let config = Self {
            hidden_size,
            intermediate_size: settings.integer("intermediate_size", 1..=65_536, Some(2048))?,
            num_hidden_layers: settings.integer("num_hidden_layers", 1..=256, Some(12))?,
            num_attention_heads,
            activation,
            layer_norm_eps: settings.number("layer_norm_eps", 0.0..=1.0, 1e-5)? as f32,
            max_position_embeddings: settings.integer("max_position_embeddings", 1..=65_536, Some(77))?,
            vocab_size: settings.integer("vocab_size", 1..=1 << 24, Some(49_408))?,
            projection_dim: settings.integer("projection_dim", 1..=16_384, Some(512))?,
            end_token,
        };
        settings.finish()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(changes: Value) -> std::result::Result<TextEncoderConfig, String> {
        let mut values = json!({
            "architectures": ["CLIPTextModel"], "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 5,
            "num_attention_heads": 4, "hidden_act": "gelu", "eos_token_id": 2, "vocab_size": 1000, "projection_dim": 32,
            "layer_norm_eps": 1e-5, "max_position_embeddings": 77, "model_type": "clip_text_model",
        });
        if let (Value::Object(values), Value::Object(changes)) = (&mut values, changes) {
            values.extend(changes);
        }
        serde_json::from_value(values).map_err(|error| error.to_string())
    }

    #[test]
    fn published_values() {
        let config = parsed(json!({})).unwrap();
        assert_eq!((config.hidden_size, config.activation, config.end_token), (32, Function::Gelu, EndToken::HighestId));
        assert_eq!(parsed(json!({"eos_token_id": 49407})).unwrap().end_token, EndToken::Id(49407));
    }

    #[test]
    fn refusals_name_the_key() {
        for (changes, named) in [
            (json!({"hidden_act": "silu"}), "hidden_act: \"silu\""),
            (json!({"num_attention_heads": 5}), "num_attention_heads: 5"),
            (json!({"num_attention_heads": 0}), "num_attention_heads: 0"),
            (json!({"hidden_size": 1e30}), "hidden_size"),
            (json!({"num_hidden_layers": "five"}), "num_hidden_layers: \"five\""),
            (json!({"vocab_size": u64::MAX}), "vocab_size"),
            (json!({"rope_theta": 10_000}), "rope_theta: 10000"),
            (json!({"model_type": "t5"}), "model_type: \"t5\""),
            (json!({"layer_norm_eps": -1}), "layer_norm_eps: -1"),
        ] {
            let error = parsed(changes).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn the_pooled_position() {
        let ids = [7, 99, 3, 99, 5, 5];
        for (end, position) in [(EndToken::HighestId, 1), (EndToken::Id(5), 4), (EndToken::Id(3), 2), (EndToken::Id(8), 0)] {
            assert_eq!(end.position(&ids), position);
        }
    }
}
