//! The JSON files of an SDXL model in the diffusers layout.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result, shortened};
use crate::pipelines::model_files::parse;

/// Where `model_index.json` must name one of these classes.
const CLASSES: [(&str, &[&str]); 6] = [
    ("text_encoder", &["CLIPTextModel"]),
    ("text_encoder_2", &["CLIPTextModelWithProjection"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("tokenizer_2", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
];
const PIPELINES: [&str; 3] =
    ["StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"];

/// What `model_index.json` says besides the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModelIndex {
    /// Whether an absent negative prompt means zeros instead of an encoded empty text.
    pub(super) force_zeros_for_empty_prompt: bool,
}

/// Optional defaults of a model that is not best at SDXL's own: `framewright.json`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) default_steps: Option<usize>,
    pub(super) default_guidance_scale: Option<f32>,
}

/// Reads `model_index.json`, and refuses by name what is not an SDXL base model.
pub(super) fn model_index(text: &str, path: &Path) -> Result<ModelIndex> {
    let index: Map<String, Value> = parse(path, text)?;
    let pipeline = index.get("_class_name").and_then(Value::as_str).unwrap_or("a pipeline without a class");
    if !PIPELINES.contains(&pipeline) {
        let reason = format!("{} is not supported; this engine runs {}", shortened(pipeline), PIPELINES.join(", "));
        return Err(Error::checkpoint("model_index.json", reason));
    }
    for (component, known) in CLASSES {
        let class = index.get(component).and_then(|entry| entry.get(1)).and_then(Value::as_str);
        match class {
            Some(class) if known.contains(&class) => {}
            Some(class) => {
                let reason = format!("{} is not supported; known: {}", shortened(class), known.join(", "));
                return Err(Error::checkpoint(component, reason));
            }
            None if component.ends_with("encoder") || component == "tokenizer" => {
                let reason = "the model has none: refiners, which have one text encoder, are not supported";
                return Err(Error::checkpoint(component, reason));
            }
            None => return Err(Error::checkpoint(component, "model_index.json does not name it")),
        }
    }
    let force_zeros_for_empty_prompt = match index.get("force_zeros_for_empty_prompt") {
        // The pipeline's own default.
        None | Some(Value::Null) => true,
        Some(Value::Bool(force)) => *force,
        Some(_) => return Err(Error::checkpoint("model_index.json", "force_zeros_for_empty_prompt is neither true nor false")),
    };
    Ok(ModelIndex { force_zeros_for_empty_prompt })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = include_str!("../../../tests/fixtures/published/model_index.json");

    fn read_index(text: &str) -> Result<ModelIndex, String> {
        model_index(text, Path::new("model_index.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_published_index_is_taken() {
        assert_eq!(read_index(INDEX), Ok(ModelIndex { force_zeros_for_empty_prompt: true }));
        let encoded = INDEX.replace("\"force_zeros_for_empty_prompt\": true", "\"force_zeros_for_empty_prompt\": false");
        assert_eq!(read_index(&encoded), Ok(ModelIndex { force_zeros_for_empty_prompt: false }));
    }

    #[test]
    fn other_models_are_refused_by_name() {
        for (from, to, named) in [
            ("\"StableDiffusionXLPipeline\"", "\"FluxPipeline\"", "FluxPipeline"),
            ("\"UNet2DConditionModel\"", "\"Kandinsky3UNet\"", "unet: Kandinsky3UNet"),
            ("[\"transformers\", \"CLIPTextModel\"]", "[null, null]", "text_encoder: the model has none"),
            ("\"AutoencoderKL\"", "\"AutoencoderTiny\"", "vae: AutoencoderTiny"),
            ("\"vae\"", "\"voe\"", "vae: model_index.json does not name it"),
        ] {
            assert!(INDEX.contains(from), "{from}");
            let error = read_index(&INDEX.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert!(read_index("[]").unwrap_err().starts_with("model_index.json: "));
    }
}
