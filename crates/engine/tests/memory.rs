//! The prediction of memory against what a process really peaks at, and the decoder's tiles against diffusers'.
//!
//! Each measurement runs in a process of its own, which is this test binary again with another test chosen: the kernel's high-water
//! mark is of the whole process, and what other tests did would count.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[expect(dead_code, reason = "not everything is needed here")]
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use framewright_engine::ops::{DeviceFacts, Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::{ImageRequest, ModelInfo, SdxlModel};
use framewright_engine::pipelines::{Proceed, drive};
use framewright_engine::vae::{DecodePlan, Vae, VaeConfig, decode_bytes};
use framewright_engine::vision::{GreyPicture, RgbPicture};
use framewright_engine::weights::{PackedCache, RandomWeights, Scope, Variant};
use framewright_engine::{Error, latent::Latent};

/// The prediction may be this much below the peak, …
const MOST_BELOW_PERCENT: u64 = 10;
/// … and this much above, …
const MOST_ABOVE_PERCENT: u64 = 35;
/// … and by what is allowed to the arena and to the host whatever the request: 64 MiB and 16 MiB.
const ALLOWANCE_BYTES: u64 = 80 << 20;
/// The cases, for the process of each.
const CASES: [Case; 11] = [
    Case { model: "demo", side: 128, precision: Precision::F32, shared: false, from: Start::Noise },
    Case { model: "demo", side: 512, precision: Precision::F32, shared: false, from: Start::Noise },
    Case { model: "demo", side: 768, precision: Precision::F32, shared: false, from: Start::Noise },
    Case { model: "demo", side: 768, precision: Precision::Bf16, shared: false, from: Start::Noise },
    Case { model: "demo", side: 512, precision: Precision::F32, shared: true, from: Start::Noise },
    Case { model: "demo", side: 128, precision: Precision::Bf16, shared: true, from: Start::Noise },
    Case { model: "demo", side: 512, precision: Precision::F32, shared: false, from: Start::Picture },
    Case { model: "demo", side: 512, precision: Precision::F32, shared: false, from: Start::Mask },
    Case { model: "three_level", side: 768, precision: Precision::F32, shared: false, from: Start::Mask },
    Case { model: "three_level", side: 512, precision: Precision::F32, shared: false, from: Start::Noise },
    Case { model: "two_level", side: 256, precision: Precision::F32, shared: false, from: Start::Noise },
];
/// Begins the line in which a measuring process says what it saw.
const MARK: &str = "measured";

/// What a picture begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Noise,
    Picture,
    /// A picture, part of which is repainted.
    Mask,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    model: &'static str,
    side: usize,
    precision: Precision,
    /// Whether the weights are mapped.
    shared: bool,
    from: Start,
}

fn request(Case { side, from, .. }: Case) -> ImageRequest {
    let picture = || Arc::new(RgbPicture { height: side, width: side, bytes: vec![90; side * side * 3] });
    let mask =
        || Arc::new(GreyPicture { height: side, width: side, bytes: [[0; 8], [255; 8]].concat().repeat(side * side / 16) });
    ImageRequest {
        prompt: "a red circle".to_owned(),
        negative_prompt: Some("blue".to_owned()),
        width: side,
        height: side,
        num_inference_steps: 1,
        guidance_scale: 3.0,
        guidance_rescale: 0.0,
        sampler: Some("euler".to_owned()),
        seed: 1,
        init_image: (from != Start::Noise).then(picture),
        strength: 1.0,
        mask: (from == Start::Mask).then(mask),
    }
}

/// Bytes of a line of `/proc/self/status`.
fn status_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Loads a model and draws two pictures. Growth after loading and at its peak, then the predictions of weights and activations.
fn measure(case: Case) -> [u64; 4] {
    let written = (case.model != "demo").then(|| support::checkpoint(case.model));
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-sdxl");
    let directory = written.as_ref().map_or(demo.as_path(), |written| written.path());
    let ops = Ops::cpu(case.precision, None).unwrap();
    let request = request(case);
    let estimate = ModelInfo::read(directory).unwrap().memory_estimate(&request, &ops);

    let before = status_bytes("VmRSS");
    let interrupt = Interrupt::default();
    let packed = tempfile::tempdir().unwrap();
    let model = if case.shared {
        let cache = PackedCache::new(packed.path().to_owned());
        let (model, packed_use) = SdxlModel::load_shared(directory, &ops, Variant::Plain, &cache, &interrupt).unwrap();
        assert!(packed_use.shared && packed_use.packed_now, "{packed_use:?}");
        model
    } else {
        SdxlModel::load(directory, &ops, Variant::Plain, &interrupt).unwrap()
    };
    let weights = status_bytes("VmRSS").saturating_sub(before);
    for _ in 0..2 {
        let mut machines = [model.begin(&request, &interrupt).unwrap()];
        drive(&model, &mut machines, 2, &interrupt, |_, _| Proceed::Continue).unwrap();
        assert!(!machines[0].picture().unwrap().to_rgb().bytes.is_empty());
    }
    let peak = status_bytes("VmHWM").saturating_sub(before);
    [weights, peak, estimate.weights_bytes, estimate.activations_bytes]
}

/// Measures in a process of its own, which `the_prediction_is_near_the_peak` starts with the number of a case; alone it has nothing to do.
#[test]
fn measuring_process() {
    // The number of the case is the last argument, which the test harness takes for another filter.
    let number = std::env::args().next_back().and_then(|argument| argument.strip_prefix("case-")?.parse::<usize>().ok());
    if let Some(case) = number.and_then(|number| CASES.get(number)) {
        println!("{MARK} {}", measure(*case).map(|bytes| bytes.to_string()).join(" "));
    }
}

#[test]
fn the_prediction_is_near_the_peak() {
    for (number, case) in CASES.iter().enumerate() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["measuring_process", "--exact", "--nocapture", "--test-threads=1", &format!("case-{number}")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| Some(line.split_once(MARK)?.1)).unwrap_or_else(|| panic!("{output:?}"));
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [weights, peak, predicted_weights, predicted_activations] = numbers[..] else { panic!("{line}") };
        let predicted = predicted_weights + predicted_activations;
        println!(
            "{} {} {}{} from {:?}: peak {:.1} MB (weights {:.1}), predicted {:.1} MB (weights {:.1})",
            case.model,
            case.side,
            case.precision.name(),
            if case.shared { " mapped" } else { "" },
            case.from,
            peak as f64 / 1e6,
            weights as f64 / 1e6,
            predicted as f64 / 1e6,
            predicted_weights as f64 / 1e6
        );
        assert!(predicted * 100 >= peak * (100 - MOST_BELOW_PERCENT), "{case:?}: {predicted} predicted, {peak} needed");
        assert!(predicted <= peak * (100 + MOST_ABOVE_PERCENT) / 100 + ALLOWANCE_BYTES, "{case:?}: {predicted} for {peak}");
    }
}

#[test]
fn tiles_are_diffusers_tiles() {
    for case in support::cases("vae/tiled") {
        let config: VaeConfig = case.config();
        let latent = case.input("input.latents").latent(0);
        let expected = case.outputs["image"].latent(0);
        for (device, ops) in support::devices() {
            let vae = Vae::load(&ops, &Scope::root(&RandomWeights::default()), &config).unwrap();
            let tiled = vae.decode_tiled(&ops, &latent, &Interrupt::default()).unwrap();
            assert_eq!((tiled.height, tiled.width, tiled.channels), (expected.height, expected.width, expected.channels));
            support::assert_close(&format!("tiled {} on {device}", case.name), &tiled.values, &expected.values, 1e-4);
            let whole = vae.decode(&ops, &latent, &Interrupt::default()).unwrap();
            assert!(support::distance(&whole.values, &tiled.values).0 > 1e-3, "tiles see only themselves");
        }
    }
}

#[test]
fn a_picture_is_tiled_only_where_memory_is_short_and_says_so() {
    let directory = support::checkpoint("three_level");
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    let model = SdxlModel::load(directory.path(), &ops, Variant::Plain, &Interrupt::default()).unwrap();
    let config: VaeConfig = serde_json::from_value(support::json(directory.path().join("vae/config.json"))).unwrap();
    let side = 2 * config.sample_size / config.factor();
    let latent = Latent::zeros(1, side, side, config.latent_channels);
    let whole_bytes = decode_bytes(&config, (side, side), DeviceFacts::of(&ops), DecodePlan::Whole);
    let decode = |available| model.decode_within(&latent, available, &Interrupt::default()).unwrap();

    let tiled = decode(0);
    assert!(tiled.tiled);
    let whole = decode(whole_bytes);
    assert!(!whole.tiled);
    assert_eq!(whole.picture, model.decode(&latent, &Interrupt::default()).unwrap());
    assert_eq!((tiled.picture.height, tiled.picture.width), (whole.picture.height, whole.picture.width));
    // A small picture is one tile however little there is.
    assert!(!model.decode_within(&Latent::zeros(1, 4, 4, 4), 0, &Interrupt::default()).unwrap().tiled);
}

#[test]
fn loading_stops_when_asked() {
    let directory = support::checkpoint("two_level");
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    let interrupt = Interrupt::default();
    SdxlModel::load(directory.path(), &ops, Variant::Plain, &interrupt).unwrap();
    assert!(interrupt.ticks() > 100, "{} looks while loading", interrupt.ticks());
    interrupt.cancel();
    let before = interrupt.ticks();
    assert!(matches!(SdxlModel::load(directory.path(), &ops, Variant::Plain, &interrupt), Err(Error::Cancelled)));
    assert_eq!(interrupt.ticks(), before + 1);
}
