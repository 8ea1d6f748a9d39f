//! Where an SVD model's configurations and weights are: a directory in the diffusers layout, or one file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result, shortened};
use crate::fingerprint::Fingerprint;
use crate::pipelines::model_files;
use crate::samplers::SchedulerConfig;
use crate::svd::{SvdUNetConfig, TemporalVaeConfig, shapes};
use crate::vision::{ImageEncoderConfig, Normalisation};
use crate::weights::{Checkpoint, SvdComponent, SvdFile, Variant};

/// Where `model_index.json` must name one of these classes.
const CLASSES: [(&str, &[&str]); 3] = [
    ("image_encoder", &["CLIPVisionModelWithProjection"]),
    ("unet", &["UNetSpatioTemporalConditionModel"]),
    ("vae", &["AutoencoderKLTemporalDecoder"]),
];
const PIPELINE: &str = "StableVideoDiffusionPipeline";
/// The scheduler of every published model, for a file, which names none.
const PUBLISHED_SCHEDULER: &str = r#"{
    "_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "interpolation_type": "linear", "num_train_timesteps": 1000, "prediction_type": "v_prediction", "sigma_max": 700.0,
    "sigma_min": 0.002, "steps_offset": 1, "timestep_spacing": "leading", "timestep_type": "continuous", "use_karras_sigmas": true
}"#;
/// Frames that the published models were trained on: the first one, and the extended one (`svd_xt`).
const FRAMES: usize = 14;
const EXTENDED_FRAMES: usize = 25;

/// The networks, in the order in which they are loaded.
pub(super) const COMPONENTS: [SvdComponent; 3] = [SvdComponent::ImageEncoder, SvdComponent::UNet, SvdComponent::Vae];

/// What the names of a component's files in a directory begin with.
pub(super) const fn stem(component: SvdComponent) -> &'static str {
    match component {
        SvdComponent::ImageEncoder => "model",
        SvdComponent::UNet | SvdComponent::Vae => "diffusion_pytorch_model",
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
    #[serde(rename = "default_steps")]
    pub(super) steps: Option<usize>,
    #[serde(rename = "default_fps")]
    pub(super) fps: Option<usize>,
    #[serde(rename = "default_motion_bucket_id")]
    pub(super) motion_bucket_id: Option<usize>,
    #[serde(rename = "default_min_guidance_scale")]
    pub(super) min_guidance_scale: Option<f32>,
    #[serde(rename = "default_max_guidance_scale")]
    pub(super) max_guidance_scale: Option<f32>,
}

/// The files of a model.
#[derive(Debug)]
pub(super) enum ModelFiles {
    /// A directory in the diffusers layout.
    Directory(PathBuf),
    /// All in one, as the authors published it.
    File { path: PathBuf, file: SvdFile },
}

impl ModelFiles {
    /// Those of the model at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        Ok(Self::File { path: path.to_owned(), file: SvdFile::open(path)? })
    }

    /// The optional file `name` of a directory. What lies beside a file is not part of its model.
    pub(super) fn optional(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Directory(directory) => Some(directory.join(name)),
            Self::File { .. } => None,
        }
    }

    /// Every configuration. What is not an SVD model is refused by name.
    pub(super) fn configuration(&self) -> Result<Configuration> {
        match self {
            Self::Directory(directory) => read_configuration(directory),
            Self::File { path, file } => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
                let num_frames = if name.contains("xt") { EXTENDED_FRAMES } else { FRAMES };
                let unet = file.checkpoint(SvdComponent::UNet)?;
                Ok(Configuration {
                    scheduler: SchedulerConfig::from_json(PUBLISHED_SCHEDULER)?,
                    unet: shapes::unet_config(&unet, num_frames)?,
                    vae: shapes::vae_config(&file.checkpoint(SvdComponent::Vae)?)?,
                    image_encoder: shapes::image_encoder_config(&file.checkpoint(SvdComponent::ImageEncoder)?)?,
                    normalisation: Normalisation::default(),
                    defaults: Defaults::default(),
                    fingerprint: Fingerprint::default().finish(),
                })
            }
        }
    }

    /// The weights of a component. A file is of no variant.
    pub(super) fn checkpoint(&self, component: SvdComponent, variant: Variant) -> Result<Checkpoint> {
        match self {
            Self::Directory(directory) => {
                Checkpoint::open(component.name(), &directory.join(component.name()), stem(component), variant)
            }
            Self::File { file, .. } => file.checkpoint(component),
        }
    }
}

/// Reads every configuration of a directory.
fn read_configuration(directory: &Path) -> Result<Configuration> {
    let mut fingerprint = Fingerprint::default();
    let mut text_of = |name: &str| {
        let path = directory.join(name);
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
    let path = directory.join("feature_extractor/preprocessor_config.json");
    let normalisation = match model_files::read_optional(&path)? {
        Some(text) => {
            fingerprint.bytes(text.as_bytes());
            let normalisation: Normalisation = model_files::parse(&path, &text)?;
            if !normalisation.is_sound() {
                let reason = "image_mean must be finite, image_std neither zero nor infinite".to_owned();
                return Err(Error::Malformed { path, reason });
            }
            normalisation
        }
        None => Normalisation::default(),
    };
    let path = directory.join("framewright.json");
    let defaults = match model_files::read_optional(&path)? {
        Some(text) => model_files::parse(&path, &text)?,
        None => Defaults::default(),
    };
    let fingerprint = fingerprint.finish();
    Ok(Configuration { scheduler, unet, vae, image_encoder, normalisation, defaults, fingerprint })
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
    fn the_scheduler_of_a_file_is_the_published_one() {
        let published = SchedulerConfig::from_json(include_str!("../../../tests/fixtures/svd_published/scheduler.json")).unwrap();
        let ours = SchedulerConfig::from_json(PUBLISHED_SCHEDULER).unwrap();
        assert_eq!(format!("{ours:?}"), format!("{published:?}"));
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
