//! What every executor promises, whatever its worker runs in.

use framewright::domain::{DeviceName, ErrorCode};
use framewright::execution::{ExecutorHealth, ExecutorStatus, ExecutorUnavailable, Report, TaskFailure, WorkerKind};
use rstest::rstest;

use crate::stage::{finish, open, options, pixels, request, run, task, wait_for_step};

fn code(failure: TaskFailure) -> ErrorCode {
    match failure {
        TaskFailure::Failed(error) => error.code,
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::process(WorkerKind::Process)]
#[case::thread(WorkerKind::Thread)]
#[tokio::test]
async fn pictures_come_out_with_progress_and_previews_on_request(#[case] workers: WorkerKind) {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(workers, place.path());
    options.fake.step_ms = 2;
    let executor = open(DeviceName::Fake, &options).await;
    let mut watched = task("x", 3, place.path());
    request(&mut watched).num_images = 2;
    let _wish = watched.previews.wish();
    let (reports, ended) = finish(executor.start(watched).unwrap()).await;
    let output = ended.unwrap();
    assert_eq!(output.pictures.len(), 2);
    assert_ne!(pixels(&output)[0], pixels(&output)[1], "the second seed wraps to 0");
    assert!(matches!(reports[0], Report::ModelLoaded { .. }));
    let last = reports.iter().rev().find_map(|report| match report {
        Report::Evaluated { progress, tasks, .. } => Some((progress.step, progress.steps, *tasks)),
        _ => None,
    });
    assert_eq!(last, Some((6, 6, 1)));
    assert!(reports.iter().any(|report| matches!(report, Report::Preview { png, .. } if png.starts_with(b"\x89PNG"))));
    assert_eq!(executor.name(), "fake");
    assert_eq!(executor.status().borrow().description, "fake");
    executor.shut_down().await;
}

#[rstest]
#[case::process(WorkerKind::Process)]
#[case::thread(WorkerKind::Thread)]
#[tokio::test]
async fn mates_share_a_device_and_strangers_wait(#[case] workers: WorkerKind) {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(workers, place.path());
    (options.fake.step_ms, options.max_batch) = (20, 2);
    let executor = open(DeviceName::Fake, &options).await;
    let mut first = executor.start(task("a", 8, place.path())).unwrap();
    wait_for_step(&mut first, 2).await;
    let mut stranger = task("b", 1, place.path());
    request(&mut stranger).width = 128;
    assert_eq!(executor.start(stranger.clone()).unwrap_err(), ExecutorUnavailable::Busy);
    let second = executor.start(task("b", 3, place.path())).unwrap();
    assert_eq!(executor.start(task("c", 1, place.path())).unwrap_err(), ExecutorUnavailable::Busy, "two at most");
    assert_eq!(finish(second).await.1.unwrap().facts.batched_with, 2);
    let first = finish(first).await.1.unwrap();
    assert_eq!(first.facts.batched_with, 2);
    // Whoever has heard of the end may start the next task.
    assert_eq!(run(&executor, stranger).await.unwrap().facts.batched_with, 1);
    executor.shut_down().await;
}

#[rstest]
#[case::process(WorkerKind::Process)]
#[case::thread(WorkerKind::Thread)]
#[tokio::test]
async fn one_poison_task_among_seven_mates_fails_alone(#[case] workers: WorkerKind) {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(workers, place.path());
    options.fake.step_ms = 5;
    let executor = open(DeviceName::Fake, &options).await;
    let prompt = |number| if number == 3 { "fake:fail_at=2" } else { "x" };
    let started: Vec<_> = (0..8).map(|number| executor.start(task(prompt(number), 4, place.path())).unwrap()).collect();
    for (number, events) in started.into_iter().enumerate() {
        match finish(events).await.1 {
            Ok(_) => assert_ne!(number, 3),
            Err(failure) => assert_eq!((number, code(failure)), (3, ErrorCode::DeviceFailed)),
        }
    }
    let failure = run(&executor, task("fake:out_of_memory", 1, place.path())).await.unwrap_err();
    assert_eq!(code(failure), ErrorCode::OutOfMemory);
    assert_eq!(executor.status().borrow().restarts, 0);
    executor.shut_down().await;
}

#[rstest]
#[case::process(WorkerKind::Process)]
#[case::thread(WorkerKind::Thread)]
#[tokio::test]
async fn a_crash_ends_every_task_on_the_worker_and_the_next_worker_goes_on(#[case] workers: WorkerKind) {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(workers, place.path());
    options.fake.step_ms = 20;
    let executor = open(DeviceName::Fake, &options).await;
    let mates: Vec<_> = (0..3).map(|_| executor.start(task("x", 100, place.path())).unwrap()).collect();
    let culprit = executor.start(task("fake:crash_at=2", 100, place.path())).unwrap();
    for events in mates.into_iter().chain([culprit]) {
        match finish(events).await.1 {
            Err(TaskFailure::WorkerLost { companions: 3, reason }) => {
                assert!(reason.contains("SIGABRT") || reason.contains("panicked"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    // The tasks' ends may be heard of before the worker's.
    let mut status = executor.status();
    let is_back = |status: &ExecutorStatus| status.restarts > 0 && status.health == ExecutorHealth::Ready;
    assert_eq!(status.wait_for(is_back).await.unwrap().restarts, 1);
    run(&executor, task("x", 1, place.path())).await.unwrap();
    executor.shut_down().await;
}

#[rstest]
#[case::process(WorkerKind::Process)]
#[case::thread(WorkerKind::Thread)]
#[tokio::test]
async fn models_are_loaded_and_unloaded_by_hand(#[case] workers: WorkerKind) {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(workers, place.path());
    options.fake.memory_bytes = Some(1 << 40);
    let executor = open(DeviceName::Fake, &options).await;
    let using = task("fake:step_ms=3600000", 1, place.path());
    let model = using.work.model().clone();
    executor.load(&model, &using.model_directory, 1).await.unwrap();
    let loaded = executor.status().borrow().loaded.clone();
    assert_eq!((loaded.len(), &loaded[0].model), (1, &model));
    assert!(loaded[0].weights_bytes > 1_000_000);
    let events = executor.start(using.clone()).unwrap();
    assert!(executor.unload(&model).await.unwrap_err().to_string().contains("in use"));
    using.interrupt.cancel();
    assert_eq!(finish(events).await.1.unwrap_err(), TaskFailure::Cancelled);
    executor.unload(&model).await.unwrap();
    assert!(executor.status().borrow().loaded.is_empty());
    executor.shut_down().await;
}

#[rstest]
#[case::process(WorkerKind::Process)]
#[case::thread(WorkerKind::Thread)]
#[tokio::test]
async fn a_shut_down_ends_what_runs_and_takes_nothing_more(#[case] workers: WorkerKind) {
    let place = tempfile::tempdir().unwrap();
    let executor = open(DeviceName::Fake, &options(workers, place.path())).await;
    let events = executor.start(task("fake:step_ms=3600000", 1, place.path())).unwrap();
    executor.shut_down().await;
    assert!(matches!(finish(events).await.1, Err(TaskFailure::WorkerLost { companions: 0, .. })));
    assert_eq!(executor.start(task("x", 1, place.path())).unwrap_err(), ExecutorUnavailable::Gone);
    assert!(executor.load(&"m".parse().unwrap(), place.path(), 1).await.is_err());
}

#[rstest]
#[case::process(WorkerKind::Process)]
#[case::thread(WorkerKind::Thread)]
#[tokio::test]
async fn a_real_device_makes_pictures_and_keeps_finished_ones(#[case] workers: WorkerKind) {
    let place = tempfile::tempdir().unwrap();
    let executor = open(DeviceName::Cpu, &options(workers, place.path())).await;
    let mut asked = task("a red circle", 2, place.path());
    request(&mut asked).num_images = 2;
    let picture = framewright_engine::vision::RgbPicture { height: 64, width: 64, bytes: vec![128; 64 * 64 * 3] };
    asked.init_image = Some(std::sync::Arc::new(picture));
    let made = run(&executor, asked.clone()).await.unwrap();
    assert_eq!(made.pictures.len(), 2);
    assert!(made.facts.device.starts_with("cpu ("), "{}", made.facts.device);
    let again = run(&executor, asked.clone()).await.unwrap();
    assert!(again.facts.resumed_steps > 0 && again.facts.timings.denoise_seconds.abs() < f64::EPSILON);
    let unmasked = pixels(&made);
    assert_eq!(unmasked, pixels(&again));
    // Nothing is repainted where a mask is black: it has come to the device. What it makes takes the place of what it made before.
    asked.mask = Some(std::sync::Arc::new(framewright_engine::vision::RgbPicture { height: 1, width: 1, bytes: vec![0; 3] }));
    let masked = run(&executor, asked).await.unwrap();
    assert!(pixels(&masked) != unmasked, "the mask did not reach the device");
    assert_eq!((masked.facts.resumed_steps, masked.facts.warnings), (0, vec!["mask resized from 1x1 to 64x64".to_owned()]));
    let status = executor.status().borrow().clone();
    assert!(status.memory.is_some_and(|memory| memory.free_bytes > 0), "{status:?}");
    executor.shut_down().await;
}
