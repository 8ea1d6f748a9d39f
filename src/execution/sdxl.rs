//! The real device: runs SDXL with the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::{Generation, ImageRequest as EngineRequest, SdxlModel};
use framewright_engine::pipelines::{Outputs, StepMachine, Want};
use framewright_engine::vision::RgbPicture;
use framewright_engine::vision::resize::resize_lanczos;
use framewright_engine::weights::Variant;

use super::{ImageDevice, ImageOutput, ImageTask, Report, RunFacts, TaskFailure, Timings};
use crate::domain::{ErrorCode, ImageRequest, Progress};
use crate::media::encode::{PngText, encode_png};

/// A device with its operations and the model that it loaded last.
#[derive(Debug)]
pub struct SdxlDevice {
    ops: Ops,
    unload_after_task: bool,
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    directory: PathBuf,
    model: SdxlModel,
}

impl SdxlDevice {
    /// A device without a model.
    pub fn new(ops: Ops, unload_after_task: bool) -> Self {
        Self { ops, unload_after_task, loaded: None }
    }

    /// The model of `directory`, and the seconds it took to load it if it was not loaded. Another model is dropped first: the two
    /// need not fit together.
    fn load(&mut self, directory: &Path, interrupt: &Interrupt) -> Result<(&SdxlModel, Option<f64>), TaskFailure> {
        let mut load_seconds = None;
        let loaded = if let Some(loaded) = self.loaded.take().filter(|loaded| loaded.directory == directory) {
            loaded
        } else {
            self.ops.release_scratch();
            let begun = Instant::now();
            let variant = match self.ops.precision() {
                Precision::F16 => Variant::Half,
                Precision::F32 | Precision::Bf16 => Variant::Plain,
            };
            let model = SdxlModel::load(directory, &self.ops, variant, interrupt)?;
            load_seconds = Some(begun.elapsed().as_secs_f64());
            Loaded { directory: directory.to_owned(), model }
        };
        Ok((&self.loaded.insert(loaded).model, load_seconds))
    }
}

impl ImageDevice for SdxlDevice {
    fn run(&mut self, task: &ImageTask, report: &mut dyn FnMut(Report)) -> Result<ImageOutput, TaskFailure> {
        let (device, precision) = (self.ops.description(), precision_name(self.ops.precision()));
        let (model, load_seconds) = self.load(&task.model_directory, &task.interrupt)?;
        if let Some(seconds) = load_seconds {
            report(Report::ModelLoaded { seconds });
        }
        let mut facts = RunFacts {
            device,
            precision: precision.to_owned(),
            sampler: task.request.sampler.clone().unwrap_or_else(|| checkpoint_sampler(&task.model_directory)),
            noise: "torch-cpu-mt19937".to_owned(),
            timings: Timings { load_seconds: load_seconds.unwrap_or(0.0), ..Timings::default() },
            warnings: Vec::new(),
        };
        let init_image = fitted_init_image(task, &mut facts.warnings);
        let pictures = (0..task.request.num_images)
            .map(|index| run_picture(model, task, index, init_image.clone(), &mut facts, report))
            .collect::<Result<_, _>>()?;
        if self.unload_after_task {
            self.unload();
        }
        Ok(ImageOutput { pictures, facts })
    }

    fn unload(&mut self) {
        self.loaded = None;
        self.ops.release_scratch();
    }
}

/// Makes picture `index` of a task.
fn run_picture(
    model: &SdxlModel,
    task: &ImageTask,
    index: u32,
    init_image: Option<Arc<RgbPicture>>,
    facts: &mut RunFacts,
    report: &mut dyn FnMut(Report),
) -> Result<RgbPicture, TaskFailure> {
    let interrupt = &task.interrupt;
    let begun = Instant::now();
    let mut generation = model.begin(&engine_request(&task.request, index, init_image), interrupt)?;
    facts.timings.encode_seconds += begun.elapsed().as_secs_f64();
    if index == 0 && generation.truncated_tokens() > 0 {
        facts.warnings.push(format!("prompt truncated by {} tokens", generation.truncated_tokens()));
    }
    loop {
        let begun = Instant::now();
        match generation.want() {
            Want::Evaluate { rows } => {
                let outputs = model.evaluate(&rows, interrupt)?;
                generation.give(Outputs::Evaluated(outputs))?;
                let seconds = begun.elapsed().as_secs_f64();
                facts.timings.denoise_seconds += seconds;
                let progress = overall_progress(&generation, index, task.request.num_images);
                report(Report::Evaluated { progress, seconds });
                if task.wants_preview()
                    && let Some(png) = preview(model, &generation)
                {
                    report(Report::Preview { index, progress, png });
                }
            }
            Want::Decode { latent } => {
                let picture = model.decode(&latent, interrupt)?;
                generation.give(Outputs::Decoded(picture))?;
                facts.timings.decode_seconds += begun.elapsed().as_secs_f64();
            }
            Want::Done => break,
        }
    }
    let picture =
        generation.picture().ok_or_else(|| TaskFailure::new(ErrorCode::Internal, "the pipeline ended without a picture"))?;
    Ok(picture.to_rgb())
}

/// Evaluations of one picture as progress over all; every picture of a request takes equally many.
fn overall_progress(generation: &Generation, index: u32, num_images: u32) -> Progress {
    let (done, all) = generation.progress();
    Progress { step: index * all as u32 + done as u32, steps: num_images * all as u32 }
}

fn preview(model: &SdxlModel, generation: &Generation) -> Option<bytes::Bytes> {
    let picture = model.preview(generation.predicted()?);
    let png = encode_png(picture.width as u32, picture.height as u32, &picture.bytes, &PngText::default());
    png.inspect_err(|error| tracing::warn!(%error, "no preview: {error}")).ok().map(Into::into)
}

/// The initial picture at the request's size.
fn fitted_init_image(task: &ImageTask, warnings: &mut Vec<String>) -> Option<Arc<RgbPicture>> {
    let picture = task.init_image.as_ref()?;
    let (width, height) = (task.request.width as usize, task.request.height as usize);
    if (picture.width, picture.height) == (width, height) {
        return Some(picture.clone());
    }
    warnings.push(format!("init_image resized from {}x{} to {width}x{height}", picture.width, picture.height));
    Some(Arc::new(resize_lanczos(picture, height, width)))
}

/// The part of a request that makes picture `index`.
fn engine_request(request: &ImageRequest, index: u32, init_image: Option<Arc<RgbPicture>>) -> EngineRequest {
    EngineRequest {
        prompt: request.prompt.clone(),
        negative_prompt: request.negative_prompt.clone(),
        width: request.width as usize,
        height: request.height as usize,
        num_inference_steps: request.num_inference_steps as usize,
        guidance_scale: request.guidance_scale,
        guidance_rescale: 0.0,
        sampler: request.sampler.clone(),
        seed: request.seed.wrapping_add(u64::from(index)),
        init_image,
        strength: request.strength,
    }
}

const fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
        Precision::F16 => "f16",
    }
}

/// Our name of the checkpoint's own sampler, for reports; its class name when we have none.
fn checkpoint_sampler(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join("scheduler/scheduler_config.json")).unwrap_or_default();
    sampler_of_config(&serde_json::from_str(&text).unwrap_or_default())
}

fn sampler_of_config(config: &serde_json::Value) -> String {
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
            (serde_json::Value::Null, "unknown"),
        ] {
            assert_eq!(sampler_of_config(&config), expected);
        }
    }
}
