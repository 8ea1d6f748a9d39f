//! How long a model takes to load: plain, packed for the first time, and mapped.
//!
//! ```text
//! cargo run -p framewright-engine --example load_times -- models/demo-sdxl [bf16]
//! cargo run -p framewright-engine --example load_times -- large
//! ```
//!
//! `large` is a checkpoint of some 140 million parameters, made by formula. The files are in the system's cache, as for a model that
//! was used a moment ago. Also the time of a first and a second evaluation: pages of a map are looked up when they are first touched.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

#[path = "../tests/support/large.rs"]
mod large;
#[expect(dead_code, reason = "only a checkpoint is needed here")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::{ImageRequest, SdxlModel};
use framewright_engine::pipelines::{StepMachine as _, Want};
use framewright_engine::weights::{PackedCache, Variant};

const REPEATS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "models/demo-sdxl".to_owned());
    let precision = if arguments.next().as_deref() == Some("bf16") { Precision::Bf16 } else { Precision::F32 };
    let made = (model == "large").then(large::large_checkpoint);
    let directory = made.as_ref().map_or_else(|| PathBuf::from(&model), |made| made.path().to_owned());
    let ops = Ops::cpu(precision, None).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let cache = PackedCache::new(parent.path().join("packed"));
    let interrupt = Interrupt::default();

    let load = || SdxlModel::load(&directory, &ops, Variant::Plain, &interrupt).unwrap();
    let shared = || SdxlModel::load_shared(&directory, &ops, Variant::Plain, &cache, &interrupt).unwrap();
    let (plain_ms, model_owned) = best(load);
    let start = Instant::now();
    let (_, packed_use) = shared();
    let packing_ms = start.elapsed().as_secs_f64() * 1e3;
    assert!(packed_use.packed_now, "{packed_use:?}");
    let (mapped_ms, (model_mapped, _)) = best(shared);

    let report = serde_json::json!({
        "model": model,
        "device": ops.description(),
        "packed_bytes": packed_use.bytes,
        "load_plain_ms": plain_ms,
        "load_packing_ms": packing_ms,
        "load_mapped_ms": mapped_ms,
        "evaluations_plain_ms": evaluations(&model_owned),
        "evaluations_mapped_ms": evaluations(&model_mapped),
    });
    std::io::stdout().write_all(format!("{report:#}\n").as_bytes()).unwrap();
}

/// The shortest time of several, and the last result.
fn best<T>(mut run: impl FnMut() -> T) -> (f64, T) {
    let mut timed = || {
        let start = Instant::now();
        let result = run();
        (start.elapsed().as_secs_f64() * 1e3, result)
    };
    let mut best = timed();
    for _ in 1..REPEATS {
        let (time_ms, result) = timed();
        best = (best.0.min(time_ms), result);
    }
    best
}

/// Times of the first evaluations of a picture of the model's own size.
fn evaluations(model: &SdxlModel) -> Vec<f64> {
    let (width, height) = model.info().default_size;
    let request = ImageRequest {
        prompt: "a red circle".to_owned(),
        negative_prompt: None,
        width,
        height,
        num_inference_steps: 8,
        guidance_scale: 1.0,
        guidance_rescale: 0.0,
        sampler: Some("euler".to_owned()),
        seed: 1,
        init_image: None,
        strength: 0.3,
        mask: None,
    };
    let interrupt = Interrupt::default();
    let mut machine = model.begin(&request, &interrupt).unwrap();
    let mut times = Vec::new();
    while let Want::Evaluate { rows } = machine.want() {
        let start = Instant::now();
        let outputs = model.evaluate(&rows, &interrupt).unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        machine.give(framewright_engine::pipelines::Outputs::Evaluated(outputs)).unwrap();
    }
    times
}
