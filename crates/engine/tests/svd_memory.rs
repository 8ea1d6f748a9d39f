//! The prediction of a clip's memory against what a process really peaks at.
//!
//! Each measurement runs in a process of its own, which is this test binary again with another test chosen: the kernel's high-water
//! mark is of the whole process, and what other tests did would count.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[expect(dead_code, reason = "not everything is needed here")]
mod support;
#[path = "support/svd.rs"]
mod svd;

use std::process::Command;
use std::sync::Arc;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::svd::{Generation, SvdModel, VideoModelInfo, VideoRequest};
use framewright_engine::pipelines::{Proceed, drive};
use framewright_engine::vision::RgbPicture;
use framewright_engine::weights::Variant;

/// The prediction may be this much below the peak, …
const MOST_BELOW_PERCENT: u64 = 10;
/// … and this much above, …
const MOST_ABOVE_PERCENT: u64 = 35;
/// … and by what is allowed to the arena and to the host whatever the request: 64 MiB and 16 MiB.
const ALLOWANCE_BYTES: u64 = 80 << 20;
/// Begins the line in which a measuring process says what it saw.
const MARK: &str = "measured";

/// The cases, for the process of each: the evaluation rules, the decoder rules, everything is small.
const CASES: [Case; 5] = [
    Case { model: "two_level", side: 128, frames: 8, chunk: 1, guided: true, most_rows: 2, precision: Precision::F32 },
    Case { model: "two_level", side: 128, frames: 8, chunk: 1, guided: true, most_rows: 1, precision: Precision::F32 },
    Case { model: "three_level", side: 256, frames: 4, chunk: 4, guided: false, most_rows: 1, precision: Precision::F32 },
    Case { model: "three_level", side: 256, frames: 6, chunk: 2, guided: true, most_rows: 2, precision: Precision::Bf16 },
    Case { model: "two_level", side: 32, frames: 2, chunk: 2, guided: true, most_rows: 2, precision: Precision::F32 },
];

#[derive(Clone, Copy, Debug)]
struct Case {
    model: &'static str,
    side: usize,
    frames: usize,
    chunk: usize,
    guided: bool,
    most_rows: usize,
    precision: Precision,
}

fn request(case: Case) -> VideoRequest {
    let bytes = (0..64 * 48 * 3).map(|index| (index * 7 % 256) as u8).collect();
    VideoRequest {
        init_image: Arc::new(RgbPicture { height: 48, width: 64, bytes }),
        width: case.side,
        height: case.side,
        num_frames: case.frames,
        num_inference_steps: 1,
        min_guidance_scale: 1.0,
        max_guidance_scale: if case.guided { 3.0 } else { 1.0 },
        fps: 7,
        motion_bucket_id: 127,
        noise_aug_strength: 0.02,
        decode_chunk_size: case.chunk,
        seed: 1,
    }
}

/// Bytes of a line of `/proc/self/status`.
fn status_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Loads a model and makes two clips. Growth at its peak, then the prediction.
fn measure(case: Case) -> [u64; 2] {
    let directory = svd::checkpoint(case.model);
    let ops = Ops::cpu(case.precision, None).unwrap();
    let request = request(case);
    let estimate = VideoModelInfo::read(directory.path()).unwrap().memory_estimate(&request, &ops);
    let activations = if case.most_rows > 1 { estimate.activations_bytes } else { estimate.least_activations_bytes };

    let before = status_bytes("VmRSS");
    let interrupt = Interrupt::default();
    let model = SvdModel::load(directory.path(), &ops, Variant::Plain, &interrupt).unwrap();
    for _ in 0..2 {
        let mut machines = [model.begin(&request, &interrupt).unwrap()];
        let mut frames = 0;
        drive(&model, &mut machines, case.most_rows, &interrupt, |_, machine: &mut Generation| {
            frames += machine.take_frames().len();
            Proceed::Continue
        })
        .unwrap();
        assert_eq!(frames, case.frames);
    }
    [status_bytes("VmHWM").saturating_sub(before), estimate.weights_bytes + activations]
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
        let [peak, predicted] = numbers[..] else { panic!("{line}") };
        println!("{case:?}: peak {:.1} MB, predicted {:.1} MB", peak as f64 / 1e6, predicted as f64 / 1e6);
        assert!(predicted * 100 >= peak * (100 - MOST_BELOW_PERCENT), "{case:?}: {predicted} predicted, {peak} needed");
        assert!(predicted <= peak * (100 + MOST_ABOVE_PERCENT) / 100 + ALLOWANCE_BYTES, "{case:?}: {predicted} for {peak}");
    }
}
