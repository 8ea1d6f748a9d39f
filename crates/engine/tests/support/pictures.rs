//! Requests of golden cases, the checkpoints that they name, and machines driven by hand.

#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use framewright_engine::latent::Latent;
use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::{Generation, ImageRequest, SdxlModel};
use framewright_engine::pipelines::{Outputs, StepMachine, Want};
use framewright_engine::vision::{GreyPicture, RgbPicture};
use framewright_engine::weights::Variant;
use serde_json::Value;

use crate::support;

/// Peak signal-to-noise ratio that every case must reach.
pub(crate) const LEAST_PSNR_DB: f64 = 50.0;

/// Each checkpoint is written and loaded once.
fn model(name: &str) -> Arc<SdxlModel> {
    static LOADED: LazyLock<Mutex<BTreeMap<String, Arc<SdxlModel>>>> = LazyLock::new(Mutex::default);
    let mut loaded = LOADED.lock().unwrap();
    let load = |directory: &Path| {
        let ops = Ops::cpu(Precision::F32, None).unwrap();
        Arc::new(SdxlModel::load(directory, &ops, Variant::Plain, &Interrupt::default()).unwrap())
    };
    let entry = loaded.entry(name.to_owned());
    Arc::clone(entry.or_insert_with(|| match name {
        // The one whose weights are files.
        "saved" => load(&support::fixtures().join("saved")),
        _ => load(support::checkpoint(name).path()),
    }))
}

fn read_png(path: &Path, color_type: png::ColorType) -> (usize, usize, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((frame.color_type, frame.bit_depth), (color_type, png::BitDepth::Eight));
    bytes.truncate(frame.buffer_size());
    (frame.height as usize, frame.width as usize, bytes)
}

fn read_rgb(path: &Path) -> RgbPicture {
    let (height, width, bytes) = read_png(path, png::ColorType::Rgb);
    RgbPicture { height, width, bytes }
}

fn read_grey(path: &Path) -> GreyPicture {
    let (height, width, bytes) = read_png(path, png::ColorType::Grayscale);
    GreyPicture { height, width, bytes }
}

/// The request for image `number` of a case in a folder of fixtures.
pub(crate) fn request(folder: &str, case: &Value, number: u64) -> ImageRequest {
    let size = |key: &str| case[key].as_u64().unwrap() as usize;
    let float = |key: &str| case[key].as_f64().map(|value| value as f32);
    let file_of = |file: &str| support::fixtures().join(folder).join(file);
    let sampler = case["sampler"].as_str().unwrap();
    ImageRequest {
        prompt: case["prompt"].as_str().unwrap().to_owned(),
        negative_prompt: case["negative"].as_str().map(str::to_owned),
        width: size("width"),
        height: size("height"),
        num_inference_steps: size("steps"),
        guidance_scale: float("guidance").unwrap(),
        guidance_rescale: float("rescale").unwrap(),
        sampler: Some(match case["sigma_mode"].as_str().unwrap() {
            "plain" => sampler.to_owned(),
            mode => format!("{sampler}_{mode}"),
        }),
        seed: case["seed"].as_str().unwrap().parse::<u64>().unwrap() + number,
        init_image: case["init_image"].as_str().map(|file| Arc::new(read_rgb(&file_of(file)))),
        strength: float("strength").unwrap_or(0.3),
        mask: case["mask"].as_str().map(|file| Arc::new(read_grey(&file_of(file)))),
    }
}

pub(crate) fn model_of(case: &Value) -> Arc<SdxlModel> {
    model(case["checkpoint"].as_str().unwrap())
}

/// Answers one want; false when there is none.
pub(crate) fn advance(model: &SdxlModel, machine: &mut Generation) -> bool {
    let interrupt = Interrupt::default();
    let outputs = match machine.want() {
        Want::Evaluate { rows } => Outputs::Evaluated(model.evaluate(&rows, &interrupt).unwrap()),
        Want::Decode { latent } => Outputs::Decoded(model.decode(&latent, &interrupt).unwrap()),
        Want::Done => return false,
    };
    machine.give(outputs).unwrap();
    true
}

pub(crate) fn begin(model: &SdxlModel, request: &ImageRequest) -> Generation {
    model.begin(request, &Interrupt::default()).unwrap()
}

/// The latents after every evaluation, and the machine at its end.
pub(crate) fn run(model: &SdxlModel, request: &ImageRequest) -> (Vec<Latent>, Generation) {
    let mut machine = begin(model, request);
    let mut latents = Vec::new();
    while advance(model, &mut machine) {
        if latents.len() < machine.progress().0 {
            latents.push(machine.latents().clone());
        }
    }
    (latents, machine)
}

pub(crate) fn psnr_db(actual: &[u8], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let squares: f64 = actual.iter().zip(expected).map(|(left, right)| (f64::from(*left) - f64::from(*right)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * actual.len() as f64 / squares.max(f64::MIN_POSITIVE)).log10()
}
