//! Whole clips against diffusers', and the promises that hold bit for bit.

#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[expect(dead_code, reason = "components are not looked at one by one here")]
mod support;
#[path = "support/svd.rs"]
mod svd;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use framewright_engine::latent::Latent;
use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::svd::{Generation, SvdModel, VideoModelInfo, VideoRequest};
use framewright_engine::pipelines::{Ended, Outputs, Proceed, StepMachine, Want, drive};
use framewright_engine::vision::{Picture, RgbPicture};
use framewright_engine::weights::{PackedCache, Variant};
use serde_json::Value;

/// Peak signal-to-noise ratio that the issue asks of every case.
const LEAST_PSNR_DB: f64 = 50.0;
/// Of the latents, relative.
const LATENT_TOLERANCE: f64 = 1e-3;
const CHECKPOINTS: [&str; 2] = ["three_level", "two_level"];

/// Each checkpoint is written and loaded once.
fn model(name: &str) -> Arc<SvdModel> {
    static LOADED: LazyLock<Mutex<BTreeMap<String, Arc<SvdModel>>>> = LazyLock::new(Mutex::default);
    let mut loaded = LOADED.lock().unwrap();
    let load = || {
        let ops = Ops::cpu(Precision::F32, None).unwrap();
        Arc::new(SvdModel::load(svd::checkpoint(name).path(), &ops, Variant::Plain, &Interrupt::default()).unwrap())
    };
    Arc::clone(loaded.entry(name.to_owned()).or_insert_with(load))
}

fn read_png(path: &Path) -> RgbPicture {
    let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((frame.color_type, frame.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    bytes.truncate(frame.buffer_size());
    RgbPicture { height: frame.height as usize, width: frame.width as usize, bytes }
}

fn case(name: &str) -> Value {
    support::json(format!("svd_pipeline/{name}.json"))
}

fn model_of(case: &Value) -> Arc<SvdModel> {
    model(case["checkpoint"].as_str().unwrap())
}

fn request(case: &Value) -> VideoRequest {
    let count = |key: &str| case[key].as_u64().unwrap() as usize;
    let float = |key: &str| case[key].as_f64().unwrap() as f32;
    VideoRequest {
        init_image: Arc::new(read_png(&support::fixtures().join("svd_pipeline").join(case["init"].as_str().unwrap()))),
        width: count("width"),
        height: count("height"),
        num_frames: count("frames"),
        num_inference_steps: count("steps"),
        min_guidance_scale: float("min_guidance"),
        max_guidance_scale: float("max_guidance"),
        fps: count("fps"),
        motion_bucket_id: count("motion_bucket"),
        noise_aug_strength: float("noise_aug"),
        decode_chunk_size: count("chunk"),
        seed: case["seed"].as_str().unwrap().parse().unwrap(),
    }
}

fn begin(model: &SvdModel, request: &VideoRequest) -> Generation {
    model.begin(request, &Interrupt::default()).unwrap()
}

/// Answers one want; false when there is none.
fn advance(model: &SvdModel, machine: &mut Generation) -> bool {
    let interrupt = Interrupt::default();
    let outputs = match machine.want() {
        Want::Evaluate { rows } => Outputs::Evaluated(model.evaluate(&rows, &interrupt).unwrap()),
        Want::Decode { latent } => Outputs::Decoded(model.decode(&latent, &interrupt).unwrap()),
        Want::Done => return false,
    };
    machine.give(outputs).unwrap();
    true
}

/// The latents after every evaluation, and the frames.
fn run(model: &SvdModel, request: &VideoRequest) -> (Vec<Latent>, Vec<Picture>) {
    let mut machine = begin(model, request);
    let (mut latents, mut frames) = (Vec::new(), Vec::new());
    while advance(model, &mut machine) {
        if latents.len() < machine.progress().0 {
            latents.push(machine.latents().clone());
        }
        frames.extend(machine.take_frames());
    }
    assert_eq!(frames.len(), request.num_frames);
    (latents, frames)
}

fn bytes(frames: &[Picture]) -> Vec<f32> {
    frames.iter().flat_map(|frame| frame.to_rgb().bytes).map(f32::from).collect()
}

#[test]
fn every_golden_clip_is_diffusers() {
    let mut failures = Vec::new();
    for name in support::names("svd_pipeline") {
        let case = case(&name);
        let arrays = support::arrays(format!("svd_pipeline/{name}.safetensors"));
        let (model, request) = (model_of(&case), request(&case));
        let (latents, frames) = run(&model, &request);
        assert_eq!(latents.len(), request.num_inference_steps, "{name}");
        let distance = |latent: &Latent, array: &str| {
            let (most, squares) = support::distance(&latent.to_channels_first(), &arrays[array].values);
            most.max(squares)
        };
        let (first, last) = (distance(&latents[0], "first_latents"), distance(&latents[latents.len() - 1], "latents"));
        let (ours, theirs) = (bytes(&frames), &arrays["frames"].values);
        let differences: Vec<f64> =
            ours.iter().zip(theirs).map(|(left, right)| (f64::from(*left) - f64::from(*right)).abs()).collect();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let most = differences.iter().copied().fold(0.0, f64::max);
        let squares: f64 = differences.iter().map(|difference| difference * difference).sum();
        let psnr = 10.0 * (255.0 * 255.0 * ours.len() as f64 / squares.max(f64::MIN_POSITIVE)).log10();
        if let Some(decoded) = arrays.get("decoded") {
            let values: Vec<f32> = frames.iter().flat_map(channels_first).collect();
            support::assert_close(&format!("{name}: decoded"), &values, &decoded.values, LATENT_TOLERANCE);
        }
        let report = format!("{name}: {psnr:.1} dB, pixels off by {most} at most, latents {first:.1e} then {last:.1e}");
        println!("{report}");
        if psnr < LEAST_PSNR_DB || most > 1.0 || first > LATENT_TOLERANCE || last > LATENT_TOLERANCE {
            failures.push(report);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn channels_first(picture: &Picture) -> Vec<f32> {
    let positions = picture.height * picture.width;
    (0..picture.channels)
        .flat_map(|channel| (0..positions).map(move |position| picture.values[position * picture.channels + channel]))
        .collect()
}

#[test]
fn clips_batched_equal_the_same_clips_alone() {
    let golden = request(&case("guided"));
    let model = model("two_level");
    let requests = [
        golden.clone(),
        VideoRequest { seed: 5, min_guidance_scale: 2.0, ..golden.clone() },
        VideoRequest { width: 32, max_guidance_scale: 1.0, ..golden.clone() },
        VideoRequest { num_frames: 4, decode_chunk_size: 3, ..golden.clone() },
    ];
    let alone: Vec<_> = requests.iter().map(|request| run(&model, request).1).collect();
    for most_rows in [1, 3, 16] {
        let mut together: Vec<_> = requests.iter().map(|request| begin(&model, request)).collect();
        let mut frames: Vec<Vec<Picture>> = vec![Vec::new(); requests.len()];
        let ended = drive(&*model, &mut together, most_rows, &Interrupt::default(), |index, machine: &mut Generation| {
            frames[index].extend(machine.take_frames());
            Proceed::Continue
        })
        .unwrap();
        assert!(ended.iter().all(|ended| matches!(ended, Ended::Finished)));
        assert_eq!(frames, alone, "{most_rows} rows");
    }
}

#[test]
fn a_resumed_clip_equals_one_never_stopped() {
    for name in ["unguided_chunks", "odd_latents"] {
        let case = case(name);
        let (model, request) = (model_of(&case), request(&case));
        let whole = run(&model, &request).1;
        let mut machine = begin(&model, &request);
        let mut checkpoints = vec![machine.checkpoint()];
        while advance(&model, &mut machine) {
            // Once with the frames still in the machine, once without them.
            checkpoints.push(machine.checkpoint());
            if !machine.take_frames().is_empty() {
                checkpoints.push(machine.checkpoint());
            }
        }
        for (index, checkpoint) in checkpoints.iter().enumerate() {
            let mut resumed = begin(&model, &request);
            resumed.resume(checkpoint).unwrap();
            assert_eq!(resumed.progress().0, index.min(request.num_inference_steps), "{name}");
            let from = resumed.frames_handed_out();
            assert_eq!(resumed.frames_decoded(), from);
            while advance(&model, &mut resumed) {}
            assert_eq!(resumed.take_frames(), whole[from..], "{name} from {index}");
        }
        let mut last = begin(&model, &request);
        last.resume(&checkpoints[checkpoints.len() - 1]).unwrap();
        assert_eq!((last.frames_handed_out(), advance(&model, &mut last)), (request.num_frames, false), "{name}");
        last.decode_again();
        while advance(&model, &mut last) {}
        assert_eq!(last.take_frames(), whole, "{name} decoded again");
    }
}

#[test]
fn checkpoints_of_another_request_and_broken_ones_are_refused() {
    let request = request(&case("guided"));
    let model = model("two_level");
    let mut machine = begin(&model, &request);
    advance(&model, &mut machine);
    let checkpoint = machine.checkpoint();
    let before = machine.latents().clone();
    let others = [
        VideoRequest { seed: 43, ..request.clone() },
        VideoRequest { num_inference_steps: 7, ..request.clone() },
        VideoRequest { motion_bucket_id: 3, ..request.clone() },
        VideoRequest { decode_chunk_size: 2, ..request.clone() },
    ];
    for other in others {
        assert!(begin(&model, &other).resume(&checkpoint).unwrap_err().to_string().contains("another request"));
    }
    for length in (0..checkpoint.len()).step_by(997) {
        assert!(machine.resume(&checkpoint[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(*machine.latents(), before);
    // The number of frames handed out is the last number.
    let mut lying = checkpoint.clone();
    let last = lying.len() - 8;
    lying[last..].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(machine.resume(&lying).is_err());
    // Frames cannot be there before there are latents to decode.
    lying[last..].copy_from_slice(&5_u64.to_le_bytes());
    machine.resume(&lying).unwrap();
    assert_eq!(machine.frames_handed_out(), 0);
}

#[test]
fn a_machine_refuses_what_it_did_not_ask_for() {
    let request = request(&case("unguided_chunks"));
    let model = model("two_level");
    let mut machine = begin(&model, &request);
    assert!(machine.give(Outputs::Decoded(Vec::new())).is_err());
    assert!(machine.give(Outputs::Evaluated(vec![machine.latents().clone(); 2])).is_err());
    assert!(machine.give(Outputs::Evaluated(vec![Latent::zeros(1, 1, 1, 1)])).is_err());
    while machine.progress().0 < machine.progress().1 {
        advance(&model, &mut machine);
    }
    let Want::Decode { latent } = machine.want() else { panic!("nothing to decode") };
    assert_eq!(latent.frames, 2);
    assert!(machine.give(Outputs::Decoded(Vec::new())).is_err());
    let mut frames = model.decode(&latent, &Interrupt::default()).unwrap();
    frames.pop();
    assert!(machine.give(Outputs::Decoded(frames)).is_err());
    assert_eq!(machine.frames_decoded(), 0);
}

#[test]
fn frames_that_are_decoded_together_see_each_other() {
    let request = request(&case("guided"));
    let model = model("two_level");
    let whole = run(&model, &request).1;
    let in_chunks = run(&model, &VideoRequest { decode_chunk_size: 2, ..request }).1;
    assert_ne!(whole[1], in_chunks[1]);
}

#[test]
fn a_cancelled_clip_can_be_taken_up_again() {
    let request = request(&case("unguided_chunks"));
    let model = model("two_level");
    let whole = run(&model, &request).1;
    let mut frames = Vec::new();
    let mut machines = [begin(&model, &request)];
    let interrupt = Interrupt::default();
    let cancelled = drive(&*model, &mut machines, 4, &interrupt, |_, machine: &mut Generation| {
        frames.extend(machine.take_frames());
        if frames.len() == 2 {
            interrupt.cancel();
        }
        Proceed::Continue
    });
    assert!(cancelled.is_err());
    assert_eq!(frames.len(), 2);
    drive(&*model, &mut machines, 4, &Interrupt::default(), |_, machine: &mut Generation| {
        frames.extend(machine.take_frames());
        Proceed::Continue
    })
    .unwrap();
    assert_eq!(frames, whole);
}

#[test]
fn previews_show_the_frame_in_the_middle() {
    let request = request(&case("guided"));
    let model = model("two_level");
    let mut machine = begin(&model, &request);
    assert!(machine.predicted().is_none());
    advance(&model, &mut machine);
    let predicted = machine.predicted().unwrap();
    let preview = model.preview(predicted);
    assert_eq!((preview.height, preview.width), (predicted.height, predicted.width));
    assert!(preview.is_whole());
    assert_eq!(preview, model.preview(&predicted.frame_range(2..3)));
    assert_ne!(preview, model.preview(&predicted.frame_range(0..1)));
}

#[test]
fn shared_weights_make_the_same_clip() {
    let request = VideoRequest { num_inference_steps: 2, ..request(&case("odd_latents")) };
    let whole = run(&model("three_level"), &request).1;
    let (directory, cache) = (svd::checkpoint("three_level"), tempfile::tempdir().unwrap());
    let cache = PackedCache::new(cache.path().to_owned());
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    for packed_now in [true, false] {
        let (shared, used) =
            SvdModel::load_shared(directory.path(), &ops, Variant::Plain, &cache, &Interrupt::default()).unwrap();
        assert!(used.shared && used.packed_now == packed_now, "{used:?}");
        assert_eq!(run(&shared, &request).1, whole);
    }
}

#[test]
fn bad_requests_name_their_field() {
    let good = request(&case("guided"));
    let model = model("two_level");
    let info = model.info();
    info.check(&good).unwrap();
    let picture = |height, width| Arc::new(RgbPicture { height, width, bytes: Vec::new() });
    for (field, bad) in [
        ("init_image", VideoRequest { init_image: picture(1 << 40, 1 << 40), ..good.clone() }),
        ("init_image", VideoRequest { init_image: picture(0, 0), ..good.clone() }),
        ("width", VideoRequest { width: 0, ..good.clone() }),
        ("width", VideoRequest { width: 33, ..good.clone() }),
        ("height", VideoRequest { height: usize::MAX, ..good.clone() }),
        ("height", VideoRequest { height: 1 << 20, ..good.clone() }),
        ("num_frames", VideoRequest { num_frames: 0, ..good.clone() }),
        ("num_frames", VideoRequest { num_frames: usize::MAX, ..good.clone() }),
        ("num_inference_steps", VideoRequest { num_inference_steps: 0, ..good.clone() }),
        ("num_inference_steps", VideoRequest { num_inference_steps: 10_000, ..good.clone() }),
        ("min_guidance_scale", VideoRequest { min_guidance_scale: f32::NAN, ..good.clone() }),
        ("min_guidance_scale", VideoRequest { min_guidance_scale: 2.0, max_guidance_scale: 1.0, ..good.clone() }),
        ("max_guidance_scale", VideoRequest { max_guidance_scale: -1.0, ..good.clone() }),
        ("fps", VideoRequest { fps: 0, ..good.clone() }),
        ("fps", VideoRequest { fps: 100_000, ..good.clone() }),
        ("motion_bucket_id", VideoRequest { motion_bucket_id: 5000, ..good.clone() }),
        ("noise_aug_strength", VideoRequest { noise_aug_strength: f32::INFINITY, ..good.clone() }),
        ("decode_chunk_size", VideoRequest { decode_chunk_size: 0, ..good.clone() }),
    ] {
        let error = info.check(&bad).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{field}: {error}");
        assert!(model.begin(&bad, &Interrupt::default()).is_err());
    }
}

#[test]
fn what_is_known_without_weights() {
    for name in CHECKPOINTS {
        let directory = svd::checkpoint(name);
        let info = VideoModelInfo::read(directory.path()).unwrap();
        let (side, frames) = if name == "two_level" { (48, 5) } else { (96, 3) };
        assert_eq!((info.default_size, info.default_num_frames), ((side, side), frames));
        assert_eq!((info.default_steps, info.default_fps, info.default_motion_bucket_id), (25, 7, 127));
        let request = info.request(request(&case("guided")).init_image, 1);
        info.check(&request).unwrap();
        assert_eq!(request.decode_chunk_size, frames);
        let bytes_per_parameter = if name == "two_level" { 4 } else { 2 };
        assert!(info.parameters > 0 && info.weight_file_bytes >= bytes_per_parameter * info.parameters);

        let path = directory.path().join("framewright.json");
        fs::write(&path, r#"{"default_steps": 9, "default_fps": 8, "default_max_guidance_scale": 2.5}"#).unwrap();
        let own = VideoModelInfo::read(directory.path()).unwrap();
        assert_eq!((own.default_steps, own.default_fps, own.default_motion_bucket_id), (9, 8, 127));
        assert_eq!(own.default_max_guidance_scale.to_bits(), 2.5_f32.to_bits());
        for broken in [r#"{"default_fps": 0}"#, r#"{"default_min_guidance_scale": -1}"#, r#"{"steps": 3}"#, "{"] {
            fs::write(&path, broken).unwrap();
            assert!(VideoModelInfo::read(directory.path()).unwrap_err().to_string().contains("framewright.json"), "{broken}");
        }
    }
}

#[test]
fn networks_that_do_not_fit_together_are_refused() {
    let directory = svd::checkpoint("two_level");
    for (file, key, value, named) in [
        ("unet/config.json", "in_channels", 9, "in_channels 9"),
        ("unet/config.json", "cross_attention_dim", 25, "cross_attention_dim 25"),
        ("vae/config.json", "out_channels", 4, "out_channels 4"),
    ] {
        let path = directory.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config[key] = value.into();
        fs::write(&path, config.to_string()).unwrap();
        let error = VideoModelInfo::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        fs::write(&path, text).unwrap();
    }
}

#[test]
fn memory_follows_size_length_chunk_and_guidance() {
    let model = model("three_level");
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    let base = VideoRequest { width: 512, height: 512, num_frames: 16, decode_chunk_size: 1, ..request(&case("odd_latents")) };
    let of = |request: &VideoRequest| model.info().memory_estimate(request, &ops);
    let estimate = of(&base);
    assert!(estimate.least_activations_bytes < estimate.activations_bytes, "{estimate:?}");
    for more in [
        VideoRequest { width: 1024, ..base.clone() },
        VideoRequest { num_frames: 32, ..base.clone() },
        VideoRequest { decode_chunk_size: 16, ..base.clone() },
    ] {
        assert!(of(&more).activations_bytes > estimate.activations_bytes, "{more:?}");
    }
    let unguided = of(&VideoRequest { max_guidance_scale: 1.0, ..base.clone() });
    assert_eq!(unguided.activations_bytes, estimate.least_activations_bytes);
    assert_eq!(unguided.weights_bytes, estimate.weights_bytes);
}
