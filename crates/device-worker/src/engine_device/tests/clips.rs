use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;
use framewright_engine::weights::RandomWeights;
use framewright_engine::weights::packed::PackedCache;
use tempfile::TempDir;

use super::{alone, demo, device, device_with, files, finish, pixels};
use crate::device::BatchDevice;
use crate::engine_device::EngineDevice;
use crate::models::shelf::Shelf;
use crate::task::{
    ClipRequest, Failure, FailureClass, ImageRequest, ModelFiles, Picture, PreviewSwitch, Report, Request, Task, TaskNumber,
    TaskOrder,
};

const STEPS: u32 = 6;
const FRAMES: u32 = 5;
/// Frames that are decoded together: two, two and one.
const CHUNK: u32 = 2;
/// Calls that a clip takes: its evaluations and its chunks.
const CALLS: u32 = STEPS + FRAMES.div_ceil(CHUNK);

/// A small model of the architecture: the engine's committed configuration, weights by formula.
fn model() -> PathBuf {
    static MODEL: LazyLock<TempDir> = LazyLock::new(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/svd_checkpoints/two_level");
        let target = tempfile::tempdir().unwrap();
        for file in ["model_index.json", "scheduler/scheduler_config.json", "feature_extractor/preprocessor_config.json"] {
            copy(&source.join(file), &target.path().join(file));
        }
        for (component, stem) in
            [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("image_encoder", "model")]
        {
            let (source, target) = (source.join(component), target.path().join(component));
            copy(&source.join("config.json"), &target.join("config.json"));
            let weights = RandomWeights::salted(format!("svd_two_level/{component}/"));
            write_weights(&source.join("tensors.tsv"), &target.join(format!("{stem}.safetensors")), &weights);
        }
        target
    });
    MODEL.path().to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// A safetensors file of the tensors that a manifest names: the length of a JSON header, the header, the values.
fn write_weights(manifest: &Path, path: &Path, weights: &RandomWeights) {
    let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
    for line in fs::read_to_string(manifest).unwrap().lines() {
        let (name, shape) = line.split_once('\t').unwrap();
        let shape: Vec<usize> = shape.split('x').map(|side| side.parse().unwrap()).collect();
        let from = values.len();
        values.extend(weights.values(name, &shape).into_iter().flat_map(f32::to_le_bytes));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [from, values.len()]});
        header.insert(name.to_owned(), entry);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &values].concat();
    fs::write(path, bytes).unwrap();
}

fn request(seed: u64) -> ClipRequest {
    ClipRequest {
        width: 32,
        height: 16,
        num_frames: FRAMES,
        num_inference_steps: STEPS,
        min_guidance_scale: 1.0,
        max_guidance_scale: 3.0,
        fps: 7,
        motion_bucket_id: 127,
        noise_aug_strength: 0.02,
        decode_chunk_size: CHUNK,
        seed,
    }
}

fn clip_of(request: ClipRequest, work_directory: PathBuf) -> Task {
    let picture = RgbPicture { height: 20, width: 20, bytes: (0..20 * 20 * 3).map(|byte| byte as u8).collect() };
    Task {
        order: TaskOrder {
            request: request.into(),
            model: ModelFiles { name: "svd".to_owned(), directory: model(), fingerprint: 1 },
            unload: Vec::new(),
            init_image: Some(Picture::Pixels(Arc::new(picture))),
            mask: None,
            work_directory,
        },
        interrupt: Interrupt::default(),
        previews: PreviewSwitch::default(),
    }
}

fn clip(seed: u64, work_directory: PathBuf) -> Task {
    clip_of(request(seed), work_directory)
}

fn a_picture(work_directory: PathBuf) -> Task {
    let mut task = clip(1, work_directory);
    task.order.model = files(demo(), 1);
    task.order.init_image = None;
    task.order.request = ImageRequest {
        prompt: "a red circle".to_owned(),
        negative_prompt: None,
        width: 64,
        height: 64,
        num_inference_steps: 2,
        guidance_scale: 5.0,
        seed: 1,
        sampler: None,
        num_images: 1,
        strength: 1.0,
    }
    .into();
    task
}

/// Begins a task and takes it so many calls on, with a checkpoint after each: writing one is thought to take next to no time.
fn begun(task: Task, calls: u32) -> EngineDevice {
    let mut device = device();
    device.begin(TaskNumber(1), task, &mut |_, _| {}).unwrap();
    for call in 1..=calls {
        for _ in 0..64 {
            device.workshop.write_cost.measured(1e-9);
        }
        assert_eq!(device.advance(&mut |_, _| {}).len(), usize::from(call == CALLS));
    }
    device
}

#[test]
fn a_clip_is_its_frames_in_files_and_says_how_far_it_is() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device();
    let mut task = clip(7, work.path().join("clip"));
    task.previews = PreviewSwitch::new(|| true);
    let mut reports = Vec::new();
    let mut report = |number: TaskNumber, report| {
        assert_eq!(number, TaskNumber(1));
        reports.push(match report {
            Report::ModelLoaded { .. } => ("loaded", 0, 0),
            Report::Evaluated { step, steps, tasks: 1, .. } => ("step", step, steps),
            Report::Preview { index: 0, step, steps, png } if png.starts_with(b"\x89PNG") => ("preview", step, steps),
            other => panic!("{other:?}"),
        });
    };
    device.begin(TaskNumber(1), task, &mut report).unwrap();
    let mut calls = 0;
    let output = loop {
        calls += 1;
        if let Some((_, output)) = device.advance(&mut report).pop() {
            break output.unwrap();
        }
    };
    assert_eq!(calls, CALLS);
    let expected = (1..=STEPS).flat_map(|step| [("step", step, STEPS), ("preview", step, STEPS)]);
    assert_eq!(reports, [("loaded", 0, 0)].into_iter().chain(expected).collect::<Vec<_>>());

    assert_eq!(output.pictures.len(), FRAMES as usize);
    for (index, picture) in output.pictures.iter().enumerate() {
        let Picture::File(file) = picture else { panic!("a frame in memory") };
        assert_eq!(file.path, work.path().join(format!("clip/picture-{index}.rgb")));
        assert_eq!((file.width, file.height), (32, 16));
    }
    let frames = pixels(&output);
    assert!((1..frames.len()).all(|index| frames[index] != frames[index - 1]));
    let facts = output.facts;
    assert_eq!((facts.sampler.as_str(), facts.noise.as_str(), facts.resumed_steps), ("euler_karras", "torch-cpu-mt19937", 0));
    assert_eq!(facts.warnings, ["init_image resized from 20x20 to 32x16"]);
    assert!(facts.timings.load_seconds > 0.0 && facts.timings.denoise_seconds > 0.0 && facts.timings.decode_seconds > 0.0);
    assert_eq!(device.loaded().len(), 1);
}

#[test]
fn a_clip_killed_at_any_step_or_chunk_goes_on_from_there_and_is_the_same() {
    let work = tempfile::tempdir().unwrap();
    let whole = pixels(&alone(clip(7, work.path().join("whole"))));
    for calls in 1..=CALLS {
        let place = work.path().join(format!("killed-{calls}"));
        drop(begun(clip(7, place.clone()), calls));
        let mut second = device();
        second.begin(TaskNumber(2), clip(7, place), &mut |_, _| {}).unwrap();
        let (mut calls_left, mut ended) = (0, Vec::new());
        while second.active() > 0 {
            calls_left += 1;
            ended.extend(second.advance(&mut |_, _| {}));
        }
        let output = ended.remove(0).1.unwrap();
        assert_eq!(pixels(&output), whole, "{calls}");
        assert_eq!(output.facts.resumed_steps, calls.min(STEPS));
        assert_eq!(calls_left, (CALLS - calls).max(1), "nothing is done again");
    }
}

#[test]
fn frames_that_are_lost_or_damaged_are_decoded_again() {
    let work = tempfile::tempdir().unwrap();
    let whole = pixels(&alone(clip(7, work.path().join("whole"))));
    let place = work.path().join("killed");
    drop(begun(clip(7, place.clone()), CALLS - 1));
    fs::write(place.join("picture-2.rgb"), vec![7; 32 * 16 * 3]).unwrap();
    let output = alone(clip(7, place.clone()));
    assert_eq!((output.facts.resumed_steps, pixels(&output)), (STEPS, whole.clone()));
    fs::write(place.join("clip.checkpoint"), b"FWCP").unwrap();
    let output = alone(clip(7, place.clone()));
    assert_eq!((output.facts.resumed_steps, pixels(&output)), (0, whole.clone()));
    // What was kept for another first picture is of no use.
    let mut other = clip(7, place);
    other.order.init_image = Some(Picture::Pixels(Arc::new(RgbPicture { height: 1, width: 1, bytes: vec![9; 3] })));
    let output = alone(other);
    assert_eq!(output.facts.resumed_steps, 0);
    assert_ne!(pixels(&output), whole);
}

#[test]
fn clips_and_pictures_take_turns_on_one_device_and_are_what_they_are_alone() {
    let work = tempfile::tempdir().unwrap();
    let place = |name: &str| work.path().join(name);
    let mut device = device();
    device.begin(TaskNumber(1), clip(1, place("1")), &mut |_, _| {}).unwrap();
    device.begin(TaskNumber(2), a_picture(place("2")), &mut |_, _| {}).unwrap();
    device.advance(&mut |_, _| {});
    device.begin(TaskNumber(3), clip(3, place("3")), &mut |_, _| {}).unwrap();
    assert_eq!(device.loaded().len(), 2);
    assert!(device.unload("svd").unwrap_err().to_string().contains("in use"));
    let mut steps = Vec::new();
    device.advance(&mut |number, report| {
        if let Report::Evaluated { step, .. } = report {
            steps.push((number.0, step));
        }
    });
    steps.sort_unstable();
    assert_eq!(steps, [(1, 2), (2, 2), (3, 1)], "everybody has come one further");
    let mut ended = BTreeMap::new();
    finish(&mut device, &mut ended);
    for (number, task) in [(1, clip(1, place("1-alone"))), (3, clip(3, place("3-alone")))] {
        assert_eq!(pixels(ended[&TaskNumber(number)].as_ref().unwrap()), pixels(&alone(task)), "{number}");
    }
    device.unload("svd").unwrap();
    assert_eq!(device.loaded()[0].name, "demo-sdxl");
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device_with(|| Some(1_000_000), 16);
    let refused = device.begin(TaskNumber(1), clip(1, work.path().into()), &mut |_, _| {}).unwrap_err();
    let Failure::Failed { class: FailureClass::OutOfMemory, message } = refused else { panic!("{refused}") };
    assert!(message.starts_with("32x16 with 5 frames needs about 0.") && message.contains("0.00 GB are free"), "{message}");
    assert!(message.contains("ask for a smaller or shorter clip"), "{message}");
    let files = clip(1, work.path().into()).order.model;
    let refused = device_with(|| Some(1000), 16).load(&files).unwrap_err().to_string();
    assert!(refused.starts_with("model 'svd' needs about 0."), "{refused}");
    // An idle model of another family makes room.
    let free = Rc::new(Cell::new(u64::MAX));
    let seen = Rc::clone(&free);
    let mut device = device_with(move || Some(seen.get()), 16);
    device.load(&super::files(demo(), 1)).unwrap();
    free.set(0);
    assert!(device.begin(TaskNumber(1), clip(1, work.path().into()), &mut |_, _| {}).unwrap_err().is_out_of_memory());
    assert_eq!(device.loaded(), []);
}

#[test]
fn where_memory_has_no_room_for_a_chunk_frames_are_decoded_one_by_one_and_the_result_says_so() {
    let work = tempfile::tempdir().unwrap();
    let place = |name: &str| work.path().join(name);
    let info = framewright_engine::pipelines::svd::VideoModelInfo::read(&model()).unwrap();
    let large =
        |decode_chunk_size| ClipRequest { width: 64, height: 64, num_inference_steps: 1, decode_chunk_size, ..request(7) };
    let bytes_of = |chunk| {
        let Request::Clip(request) = clip_of(large(chunk), place("none")).order.request else { panic!("no clip") };
        let request = crate::svd::engine_request(&request, Arc::new(RgbPicture { height: 1, width: 1, bytes: vec![0; 3] }));
        info.memory_estimate(&request, &device().workshop.ops).least_activations_bytes
    };
    assert!(bytes_of(1) < bytes_of(FRAMES), "else this test shows nothing");
    let free = Rc::new(Cell::new(u64::MAX));
    let seen = Rc::clone(&free);
    let mut device = device_with(move || Some(seen.get()), 16);
    device.begin(TaskNumber(1), clip_of(large(FRAMES), place("short")), &mut |_, _| {}).unwrap();
    free.set(0);
    let mut ended = BTreeMap::new();
    finish(&mut device, &mut ended);
    let short = ended.remove(&TaskNumber(1)).unwrap().unwrap();
    let warning = "fewer than decode_chunk_size 5 frames were decoded together: too little memory was free";
    assert!(short.facts.warnings.iter().any(|found| found == warning), "{:?}", short.facts.warnings);
    assert_eq!(pixels(&short), pixels(&alone(clip_of(large(1), place("one by one")))));
    assert_ne!(pixels(&short), pixels(&alone(clip_of(large(FRAMES), place("together")))), "they see each other");
    // Whoever goes on from it is told too.
    let again = alone(clip_of(large(FRAMES), place("short")));
    assert_eq!((again.facts.resumed_steps, pixels(&again)), (1, pixels(&short)));
    assert!(again.facts.warnings.iter().any(|found| found == warning));
}

#[test]
fn what_a_model_cannot_do_is_refused_by_name() {
    let work = tempfile::tempdir().unwrap();
    let refusal = |task: Task| match device().begin(TaskNumber(1), task, &mut |_, _| {}).unwrap_err() {
        Failure::Failed { class: FailureClass::InvalidRequest, message } => message,
        other => panic!("{other:?}"),
    };
    let mut task = clip(1, work.path().into());
    task.order.model = files(demo(), 1);
    assert_eq!(refusal(task), "model: 'demo-sdxl' makes pictures and no clips; name a video model");
    let mut task = a_picture(work.path().into());
    task.order.model = clip(1, work.path().into()).order.model;
    assert_eq!(refusal(task), "model: 'svd' makes clips and no pictures; name an image model");
    let mut task = clip(1, work.path().into());
    task.order.init_image = None;
    assert!(refusal(task).starts_with("init_image: "));
    let task = clip_of(ClipRequest { num_frames: 100_000, ..request(1) }, work.path().into());
    assert!(refusal(task).starts_with("num_frames: "));
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_clip_ends_as_cancelled_whatever_it_is_in() {
    let work = tempfile::tempdir().unwrap();
    let task = clip(1, work.path().join("begin"));
    task.interrupt.cancel();
    assert_eq!(device().begin(TaskNumber(1), task, &mut |_, _| {}), Err(Failure::Cancelled));
    for calls in [1, STEPS, STEPS + 1] {
        let task = clip(1, work.path().join(calls.to_string()));
        let interrupt = task.interrupt.clone();
        let mut device = begun(task, calls);
        interrupt.cancel();
        assert_eq!(device.advance(&mut |_, _| {}), [(TaskNumber(1), Err(Failure::Cancelled))]);
        assert_eq!(device.active(), 0);
    }
}

#[test]
fn an_interrupt_is_heard_in_the_middle_of_an_evaluation() {
    let work = tempfile::tempdir().unwrap();
    let task = clip(1, work.path().into());
    // How much is free is asked for just before the network begins.
    let (interrupt, armed) = (task.interrupt.clone(), Rc::new(Cell::new(false)));
    let cancels = Rc::clone(&armed);
    let free_bytes = move || {
        if cancels.get() {
            interrupt.cancel();
        }
        None
    };
    let mut device = device_with(free_bytes, 16);
    device.begin(TaskNumber(1), task, &mut |_, _| {}).unwrap();
    assert!(device.advance(&mut |_, _| {}).is_empty());
    armed.set(true);
    let ended = device.advance(&mut |_, report| panic!("{report:?}"));
    assert_eq!(ended, [(TaskNumber(1), Err(Failure::Cancelled))]);
}

#[test]
fn devices_that_share_packed_weights_give_the_same_clip() {
    let work = tempfile::tempdir().unwrap();
    let own = pixels(&alone(clip(7, work.path().join("own"))));
    let packed = work.path().join("packed");
    for place in ["first", "second"] {
        let mut device = device();
        device.workshop.shelf = Shelf::new(Some(PackedCache::new(packed.clone())));
        device.begin(TaskNumber(1), clip(7, work.path().join(place)), &mut |_, _| {}).unwrap();
        let mut ended = BTreeMap::new();
        finish(&mut device, &mut ended);
        assert_eq!(pixels(ended[&TaskNumber(1)].as_ref().unwrap()), own, "{place}");
    }
    assert!(fs::read_dir(&packed).unwrap().count() > 0);
}
