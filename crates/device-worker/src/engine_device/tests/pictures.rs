use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use framewright_engine::ops::Interrupt;
use framewright_engine::weights::packed::PackedCache;

use super::{alone, demo, device, device_with, files, finish, pixels};
use crate::device::BatchDevice;
use crate::engine_device::EngineDevice;
use crate::models::shelf::Shelf;
use crate::task::{
    Failure, FailureClass, ImageRequest, ModelFiles, Picture, PreviewSwitch, Report, Request, Task, TaskNumber, TaskOrder,
};

fn task(prompt: &str, steps: u32, guidance_scale: f32, seed: u64, work: &Path) -> Task {
    Task {
        order: TaskOrder {
            request: ImageRequest {
                prompt: prompt.to_owned(),
                negative_prompt: None,
                width: 64,
                height: 64,
                num_inference_steps: steps,
                guidance_scale,
                seed,
                sampler: Some("euler_ancestral".to_owned()),
                num_images: 1,
                strength: 1.0,
            }
            .into(),
            model: files(demo(), 1),
            unload: Vec::new(),
            init_image: None,
            mask: None,
            work_directory: work.join(format!("{prompt}-{seed}")),
        },
        interrupt: Interrupt::default(),
        previews: PreviewSwitch::default(),
    }
}

fn change(task: &mut Task, change: impl FnOnce(&mut ImageRequest)) {
    let Request::Pictures(request) = &mut task.order.request else { panic!("no pictures") };
    change(request);
}

#[test]
fn who_joins_and_leaves_a_batch_gets_the_picture_that_he_gets_alone() {
    let work = tempfile::tempdir().unwrap();
    let place = |name: &str| work.path().join(name);
    let mut tasks =
        [("a red circle", 6, 5.0, 1), ("a blue square", 3, 1.0, 2), ("a green triangle", 4, 7.5, 3), ("two circles", 3, 3.0, 4)]
            .map(|(prompt, steps, guidance, seed)| task(prompt, steps, guidance, seed, &place("together")));
    change(&mut tasks[3], |request| request.num_images = 3);

    // Few rows a call, so that calls are split in the middle of a picture's two rows.
    for max_batch_rows in [3, 16] {
        let mut device = device_with(|| None, max_batch_rows);
        let mut ended = BTreeMap::new();
        for (number, task) in tasks.iter().enumerate() {
            let mut task = task.clone();
            task.order.work_directory = place(&format!("together-{max_batch_rows}-{number}"));
            device.begin(TaskNumber(number as u64), task, &mut |_, _| {}).unwrap();
            ended.extend(device.advance(&mut |_, _| {}));
        }
        finish(&mut device, &mut ended);
        for (number, task) in tasks.iter().enumerate() {
            let mut task = task.clone();
            task.order.work_directory = place(&format!("alone-{max_batch_rows}-{number}"));
            let together = ended.remove(&TaskNumber(number as u64)).unwrap().unwrap();
            assert!(together.facts.batched_with > 1, "{number}");
            assert_eq!(pixels(&together), pixels(&alone(task)), "{number}");
        }
    }
}

#[test]
fn a_task_killed_at_step_30_of_40_repeats_at_most_3_and_gives_the_same_picture() {
    let work = tempfile::tempdir().unwrap();
    let request = |place: &str| task("a red circle", 40, 5.0, 7, &work.path().join(place));
    let mut first = device();
    // Writing is fast beside an evaluation, as it is for every model that is larger than the demo.
    for _ in 0..64 {
        first.workshop.write_cost.measured(1e-6);
    }
    first.begin(TaskNumber(1), request("killed"), &mut |_, _| {}).unwrap();
    for _ in 0..30 {
        assert!(first.advance(&mut |_, _| {}).is_empty());
    }
    drop(first);
    let resumed = alone(request("killed"));
    assert!((27..=30).contains(&resumed.facts.resumed_steps), "{}", resumed.facts.resumed_steps);
    let whole = alone(request("whole"));
    assert_eq!(whole.facts.resumed_steps, 0);
    assert_eq!(pixels(&resumed), pixels(&whole));
    // What is finished is not made again.
    let again = alone(request("whole"));
    assert_eq!((again.facts.resumed_steps, pixels(&again)), (40, pixels(&whole)));
    assert!(again.facts.timings.denoise_seconds.abs() < f64::EPSILON);
}

#[test]
fn a_damaged_or_foreign_checkpoint_is_ignored() {
    let work = tempfile::tempdir().unwrap();
    let request = task("a red circle", 3, 1.0, 7, work.path());
    let path = request.order.work_directory.join("picture-0.checkpoint");
    let clean = alone(request.clone());
    let finished = std::fs::read(&path).unwrap();
    for bytes in [&b"FWCP"[..], &finished[..finished.len() / 2], &[0xff; 300]] {
        std::fs::write(&path, bytes).unwrap();
        let output = alone(request.clone());
        assert_eq!((output.facts.resumed_steps, pixels(&output)), (0, pixels(&clean)));
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers_and_waits_beside_others() {
    let work = tempfile::tempdir().unwrap();
    let one = |seed| task("a red circle", 2, 1.0, seed, work.path());
    let refused = device_with(|| Some(10_000_000), 16).begin(TaskNumber(1), one(1), &mut |_, _| {}).unwrap_err();
    let Failure::Failed { class: FailureClass::OutOfMemory, message } = refused else { panic!("{refused}") };
    assert!(message.starts_with("64x64 needs about 0.") && message.contains("0.01 GB are free"), "{message}");

    // Room for one at a time: the second waits, and is made.
    let free = Rc::new(std::cell::Cell::new(u64::MAX));
    let seen = Rc::clone(&free);
    let mut device = device_with(move || Some(seen.get()), 16);
    device.begin(TaskNumber(1), one(1), &mut |_, _| {}).unwrap();
    free.set(0);
    device.begin(TaskNumber(2), one(2), &mut |_, _| {}).unwrap();
    assert_eq!(device.active(), 2);
    let mut ended = BTreeMap::new();
    while ended.is_empty() {
        ended.extend(device.advance(&mut |_, _| {}));
    }
    free.set(u64::MAX);
    finish(&mut device, &mut ended);
    assert!(ended.values().all(Result::is_ok));
    assert_eq!(ended[&TaskNumber(1)].as_ref().unwrap().facts.batched_with, 1);
}

#[test]
fn little_memory_makes_small_calls_and_not_failures() {
    let work = tempfile::tempdir().unwrap();
    let info = framewright_engine::pipelines::sdxl::ModelInfo::read(&demo()).unwrap();
    let bytes_of = |rows| info.evaluation_bytes(64, 64, rows, &device().workshop.ops);
    let (four, five) = (bytes_of(4), bytes_of(5));
    assert!(four < five);
    let fitting =
        |free: Option<u64>, most: usize, wanted| device_with(move || free, most).workshop.rows_that_fit(wanted, bytes_of);
    assert_eq!(fitting(Some(four), 16, 8), 4);
    assert_eq!(fitting(Some(four), 16, 3), 3);
    assert_eq!(fitting(Some(0), 16, 8), 1);
    assert_eq!(fitting(None, 6, 8), 6);
    let mut device = device_with(|| None, 6);
    device.begin(TaskNumber(1), task("x", 1, 1.0, 1, work.path()), &mut |_, _| {}).unwrap();
    let interrupted = task("y", 1, 1.0, 2, work.path());
    interrupted.interrupt.cancel();
    assert_eq!(device.begin(TaskNumber(2), interrupted, &mut |_, _| {}), Err(Failure::Cancelled));
}

#[test]
fn a_model_is_loaded_once_kept_beside_others_and_loaded_again_when_its_files_change() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device();
    let loads = std::cell::Cell::new(0);
    let run = |device: &mut EngineDevice, files: ModelFiles, unload: Vec<String>| {
        let mut task = task("a red circle", 1, 1.0, loads.get(), work.path());
        (task.order.model, task.order.unload) = (files, unload);
        let count = |_, report| loads.set(loads.get() + u64::from(matches!(report, Report::ModelLoaded { .. })));
        device.begin(TaskNumber(1), task, &mut { count })?;
        let mut ended = BTreeMap::new();
        finish(device, &mut ended);
        Ok::<_, Failure>(loads.get())
    };
    let other = ModelFiles { name: "other".to_owned(), ..files(demo(), 1) };
    assert_eq!(run(&mut device, files(demo(), 1), vec![]), Ok(1));
    assert_eq!(run(&mut device, files(demo(), 1), vec![]), Ok(1), "it is there");
    assert_eq!(run(&mut device, other.clone(), vec![]), Ok(2));
    assert_eq!(run(&mut device, files(demo(), 1), vec![]), Ok(2), "both are there");
    assert_eq!(device.loaded().len(), 2);
    assert_eq!(run(&mut device, files(demo(), 2), vec!["other".to_owned()]), Ok(3), "its files have changed");
    assert_eq!(device.loaded().len(), 1);
    let gone = run(&mut device, files("nowhere".into(), 3), vec![]).unwrap_err();
    assert!(matches!(gone, Failure::Failed { class: FailureClass::ModelUnavailable, .. }), "{gone}");
    device.load(&other).unwrap();
    device.unload("other").unwrap();
    device.unload("never there").unwrap();

    let mut forgetful = super::device();
    forgetful.unload_after_task = true;
    run(&mut forgetful, files(demo(), 1), vec![]).unwrap();
    assert_eq!(forgetful.loaded(), []);
}

#[test]
fn pictures_in_files_and_in_memory_start_a_task_alike() {
    let work = tempfile::tempdir().unwrap();
    let picture = framewright_engine::vision::RgbPicture {
        height: 32,
        width: 32,
        bytes: (0..32 * 32 * 3).map(|byte| byte as u8).collect(),
    };
    let path = work.path().join("init.rgb");
    std::fs::write(&path, &picture.bytes).unwrap();
    let start = |place: &str, init_image| {
        let mut task = task(place, 2, 1.0, 7, work.path());
        change(&mut task, |request| {
            request.prompt = "x".to_owned();
            request.strength = 0.8;
        });
        task.order.init_image = Some(init_image);
        task
    };
    let from_file = alone(start("file", Picture::File(crate::task::PictureFile { path, width: 32, height: 32 })));
    let from_memory = alone(start("memory", Picture::Pixels(std::sync::Arc::new(picture))));
    assert_eq!(pixels(&from_file), pixels(&from_memory));
    assert!(from_file.facts.warnings.iter().any(|warning| warning == "init_image resized from 32x32 to 64x64"));
    let absent = crate::task::PictureFile { path: "absent".into(), width: 32, height: 32 };
    let error = device().begin(TaskNumber(1), start("absent", Picture::File(absent)), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, Failure::Failed { class: FailureClass::StorageFailed, .. }), "{error}");
}

#[test]
fn a_mask_keeps_what_is_black_and_its_brightness_counts() {
    let work = tempfile::tempdir().unwrap();
    let of = |side: usize, pixel: [u8; 3]| {
        let bytes = pixel.repeat(side * side);
        Picture::Pixels(std::sync::Arc::new(framewright_engine::vision::RgbPicture { height: side, width: side, bytes }))
    };
    let made = |place: &str, mask: Option<Picture>| {
        let mut task = task(place, 3, 1.0, 7, work.path());
        change(&mut task, |request| {
            request.prompt = "a red circle".to_owned();
            request.strength = 0.7;
        });
        task.order.init_image = Some(of(64, [30, 60, 200]));
        task.order.mask = mask;
        alone(task)
    };
    // Not as without a mask: diffusers draws the noise before the first picture's latents then, and after them otherwise.
    let white = made("white", Some(of(64, [255; 3])));
    let black = made("black", Some(of(64, [0; 3])));
    // Green is bright and blue is dark, as Pillow sees them.
    let (green, blue) = (made("green", Some(of(64, [0, 255, 0]))), made("blue", Some(of(32, [0, 0, 255]))));
    assert!(pixels(&green) == pixels(&white), "all is repainted");
    assert!(pixels(&blue) == pixels(&black), "nothing is repainted");
    assert!(pixels(&black) != pixels(&white));
    assert!(black.facts.warnings.is_empty(), "{:?}", black.facts.warnings);
    assert_eq!(blue.facts.warnings, ["mask resized from 32x32 to 64x64"]);
    let file = crate::task::PictureFile { path: "absent".into(), width: 64, height: 64 };
    let mut absent = task("absent", 3, 1.0, 7, work.path());
    absent.order.init_image = Some(of(64, [0; 3]));
    absent.order.mask = Some(Picture::File(file));
    let error = device().begin(TaskNumber(1), absent, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("cannot read the mask"), "{error}");
}

#[test]
fn devices_that_share_packed_weights_give_the_same_pictures() {
    let work = tempfile::tempdir().unwrap();
    let packed = work.path().join("packed");
    let request = |place: &str| task(place, 2, 5.0, 7, work.path());
    let same_prompt = |place: &str| {
        let mut task = request(place);
        change(&mut task, |request| request.prompt = "x".to_owned());
        task
    };
    let own = alone(same_prompt("own"));
    for place in ["first", "second"] {
        let mut device = device();
        device.workshop.shelf = Shelf::new(Some(PackedCache::new(packed.clone())));
        device.begin(TaskNumber(1), same_prompt(place), &mut |_, _| {}).unwrap();
        let mut ended = BTreeMap::new();
        finish(&mut device, &mut ended);
        assert_eq!(pixels(ended[&TaskNumber(1)].as_ref().unwrap()), pixels(&own), "{place}");
    }
    assert!(std::fs::read_dir(&packed).unwrap().count() > 0);
}

#[test]
fn a_picture_that_was_decoded_in_tiles_says_so_to_whoever_resumes_it() {
    let work = tempfile::tempdir().unwrap();
    let asked = || task("a red circle", 1, 5.0, 7, work.path());
    assert!(alone(asked()).facts.warnings.is_empty());
    let order = asked().order;
    let kept =
        crate::work::WorkDirectory::new(&order.work_directory, &device().description(), &order.model, &order.request, None);
    let Some(crate::work::Kept::Finished { file, tiled: false }) = kept.read(0, 64, 64) else { panic!("it was not kept") };
    kept.keep_picture(0, &file.read().unwrap(), true).unwrap();
    let resumed = alone(asked()).facts;
    assert_eq!(resumed.resumed_steps, 1);
    assert!(resumed.warnings[0].contains("picture 0 was decoded in tiles"), "{:?}", resumed.warnings);
}
