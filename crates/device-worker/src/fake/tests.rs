use super::*;
use crate::task::{ClipRequest, ImageRequest, Picture, PictureFile, PreviewSwitch, TaskOrder};
use framewright_engine::vision::RgbPicture;

fn task(prompt: &str, steps: u32, work_directory: &Path) -> Task {
    Task {
        order: TaskOrder {
            request: ImageRequest {
                prompt: prompt.to_owned(),
                negative_prompt: None,
                width: 16,
                height: 8,
                num_inference_steps: steps,
                guidance_scale: 5.0,
                seed: u64::MAX,
                sampler: None,
                num_images: 2,
                strength: 1.0,
            }
            .into(),
            model: ModelFiles { name: "m".to_owned(), directory: "m".into(), fingerprint: 1 },
            unload: Vec::new(),
            init_image: None,
            mask: None,
            work_directory: work_directory.to_owned(),
        },
        interrupt: Interrupt::default(),
        previews: PreviewSwitch::default(),
    }
}

fn device(step_ms: u64) -> FakeDevice {
    FakeDevice::new(FakeSetup { step_ms, ..FakeSetup::default() }, Pulse::default(), Stage::Thread)
}

/// Runs until nothing is active; how each task ended, by number.
fn finish(device: &mut FakeDevice) -> Vec<Ended> {
    let mut ended = Vec::new();
    while device.active() > 0 {
        ended.extend(device.advance(&mut |_, _| {}));
    }
    ended.sort_by_key(|(number, _)| *number);
    ended
}

#[test]
fn tasks_share_evaluations_join_and_leave() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device(0);
    let mut reports = Vec::new();
    let mut report = |number: TaskNumber, report| {
        if let Report::Evaluated { step, tasks, .. } = report {
            reports.push((number.0, step, tasks));
        }
    };
    device.begin(TaskNumber(1), task("a", 3, work.path()), &mut report).unwrap();
    assert!(device.advance(&mut report).is_empty());
    device.begin(TaskNumber(2), task("b", 3, work.path()), &mut report).unwrap();
    assert!(device.advance(&mut report).is_empty());
    let ended = device.advance(&mut report);
    assert!(matches!(&ended[..], [(TaskNumber(1), Ok(output))] if output.facts.batched_with == 2));
    let ended = device.advance(&mut report);
    assert!(
        matches!(&ended[..], [(TaskNumber(2), Ok(output))] if output.pictures.len() == 2 && output.pictures[0] != output.pictures[1])
    );
    assert_eq!(reports, [(1, 2, 1), (1, 4, 2), (2, 2, 2), (1, 6, 2), (2, 4, 2), (2, 6, 1)]);
    assert_eq!(device.active(), 0);
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0, "nothing is kept of what takes no time");
}

#[test]
fn one_poison_task_among_seven_mates_fails_alone() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device(0);
    for number in 0..8 {
        let prompt = if number == 5 { "x fake:fail_at=2" } else { "x" };
        device.begin(TaskNumber(number), task(prompt, 4, work.path()), &mut |_, _| {}).unwrap();
    }
    let failed: Vec<u64> = finish(&mut device).iter().filter(|(_, end)| end.is_err()).map(|(number, _)| number.0).collect();
    assert_eq!(failed, [5]);
    let refused = device.begin(TaskNumber(9), task("fake:out_of_memory", 1, work.path()), &mut |_, _| {});
    assert!(refused.unwrap_err().is_out_of_memory());
}

#[test]
fn an_interrupted_task_leaves_in_the_middle_of_a_step() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device(0);
    let long = task("fake:step_ms=3600000", 1, work.path());
    device.begin(TaskNumber(1), long.clone(), &mut |_, _| {}).unwrap();
    assert!(device.advance(&mut |_, _| {}).is_empty());
    long.interrupt.cancel();
    assert_eq!(finish(&mut device), [(TaskNumber(1), Err(Failure::Cancelled))]);
    device.begin(TaskNumber(2), task("a", 1, work.path()), &mut |_, _| {}).unwrap();
    assert!(device.setup.step_ms == 0 && finish(&mut device)[0].1.is_ok());
}

#[test]
fn a_killed_task_goes_on_near_where_it_was() {
    let work = tempfile::tempdir().unwrap();
    let mut first = device(20);
    first.begin(TaskNumber(1), task("a", 40, work.path()), &mut |_, _| {}).unwrap();
    let mut step = 0;
    while step < 60 {
        first.advance(&mut |_, report| {
            if let Report::Evaluated { step: at, .. } = report {
                step = at;
            }
        });
    }
    drop(first);
    let mut second = device(0);
    second.begin(TaskNumber(1), task("a", 40, work.path()), &mut |_, _| {}).unwrap();
    let ended = finish(&mut second);
    let resumed = ended[0].1.as_ref().unwrap().facts.resumed_steps;
    assert!((54..=60).contains(&resumed), "{resumed}");
    let mut other = device(0);
    other.begin(TaskNumber(1), task("b", 40, work.path()), &mut |_, _| {}).unwrap();
    assert_eq!(finish(&mut other)[0].1.as_ref().unwrap().facts.resumed_steps, 0, "another request");
}

#[test]
fn models_take_memory_and_make_room() {
    let place = tempfile::tempdir().unwrap();
    let model = |name: &str, bytes: u64| {
        let directory = place.path().join(name);
        std::fs::create_dir_all(directory.join("unet")).unwrap();
        std::fs::File::create(directory.join("unet/x.safetensors")).unwrap().set_len(bytes).unwrap();
        ModelFiles { name: name.to_owned(), directory, fingerprint: 1 }
    };
    let setup = FakeSetup { memory_bytes: Some(1000), ..FakeSetup::default() };
    let mut device = FakeDevice::new(setup, Pulse::default(), Stage::Thread);
    let names = |device: &FakeDevice| device.loaded().into_iter().map(|model| model.name).collect::<Vec<_>>();
    let (a, b, c) = (model("a", 500), model("b", 400), model("c", 300));
    device.load(&a).unwrap();
    device.load(&b).unwrap();
    device.load(&a).unwrap();
    device.load(&c).unwrap();
    assert_eq!(names(&device), ["a", "c"], "b was used least recently");
    let mut using = task("fake:step_ms=3600000", 1, place.path());
    using.order.model = a.clone();
    device.begin(TaskNumber(1), using.clone(), &mut |_, _| {}).unwrap();
    assert!(device.unload("a").unwrap_err().to_string().contains("in use"));
    assert!(device.load(&model("d", 900)).unwrap_err().is_out_of_memory());
    using.interrupt.cancel();
    finish(&mut device);
    device.unload("a").unwrap();
    assert_eq!(names(&device), [""; 0]);
}

#[test]
fn a_task_that_comes_during_an_evaluation_waits_for_the_next_one() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device(0);
    let long = task("fake:step_ms=3600000", 1, work.path());
    let stop = long.interrupt.clone();
    device.begin(TaskNumber(1), long, &mut |_, _| {}).unwrap();
    assert!(device.advance(&mut |_, _| {}).is_empty(), "the evaluation is under way");
    device.begin(TaskNumber(2), task("fake:fail_at=0", 1, work.path()), &mut |_, _| {}).unwrap();
    stop.cancel();
    let ended = finish(&mut device);
    assert!(matches!(ended[0].1, Err(Failure::Cancelled)));
    assert!(matches!(ended[1].1, Err(Failure::Failed { .. })), "it went wrong before its first evaluation");
}

/// A clip that begins with a picture in memory.
fn clip(steps: u32, seed: u64, first: RgbPicture, work_directory: &Path) -> Task {
    let mut task = task("", 1, work_directory);
    task.order.request = ClipRequest {
        width: 640,
        height: 360,
        num_frames: 5,
        num_inference_steps: steps,
        min_guidance_scale: 1.0,
        max_guidance_scale: 3.0,
        fps: 7,
        motion_bucket_id: 127,
        noise_aug_strength: 0.02,
        decode_chunk_size: 2,
        seed,
    }
    .into();
    task.order.init_image = Some(Picture::Pixels(Arc::new(first)));
    task
}

fn picture() -> RgbPicture {
    RgbPicture { height: 8, width: 16, bytes: (0..8 * 16 * 3).map(|byte| byte as u8).collect() }
}

/// The frames of the one clip that a device runs, and how many steps were done before.
fn frames(device: &mut FakeDevice, task: Task) -> (Vec<PictureFile>, u32) {
    device.begin(TaskNumber(1), task, &mut |_, _| {}).unwrap();
    let (_, output) = finish(device).remove(0);
    let output = output.unwrap();
    let files = output.pictures.into_iter().map(|picture| match picture {
        Picture::File(file) => file,
        Picture::Pixels(_) => panic!("a frame in memory"),
    });
    (files.collect(), output.facts.resumed_steps)
}

fn pixels(files: &[PictureFile]) -> Vec<RgbPicture> {
    files.iter().map(|file| file.read().unwrap()).collect()
}

#[test]
fn a_clip_is_told_by_its_request_and_its_picture_and_one_goes_on_where_another_ends() {
    let work = tempfile::tempdir().unwrap();
    let place = |name: &str| work.path().join(name);
    let (files, _) = frames(&mut device(0), clip(3, 7, picture(), &place("a")));
    assert!(files.iter().all(|file| file.path.parent() == Some(&place("a"))));
    let first = pixels(&files);
    assert_eq!((first.len(), first[0].width, first[0].height), (5, 64, 36));
    assert_eq!(pixels(&frames(&mut device(0), clip(3, 7, picture(), &place("b"))).0), first);
    assert_ne!(pixels(&frames(&mut device(0), clip(3, 8, picture(), &place("c"))).0)[1..], first[1..]);
    let next = pixels(&frames(&mut device(0), clip(3, 7, first[4].clone(), &place("d"))).0);
    assert_eq!(next[0], first[4]);
    assert_ne!(next[1], first[4]);
}

#[test]
fn a_clip_reports_its_steps_and_shows_its_middle() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device(0);
    let mut task = clip(2, 7, picture(), work.path());
    task.previews = PreviewSwitch::new(|| true);
    device.begin(TaskNumber(1), task, &mut |_, _| {}).unwrap();
    let mut reports = Vec::new();
    while device.active() > 0 {
        device.advance(&mut |_, report| {
            reports.push(match report {
                Report::Evaluated { step, steps, .. } => ("step", step, steps),
                Report::Preview { index: 0, step, steps, png } if png.starts_with(b"\x89PNG") => ("preview", step, steps),
                other => panic!("{other:?}"),
            });
        });
    }
    assert_eq!(reports, [("step", 1, 2), ("preview", 1, 2), ("step", 2, 2), ("preview", 2, 2)]);
}

#[test]
fn a_killed_clip_goes_on_and_one_that_begins_otherwise_does_not() {
    let work = tempfile::tempdir().unwrap();
    let mut first = device(20);
    first.begin(TaskNumber(1), clip(20, 7, picture(), work.path()), &mut |_, _| {}).unwrap();
    let mut step = 0;
    while step < 10 {
        first.advance(&mut |_, report| {
            if let Report::Evaluated { step: at, .. } = report {
                step = at;
            }
        });
    }
    drop(first);
    let mut other = picture();
    other.bytes[0] ^= 1;
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(work.path().join("clip.checkpoint"), elsewhere.path().join("clip.checkpoint")).unwrap();
    assert_eq!(frames(&mut device(0), clip(20, 7, other, elsewhere.path())).1, 0, "another picture");
    let (files, resumed) = frames(&mut device(0), clip(20, 7, picture(), work.path()));
    assert!((7..=10).contains(&resumed), "{resumed}");
    let whole = frames(&mut device(0), clip(20, 7, picture(), &elsewhere.path().join("whole"))).0;
    assert_eq!(pixels(&files), pixels(&whole));
}

#[test]
fn a_clip_needs_its_picture_and_fails_as_planned() {
    let work = tempfile::tempdir().unwrap();
    let mut device = device(0);
    let mut none = clip(2, 7, picture(), work.path());
    none.order.init_image = None;
    let refused = device.begin(TaskNumber(1), none, &mut |_, _| {}).unwrap_err();
    assert!(
        matches!(&refused, Failure::Failed { class: FailureClass::InvalidRequest, message } if message.starts_with("init_image: "))
    );
    let failure = Failure::new(FailureClass::DeviceFailed, "planned");
    device.setup.planned.push(Words { fail_at: Some((1, failure.clone())), ..Words::default() });
    device.begin(TaskNumber(2), clip(2, 7, picture(), work.path()), &mut |_, _| {}).unwrap();
    assert_eq!(finish(&mut device), [(TaskNumber(2), Err(failure))]);
    std::fs::write(work.path().join("file"), "").unwrap();
    device.begin(TaskNumber(3), clip(1, 7, picture(), &work.path().join("file")), &mut |_, _| {}).unwrap();
    let ended = finish(&mut device);
    assert!(matches!(&ended[0].1, Err(Failure::Failed { class: FailureClass::StorageFailed, .. })), "{ended:?}");
}
