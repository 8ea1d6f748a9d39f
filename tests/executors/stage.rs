//! What the tests of executors share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use framewright::domain::{DeviceName, ImageRequest, PreviewDemand, TaskId};
use framewright::execution::{
    DeviceTask, DeviceWork, Executor, ExecutorHealth, ExecutorOptions, FakeControl, Report, TaskEvent, TaskFailure, TaskOutput,
    WorkerKind, open_executors,
};
use framewright_engine::ops::Interrupt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn options(workers: WorkerKind, place: &Path) -> ExecutorOptions {
    ExecutorOptions {
        workers,
        program: Some(env!("CARGO_BIN_EXE_framewright").into()),
        run_directory: place.join("run"),
        fake: FakeControl::new(0),
        ..ExecutorOptions::default()
    }
}

/// An executor that is ready.
pub(crate) async fn open(device: DeviceName, options: &ExecutorOptions) -> Arc<dyn Executor> {
    let executor = open_executors(&[device], options).unwrap().pop().unwrap();
    wait_for_health(&executor, |health| *health == ExecutorHealth::Ready).await;
    executor
}

pub(crate) async fn wait_for_health(executor: &Arc<dyn Executor>, is: impl Fn(&ExecutorHealth) -> bool) {
    let mut status = executor.status();
    timeout(PATIENCE, status.wait_for(|status| is(&status.health))).await.unwrap().unwrap();
}

pub(crate) fn task(prompt: &str, steps: u32, place: &Path) -> DeviceTask {
    let id = TaskId::generate();
    DeviceTask {
        id,
        work: DeviceWork::Pictures(ImageRequest {
            model: "demo-sdxl".parse().unwrap(),
            prompt: prompt.to_owned(),
            negative_prompt: None,
            width: 64,
            height: 64,
            num_inference_steps: steps,
            guidance_scale: 5.0,
            seed: u64::MAX,
            sampler: None,
            num_images: 1,
            init_image: None,
            strength: 1.0,
            mask: None,
        }),
        model_directory: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/demo-sdxl"),
        model_fingerprint: 1,
        unload: Vec::new(),
        init_image: None,
        mask: None,
        work_directory: place.join("work").join(id.to_string()),
        interrupt: Interrupt::default(),
        previews: PreviewDemand::default(),
    }
}

/// What a task of pictures asks for.
pub(crate) fn request(task: &mut DeviceTask) -> &mut ImageRequest {
    match &mut task.work {
        DeviceWork::Pictures(request) => request,
        DeviceWork::Clip(_) => panic!("a task of pictures"),
    }
}

/// Everything that is said of a task.
pub(crate) async fn finish(mut events: mpsc::Receiver<TaskEvent>) -> (Vec<Report>, Result<TaskOutput, TaskFailure>) {
    let mut reports = Vec::new();
    loop {
        match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            TaskEvent::Report(report) => reports.push(report),
            TaskEvent::Ended(ended) => {
                assert!(events.recv().await.is_none(), "the end is the last event");
                return (reports, ended);
            }
        }
    }
}

pub(crate) async fn run(executor: &Arc<dyn Executor>, task: DeviceTask) -> Result<TaskOutput, TaskFailure> {
    finish(executor.start(task).unwrap()).await.1
}

/// Waits until a task has done `step` evaluations.
pub(crate) async fn wait_for_step(events: &mut mpsc::Receiver<TaskEvent>, step: u32) {
    loop {
        match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            TaskEvent::Report(Report::Evaluated { progress, .. }) if progress.step >= step => return,
            TaskEvent::Report(_) => {}
            TaskEvent::Ended(ended) => panic!("ended before step {step}: {ended:?}"),
        }
    }
}

/// The process that holds a lock below `place`: the worker of the only device there.
pub(crate) fn worker_process(place: &Path) -> Option<Pid> {
    let run = place.join("run").canonicalize().ok()?;
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_lock = |pid: i32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(&run))
    };
    pids.find(|pid| has_lock(*pid)).and_then(Pid::from_raw)
}

pub(crate) fn signal(place: &Path, signal: Signal) {
    kill_process(worker_process(place).unwrap(), signal).unwrap();
}

pub(crate) fn pixels(output: &TaskOutput) -> Vec<Vec<u8>> {
    output.pictures.iter().map(|picture| picture.clone().read().unwrap().bytes).collect()
}
