//! What a model's small files say of it, without loading it.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::task::{Failure, FailureClass, ModelFiles, Request};

/// Larger files are not configurations.
const MOST_BYTES: u64 = 1 << 20;
/// How the class names of Stable Video Diffusion's pipelines begin.
const VIDEO_CLASS: &str = "StableVideoDiffusion";
/// The published scheduler of Stable Video Diffusion, whose single files come without one.
const VIDEO_SAMPLER: &str = "euler_karras";

/// What a model makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Pictures.
    Sdxl,
    /// Clips.
    Svd,
}

impl Family {
    /// Which family the files at `path` are of: a directory by its `model_index.json`; of single files only Stable Video Diffusion's are
    /// loaded. What is neither, whoever loads pictures names.
    pub(crate) fn of(path: &Path) -> Self {
        let is_video = |index: Value| index["_class_name"].as_str().is_some_and(|class| class.starts_with(VIDEO_CLASS));
        if path.is_file() || read_json(&path.join("model_index.json")).is_some_and(is_video) { Self::Svd } else { Self::Sdxl }
    }

    /// Refuses what a model of this family does not make.
    pub(crate) fn check(self, model: &ModelFiles, request: &Request) -> Result<(), Failure> {
        let reason = match (self, request) {
            (Self::Sdxl, Request::Pictures(_)) | (Self::Svd, Request::Clip(_)) => return Ok(()),
            (Self::Sdxl, Request::Clip(_)) => "makes pictures and no clips; name a video model",
            (Self::Svd, Request::Pictures(_)) => "makes clips and no pictures; name an image model",
        };
        Err(Failure::new(FailureClass::InvalidRequest, format!("model: '{}' {reason}", model.name)))
    }
}

/// Our name of the checkpoint's own sampler, for reports; its class name when we have none.
pub(crate) fn checkpoint_sampler(path: &Path) -> String {
    if path.is_file() {
        return VIDEO_SAMPLER.to_owned();
    }
    sampler_of_config(&read_json(&path.join("scheduler/scheduler_config.json")).unwrap_or_default())
}

fn read_json(path: &Path) -> Option<Value> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn sampler_of_config(config: &Value) -> String {
    let class = config["_class_name"].as_str().unwrap_or("unknown");
    let is_sde = config["algorithm_type"].as_str().is_some_and(|algorithm| algorithm.starts_with("sde"));
    let base = match class {
        "EulerDiscreteScheduler" => "euler",
        "EulerAncestralDiscreteScheduler" => "euler_ancestral",
        "HeunDiscreteScheduler" => "heun",
        "DDIMScheduler" => "ddim",
        "DPMSolverMultistepScheduler" if is_sde => "dpmpp_2m_sde",
        "DPMSolverMultistepScheduler" => "dpmpp_2m",
        "UniPCMultistepScheduler" => "unipc",
        "LCMScheduler" => "lcm",
        other => return other.to_owned(),
    };
    let is_set = |key: &str| config[key].as_bool().unwrap_or(false);
    let suffix = if is_set("use_karras_sigmas") {
        "_karras"
    } else if is_set("use_exponential_sigmas") {
        "_exponential"
    } else {
        ""
    };
    format!("{base}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoints_sampler_has_our_name() {
        let karras = serde_json::json!({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": true});
        let sde = serde_json::json!({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"});
        let exponential = serde_json::json!({"_class_name": "HeunDiscreteScheduler", "use_exponential_sigmas": true});
        for (config, expected) in [
            (serde_json::json!({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": false}), "euler"),
            (karras, "dpmpp_2m_karras"),
            (sde, "dpmpp_2m_sde"),
            (exponential, "heun_exponential"),
            (serde_json::json!({"_class_name": "PNDMScheduler"}), "PNDMScheduler"),
            (Value::Null, "unknown"),
        ] {
            assert_eq!(sampler_of_config(&config), expected);
        }
    }
    #[test]
    fn a_models_family_is_read_from_its_files() {
        let place = tempfile::tempdir().unwrap();
        let index = |class: &str| {
            std::fs::write(place.path().join("model_index.json"), format!(r#"{{"_class_name": "{class}"}}"#)).unwrap();
            Family::of(place.path())
        };
        assert_eq!(index("StableVideoDiffusionPipeline"), Family::Svd);
        assert_eq!(index("StableDiffusionXLPipeline"), Family::Sdxl);
        assert_eq!(Family::of(&place.path().join("model_index.json")), Family::Svd, "a single file");
        assert_eq!(Family::of(&place.path().join("nowhere")), Family::Sdxl);
    }
}
