//! The real device: runs SDXL with the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::{Generation, ImageRequest as EngineRequest, MemoryEstimate, ModelInfo, SdxlModel};
use framewright_engine::pipelines::{Outputs, StepMachine, Want};
use framewright_engine::vision::RgbPicture;
use framewright_engine::vision::resize::resize_lanczos;
use framewright_engine::weights::Variant;

use super::{ImageDevice, ImageOutput, ImageTask, Report, RunFacts, TaskFailure, Timings};
use crate::domain::{ErrorCode, ImageRequest, Progress};
use crate::media::encode::{PngText, encode_png};
use crate::models::files_fingerprint;

/// A device with its operations and the model that it loaded last.
#[derive(Debug)]
pub struct SdxlDevice {
    ops: Ops,
    /// Bytes of memory that are free on the device; `None` where that is not known.
    available_bytes: fn() -> Option<u64>,
    unload_after_task: bool,
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    directory: PathBuf,
    /// Fingerprint of the files that it was loaded from.
    files: u64,
    model: SdxlModel,
}

impl SdxlDevice {
    /// A device without a model. Requests that need more memory than `available_bytes` says is free are refused.
    pub fn new(ops: Ops, available_bytes: fn() -> Option<u64>, unload_after_task: bool) -> Self {
        Self { ops, available_bytes, unload_after_task, loaded: None }
    }

    /// The model of `directory`, and the seconds it took to load it if it was not loaded. Another model, or this one if its files have
    /// changed, is dropped first: the two need not fit together.
    fn load(
        &mut self,
        directory: &Path,
        request: &EngineRequest,
        interrupt: &Interrupt,
    ) -> Result<(&SdxlModel, Option<f64>), TaskFailure> {
        let files = files_fingerprint(directory);
        if self.loaded.as_ref().is_some_and(|loaded| loaded.directory != directory || loaded.files != files) {
            self.unload();
        }
        let estimate = match &self.loaded {
            // Its weights are there already.
            Some(loaded) => MemoryEstimate { weights_bytes: 0, ..loaded.model.info().memory_estimate(request, &self.ops) },
            None => ModelInfo::read(directory)?.memory_estimate(request, &self.ops),
        };
        self.check_memory(estimate, request)?;
        let mut load_seconds = None;
        let loaded = if let Some(loaded) = self.loaded.take() {
            loaded
        } else {
            let begun = Instant::now();
            let variant = match self.ops.precision() {
                Precision::F16 => Variant::Half,
                Precision::F32 | Precision::Bf16 => Variant::Plain,
            };
            let model = SdxlModel::load(directory, &self.ops, variant, interrupt)?;
            load_seconds = Some(begun.elapsed().as_secs_f64());
            Loaded { directory: directory.to_owned(), files, model }
        };
        Ok((&self.loaded.insert(loaded).model, load_seconds))
    }

    /// Refuses, with the numbers, what would have the system kill the server.
    fn check_memory(&self, estimate: MemoryEstimate, request: &EngineRequest) -> Result<(), TaskFailure> {
        // Whole layers where they fit, tiles where only those do; less than tiles need is refused.
        let needed = estimate.weights_bytes + estimate.least_activations_bytes;
        let too_little = || (self.available_bytes)().filter(|available| *available < needed);
        if too_little().is_none() {
            return Ok(());
        }
        // What earlier requests worked in counts as taken until it is given back.
        self.ops.release_scratch();
        let Some(available) = too_little() else { return Ok(()) };
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        Err(TaskFailure::new(
            ErrorCode::OutOfMemory,
            format!(
                "{}x{} needs about {:.2} GB of memory ({:.2} GB for the weights, {:.2} GB to work in) and {:.2} GB are free; \
                 ask for a smaller picture, or use bf16 (FRAMEWRIGHT_PRECISION=bf16) or a machine with more memory",
                request.width,
                request.height,
                gigabytes(needed),
                gigabytes(estimate.weights_bytes),
                gigabytes(estimate.least_activations_bytes),
                gigabytes(available),
            ),
        ))
    }
}

impl ImageDevice for SdxlDevice {
    fn run(&mut self, task: &ImageTask, report: &mut dyn FnMut(Report)) -> Result<ImageOutput, TaskFailure> {
        let free_bytes = self.available_bytes;
        let (device, precision) = (self.ops.description(), precision_name(self.ops.precision()));
        let first = engine_request(&task.request, 0, None);
        let (model, load_seconds) = self.load(&task.model_directory, &first, &task.interrupt)?;
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
            .map(|index| run_picture(model, task, index, init_image.clone(), free_bytes, &mut facts, report))
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
    free_bytes: fn() -> Option<u64>,
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
                let (done, all) = generation.progress();
                if task.previews.is_due(done, all)
                    && let Some(png) = preview(model, &generation)
                {
                    report(Report::Preview { index, progress, png });
                }
            }
            Want::Decode { latent } => {
                let decoded = model.decode_within(&latent, free_bytes().unwrap_or(u64::MAX), interrupt)?;
                if decoded.tiled {
                    facts
                        .warnings
                        .push(format!("picture {index} was decoded in tiles: too little memory was free for whole layers"));
                }
                generation.give(Outputs::Decoded(decoded.picture))?;
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
    use framewright_engine::ops::KernelPath;

    use super::*;
    use crate::domain::{JobError, PreviewDemand};

    fn demo() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-sdxl")
    }

    fn device(available_bytes: fn() -> Option<u64>) -> SdxlDevice {
        SdxlDevice::new(Ops::cpu(Precision::F32, Some(KernelPath::Gemm)).unwrap(), available_bytes, false)
    }

    fn task(model_directory: PathBuf) -> ImageTask {
        ImageTask {
            request: ImageRequest {
                model: "demo-sdxl".parse().unwrap(),
                prompt: "a red circle".to_owned(),
                negative_prompt: None,
                width: 64,
                height: 64,
                num_inference_steps: 1,
                guidance_scale: 1.0,
                seed: 1,
                sampler: None,
                num_images: 1,
                init_image: None,
                strength: 1.0,
            },
            model_directory,
            init_image: None,
            interrupt: Interrupt::default(),
            previews: PreviewDemand::default(),
        }
    }

    /// Runs a task; gives how often it loaded the model.
    fn run(device: &mut SdxlDevice, directory: &Path) -> Result<usize, JobError> {
        let mut loads = 0;
        let mut count = |report| loads += usize::from(matches!(report, Report::ModelLoaded { .. }));
        match device.run(&task(directory.to_owned()), &mut count) {
            Ok(_) => Ok(loads),
            Err(TaskFailure::Failed(error)) => Err(error),
            Err(TaskFailure::Cancelled) => panic!("nobody cancelled"),
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        let JobError { code, message } = run(&mut device(|| Some(10_000_000)), &demo()).unwrap_err();
        assert_eq!(code, ErrorCode::OutOfMemory);
        assert!(message.starts_with("64x64 needs about 0.") && message.contains("0.01 GB are free"), "{message}");
        assert_eq!(run(&mut device(|| Some(u64::MAX)), &demo()), Ok(1));
    }

    #[cfg(unix)]
    #[test]
    fn a_model_is_loaded_again_when_its_files_change_and_refused_when_they_have_gone() {
        let directory = tempfile::tempdir().unwrap();
        let model = directory.path().join("model");
        std::fs::create_dir(&model).unwrap();
        for entry in std::fs::read_dir(demo()).unwrap() {
            let entry = entry.unwrap();
            std::os::unix::fs::symlink(entry.path(), model.join(entry.file_name())).unwrap();
        }
        let mut device = device(|| None);
        assert_eq!(run(&mut device, &model), Ok(1));
        assert_eq!(run(&mut device, &model), Ok(0), "it is there");
        let index = model.join("model_index.json");
        let text = std::fs::read_to_string(&index).unwrap();
        std::fs::remove_file(&index).unwrap();
        std::fs::write(&index, format!("{text}\n")).unwrap();
        assert_eq!(run(&mut device, &model), Ok(1), "it has changed");
        std::fs::remove_dir_all(&model).unwrap();
        assert_eq!(run(&mut device, &model).unwrap_err().code, ErrorCode::ModelUnavailable);
    }

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
