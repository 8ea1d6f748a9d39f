//! Where an SVD model's configurations and weights are: a directory in the diffusers layout.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result, shortened};
use crate::fingerprint::Fingerprint;
use crate::pipelines::model_files;
use crate::samplers::SchedulerConfig;
use crate::svd::{SvdUNetConfig, TemporalVaeConfig};
use crate::vision::{ImageEncoderConfig, Normalisation};
use crate::weights::{Checkpoint, Variant};

/// Where `model_index.json` must name one of these classes.
const CLASSES: [(&str, &[&str]); 3] = [
    ("image_encoder", &["CLIPVisionModelWithProjection"]),
    ("unet", &["UNetSpatioTemporalConditionModel"]),
    ("vae", &["AutoencoderKLTemporalDecoder"]),
];
const PIPELINE: &str = "StableVideoDiffusionPipeline";

/// A network of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    ImageEncoder,
    UNet,
    Vae,
}

impl Component {
    /// In the order in which they are loaded.
    pub(super) const ALL: [Self; 3] = [Self::ImageEncoder, Self::UNet, Self::Vae];

    /// Its folder, and its name in errors.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ImageEncoder => "image_encoder",
            Self::UNet => "unet",
            Self::Vae => "vae",
        }
    }

    /// What the names of its weights' files begin with.
    pub(super) const fn stem(self) -> &'static str {
        match self {
            Self::ImageEncoder => "model",
            Self::UNet | Self::Vae => "diffusion_pytorch_model",
        }
    }
}

/// Every setting of a model.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) scheduler: SchedulerConfig,
    pub(super) unet: SvdUNetConfig,
    pub(super) vae: TemporalVaeConfig,
    pub(super) image_encoder: ImageEncoderConfig,
    /// Of the picture that the image encoder sees.
    pub(super) normalisation: Normalisation,
    pub(super) defaults: Defaults,
    /// Of the texts that it was read from.
    pub(super) fingerprint: u64,
}

/// Optional defaults of a model that is not best at diffusers' own: `framewright.json`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) default_steps: Option<usize>,
    pub(super) default_fps: Option<usize>,
    pub(super) default_motion_bucket_id: Option<usize>,
    pub(super) default_min_guidance_scale: Option<f32>,
    pub(super) default_max_guidance_scale: Option<f32>,
}

/// The files of a model.
#[derive(Clone, Debug)]
pub(super) struct ModelFiles {
    directory: PathBuf,
}

impl ModelFiles {
    /// Those of the model at `path`.
    pub(super) fn open(path: &Path) -> Self {
        Self { directory: path.to_owned() }
    }

    /// The directory that the optional files of a model are in.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads every configuration, and refuses by name what is not an SVD model.
    pub(super) fn configuration(&self) -> Result<Configuration> {
        let mut fingerprint = Fingerprint::default();
        let mut text_of = |name: &str| {
            let path = self.directory.join(name);
            let text = model_files::read(&path)?;
            fingerprint.bytes(text.as_bytes());
            Ok::<_, Error>((path, text))
        };
        let (path, text) = text_of("model_index.json")?;
        check_index(&text, &path)?;
        let (_, text) = text_of("scheduler/scheduler_config.json")?;
        let scheduler = SchedulerConfig::from_json(&text)?;
        let (path, text) = text_of("unet/config.json")?;
        let unet = model_files::parse(&path, &text)?;
        let (path, text) = text_of("vae/config.json")?;
        let vae = model_files::parse(&path, &text)?;
        let (path, text) = text_of("image_encoder/config.json")?;
        let image_encoder = model_files::parse(&path, &text)?;
        let path = self.directory.join("feature_extractor/preprocessor_config.json");
        let normalisation = match model_files::read_optional(&path)? {
            Some(text) => {
                fingerprint.bytes(text.as_bytes());
                model_files::parse(&path, &text)?
            }
            None => Normalisation::default(),
        };
        let path = self.directory.join("framewright.json");
        let defaults = match model_files::read_optional(&path)? {
            Some(text) => model_files::parse(&path, &text)?,
            None => Defaults::default(),
        };
        let fingerprint = fingerprint.finish();
        Ok(Configuration { scheduler, unet, vae, image_encoder, normalisation, defaults, fingerprint })
    }

    /// The weights of a component.
    pub(super) fn checkpoint(&self, component: Component, variant: Variant) -> Result<Checkpoint> {
        Checkpoint::open(component.name(), &self.directory.join(component.name()), component.stem(), variant)
    }
}

/// Checks `model_index.json`.
fn check_index(text: &str, path: &Path) -> Result<()> {
    let index: Map<String, Value> = model_files::parse(path, text)?;
    let pipeline = index.get("_class_name").and_then(Value::as_str).unwrap_or("a pipeline without a class");
    if pipeline != PIPELINE {
        let reason = format!("{} is not supported; for clips this engine runs {PIPELINE}", shortened(pipeline));
        return Err(Error::checkpoint("model_index.json", reason));
    }
    for (component, known) in CLASSES {
        match index.get(component).and_then(|entry| entry.get(1)).and_then(Value::as_str) {
            Some(class) if known.contains(&class) => {}
            Some(class) => {
                let reason = format!("{} is not supported; known: {}", shortened(class), known.join(", "));
                return Err(Error::checkpoint(component, reason));
            }
            None => return Err(Error::checkpoint(component, "model_index.json does not name it")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = include_str!("../../../tests/fixtures/svd_checkpoints/two_level/model_index.json");

    fn check(text: &str) -> Result<(), String> {
        check_index(text, Path::new("model_index.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn other_models_are_refused_by_name() {
        assert_eq!(check(INDEX), Ok(()));
        for (from, to, named) in [
            ("\"StableVideoDiffusionPipeline\"", "\"StableDiffusionXLPipeline\"", "StableDiffusionXLPipeline"),
            ("\"UNetSpatioTemporalConditionModel\"", "\"UNet3DConditionModel\"", "unet: UNet3DConditionModel"),
            ("\"AutoencoderKLTemporalDecoder\"", "\"AutoencoderKL\"", "vae: AutoencoderKL"),
            ("\"image_encoder\"", "\"image_decoder\"", "image_encoder: model_index.json does not name it"),
        ] {
            assert!(INDEX.contains(from), "{from}");
            let error = check(&INDEX.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert!(check("[]").unwrap_err().starts_with("model_index.json: "));
    }
}
