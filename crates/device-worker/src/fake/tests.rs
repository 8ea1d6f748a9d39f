use super::*;
use crate::task::{ImageRequest, TaskOrder};

fn task(prompt: &str, steps: u32, work_directory: &Path) -> ImageTask {
    ImageTask {
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
            },
            model: ModelFiles { name: "m".to_owned(), directory: "m".into(), fingerprint: 1 },
            unload: Vec::new(),
            init_image: None,
            work_directory: work_directory.to_owned(),
        },
        interrupt: Interrupt::default(),
        previews: crate::task::PreviewSwitch::default(),
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
