//! What a worker is told of tasks, and what it is believed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewright_device_worker::{self as worker, Failure, Picture, PictureFile, Report, TaskNumber};
use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;
use tokio::sync::mpsc;

use super::tasks::{Change, TaskTable};
use super::{DeviceTask, DeviceWork, TaskEvent, TaskFailure, TaskOutput};
use crate::domain::{ImageRequest, PreviewDemand, TaskId};

fn task() -> DeviceTask {
    DeviceTask {
        id: TaskId::generate(),
        work: DeviceWork::Pictures(ImageRequest {
            model: "m".parse().unwrap(),
            prompt: "p".to_owned(),
            negative_prompt: None,
            width: 64,
            height: 32,
            num_inference_steps: 1,
            guidance_scale: 1.0,
            seed: 0,
            sampler: None,
            num_images: 1,
            init_image: None,
            strength: 1.0,
            mask: None,
        }),
        model_directory: "/models/m".into(),
        model_fingerprint: 1,
        unload: Vec::new(),
        init_image: None,
        mask: None,
        work_directory: "/work/1".into(),
        interrupt: Interrupt::default(),
        previews: PreviewDemand::default(),
    }
}

fn table() -> TaskTable {
    let table = TaskTable::new(8);
    table.accept(true);
    table
}

fn ended(events: &mut mpsc::Receiver<TaskEvent>) -> Option<Result<TaskOutput, TaskFailure>> {
    match events.try_recv().ok()? {
        TaskEvent::Ended(ended) => Some(ended),
        TaskEvent::Report(report) => panic!("{report:?}"),
    }
}

#[test]
fn a_worker_hears_of_changes_only_after_the_order() {
    let (table, task, now) = (table(), task(), Instant::now());
    let (number, mut events) = table.add(&task).unwrap();
    let wish = task.previews.wish();
    assert_eq!(table.changes(now), [], "the worker does not know the task");
    assert!(!table.is_active(), "nor has it anything to do");
    // The order says how it is by now.
    assert_eq!(table.send_off(number), Some(true));
    assert!(table.is_active());
    assert_eq!(table.changes(now), []);
    drop(wish);
    task.interrupt.cancel();
    assert_eq!(table.changes(now), [Change::Cancelled(number), Change::Previews(number, false)]);
    assert_eq!(table.changes(now), []);
    let limit = Duration::from_secs(1);
    assert!(!table.ignores_cancel(now, limit));
    assert!(table.ignores_cancel(now + limit, limit));
    assert!(ended(&mut events).is_none());
    table.end(number, Err(Failure::Cancelled)).unwrap();
    assert_eq!(ended(&mut events).unwrap().unwrap_err(), TaskFailure::Cancelled);
}

#[test]
fn a_task_that_is_cancelled_before_its_order_is_sent_ends_without_the_worker() {
    let (table, task, now) = (table(), task(), Instant::now());
    let (number, mut events) = table.add(&task).unwrap();
    task.interrupt.cancel();
    assert_eq!(table.changes(now), []);
    assert!(!table.ignores_cancel(now + Duration::from_hours(1), Duration::from_secs(1)));
    assert_eq!(table.send_off(number), None);
    assert_eq!(ended(&mut events).unwrap().unwrap_err(), TaskFailure::Cancelled);
    assert_eq!(table.send_off(number), None, "it has ended");
    assert!(!table.is_active());
}

#[test]
fn nothing_is_believed_of_tasks_that_there_are_not() {
    let table = table();
    let report = Report::ModelLoaded { seconds: 1.0 };
    assert_eq!(
        table.report(TaskNumber(7), report).unwrap_err().to_string(),
        "it spoke nonsense: a report of task 7, which it does not have"
    );
    let error = table.end(TaskNumber(7), Err(Failure::Cancelled)).unwrap_err();
    assert_eq!(error.to_string(), "it spoke nonsense: the end of task 7, which it does not have");
}

fn file(path: &str, width: u32, height: u32) -> Picture {
    Picture::File(PictureFile { path: Path::new(path).to_owned(), width, height })
}

fn pixels(width: usize, height: usize) -> Picture {
    Picture::Pixels(Arc::new(RgbPicture { width, height, bytes: vec![0; width * height * 3] }))
}

#[test]
fn pictures_must_be_what_was_asked_for() {
    let outcome = |pictures: Vec<Picture>| {
        let table = table();
        let (number, mut events) = table.add(&task()).unwrap();
        let heard = table.end(number, Ok(worker::TaskOutput { pictures, facts: worker::RunFacts::default() }));
        (heard.map_err(|nonsense| nonsense.to_string()), ended(&mut events).unwrap())
    };
    for good in [file("/work/1/picture-0.rgb", 64, 32), pixels(64, 32), pixels(1, 1)] {
        let (heard, ended) = outcome(vec![good]);
        assert_eq!((heard, ended.unwrap().pictures.len()), (Ok(()), 1));
    }
    for (bad, reason) in [
        (vec![], "0 pictures where 1 were"),
        (vec![pixels(1, 1), pixels(1, 1)], "2 pictures where 1 were"),
        (vec![pixels(65, 32)], "65x32 where 64x32"),
        (vec![pixels(0, 0)], "0x0 where 64x32"),
        (vec![file("/work/1/picture-0.rgb", 64, 33)], "64x33 where 64x32"),
        (vec![file("/work/1/picture-0.rgb", u32::MAX, u32::MAX)], "where 64x32"),
        (vec![file("/etc/shadow", 1, 1)], "outside the task's directory"),
        (vec![file("/work/2/picture-0.rgb", 1, 1)], "outside the task's directory"),
        (vec![file("/work/1/../2/picture-0.rgb", 1, 1)], "outside the task's directory"),
        (vec![file("/work/1/..", 1, 1)], "outside the task's directory"),
        (vec![file("picture-0.rgb", 1, 1)], "outside the task's directory"),
    ] {
        let (heard, ended) = outcome(bad);
        let heard = heard.unwrap_err();
        assert!(heard.contains(reason), "{heard}");
        assert_eq!(ended.unwrap_err(), TaskFailure::WorkerLost { reason: heard, companions: 0 });
    }
}
