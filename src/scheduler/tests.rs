//! Whole jobs through scheduler, fake devices and storage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::fleet::Shares;
use super::*;
use crate::database::Database;
use crate::domain::{
    Clock, CounterKey, DeviceName, ErrorCode, Holder, ImageRequest, Job, JobEventKind, JobId, JobObserver, JobRequest, JobState,
    Meter, ModelId, Principal, Progress, ProjectId, Reservation, SystemClock, UnixMs, UserId,
};
use crate::execution::results::{Attempt, EncodedPicture, store_pictures};
use crate::execution::{ExecutorOptions, FakeControl, FakeFailure, WorkerKind, open_executors};
use crate::jobs::store::{JobFilter, QueuePosition};
use crate::jobs::{self, InputPurpose, JobService, JobServiceOptions, NewInput, NewJob, Previews};
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_png};
use crate::models::ModelCatalog;
use crate::storage::ArtifactStorage;

mod claims;
mod recovery;
mod weights;

/// Everybody is worth the same and may have everything.
struct Equal;

impl Shares for Equal {
    fn user_weight(&self, _: &UserId) -> f64 {
        1.0
    }
    fn project_weight(&self, _: Option<&ProjectId>) -> f64 {
        1.0
    }
    fn user_concurrency(&self, _: &UserId) -> Option<u32> {
        None
    }
    fn project_concurrency(&self, _: &ProjectId) -> Option<u32> {
        None
    }
}

#[derive(Debug, Default)]
struct Ended {
    states: Mutex<Vec<JobState>>,
    batches: Mutex<Vec<usize>>,
    upkeep: tokio::sync::watch::Sender<Vec<(&'static str, u64)>>,
}

impl JobObserver for Ended {
    fn job_finished(&self, _model: &ModelId, state: JobState, _ran_seconds: f64) {
        self.states.lock().push(state);
    }

    fn batch_formed(&self, tasks: usize) {
        self.batches.lock().push(tasks);
    }

    fn upkeep_done(&self, step: &'static str, count: u64) {
        self.upkeep.send_modify(|done| done.push((step, count)));
    }
}

struct Server {
    service: JobService,
    storage: ArtifactStorage,
    scheduler: Scheduler,
    ended: Arc<Ended>,
}

/// What a test wants to be different.
struct Wishes {
    devices: usize,
    max_batch: u32,
    options: SchedulerOptions,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { devices: 1, max_batch: 1, options: SchedulerOptions::default() }
    }
}

async fn service_on(data: &Path) -> (JobService, ArtifactStorage) {
    let database = Database::open(&data.join("jobs.db")).await.unwrap();
    let storage = ArtifactStorage::local(&data.join("outputs")).unwrap();
    let options = JobServiceOptions { queue_limit: 10_000 };
    (JobService::new(jobs::store::open(&database), storage.clone(), Arc::new(SystemClock), options), storage)
}

/// A scheduler on the jobs of a service, with fake devices.
async fn scheduler_on(
    data: &Path,
    service: &JobService,
    storage: &ArtifactStorage,
    control: &FakeControl,
    wishes: Wishes,
) -> (Scheduler, Arc<Ended>) {
    place_model(data, "m");
    let executor_options = ExecutorOptions {
        workers: WorkerKind::Thread,
        fake: control.clone(),
        max_batch: wishes.max_batch as usize,
        run_directory: data.join("run"),
        ..ExecutorOptions::default()
    };
    let ended = Arc::new(Ended::default());
    let parts = SchedulerParts {
        remote: None,
        runner: service.runner(),
        executors: open_executors(&vec![DeviceName::Fake; wishes.devices], &executor_options).unwrap(),
        models: ModelCatalog::open(vec![data.join("models")]),
        storage: storage.clone(),
        observer: ended.clone(),
        shares: Arc::new(Equal),
        max_concurrent: wishes.devices * wishes.max_batch as usize,
        work_directory: data.join("work"),
        options: SchedulerOptions { max_batch_tasks: wishes.max_batch, ..wishes.options },
    };
    (Scheduler::start(parts).await.unwrap(), ended)
}

fn place_model(data: &Path, name: &str) {
    let directory = data.join("models").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("model_index.json"), "{}").unwrap();
}

async fn server_with(data: &Path, control: &FakeControl, wishes: Wishes) -> Server {
    let (service, storage) = service_on(data).await;
    let (scheduler, ended) = scheduler_on(data, &service, &storage, control, wishes).await;
    Server { service, storage, scheduler, ended }
}

/// A server on a data directory, with fake devices.
async fn server(data: &Path, devices: usize, control: &FakeControl) -> Server {
    server_with(data, control, Wishes { devices, ..Wishes::default() }).await
}

fn principal() -> Principal {
    Principal { user: "ann".parse().unwrap(), project: None, admin: false, key: None }
}

fn new_job() -> NewJob {
    NewJob {
        request: JobRequest::Image(ImageRequest {
            model: "m".parse().unwrap(),
            prompt: "a red circle".to_owned(),
            negative_prompt: None,
            width: 64,
            height: 32,
            num_inference_steps: 3,
            guidance_scale: 3.0,
            seed: 7,
            sampler: Some("dpmpp_2m_karras".to_owned()),
            num_images: 2,
            init_image: None,
            strength: 1.0,
            mask: None,
        }),
        inputs: Vec::new(),
        priority: 0,
        project: None,
        reservations: Vec::new(),
        retry_of: None,
        idempotency_key: None,
        callback: None,
    }
}

/// The request for pictures of a job.
fn picture(job: &mut NewJob) -> &mut ImageRequest {
    let JobRequest::Image(request) = &mut job.request else { panic!("a request for pictures") };
    request
}

fn init_image(png: Vec<u8>) -> NewInput {
    NewInput { purpose: InputPurpose::InitImage, bytes: png.into() }
}

fn prompt(words: &str) -> NewJob {
    let mut job = new_job();
    picture(&mut job).prompt = words.to_owned();
    job
}

impl Server {
    async fn submit(&self) -> JobId {
        self.service.submit(&principal(), new_job()).await.unwrap().id
    }

    async fn submit_prompt(&self, words: &str) -> JobId {
        self.service.submit(&principal(), prompt(words)).await.unwrap().id
    }

    /// Waits until the job is in a state for which `wanted` holds.
    async fn wait_for(&self, id: JobId, wanted: impl Fn(JobState) -> bool) -> Job {
        let (mut job, mut events) = self.service.watch(&principal(), id, Previews::Unwanted).await.unwrap();
        while !wanted(job.state) {
            events.recv().await.unwrap();
            job = self.service.get(&principal(), id).await.unwrap();
        }
        job
    }

    async fn wait_for_end(&self, id: JobId) -> Job {
        self.wait_for(id, JobState::is_terminal).await
    }
}

fn data() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_job_becomes_files_that_say_how_they_were_made() {
    let data = data();
    let server = server(data.path(), 1, &FakeControl::new(0)).await;
    let job = server.wait_for_end(server.submit().await).await;
    assert_eq!((job.state, job.progress), (JobState::Completed, Progress { step: 6, steps: 6 }));
    let result = job.result.unwrap();
    assert_eq!(result.artifacts.iter().map(|artifact| artifact.seed).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(result.manifest["sampler"], "dpmpp_2m_karras");
    assert_eq!(result.manifest["request"]["prompt"], "a red circle");
    for artifact in &result.artifacts {
        let bytes = server.storage.get(&artifact.key).await.unwrap();
        assert_eq!(artifact.bytes, bytes.len() as u64);
        assert_eq!(artifact.sha256, crate::domain::Sha256Digest::of(&bytes).to_string());
        let picture = decode_image(&bytes).unwrap();
        assert_eq!((picture.width, picture.height), (artifact.width, artifact.height));
        let text = String::from_utf8_lossy(&bytes);
        let parameters = format!("Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: {}, Size: ", artifact.seed);
        assert!(text.contains(&parameters), "{text}");
        assert!(text.contains(&format!("\"seed\":{}", artifact.seed)));
        assert!(decode_image(&server.storage.get(&artifact.thumbnail_key).await.unwrap()).is_ok());
    }
    assert!(server.scheduler.forecast_new(&job.request).seconds.is_some());
    server.scheduler.shut_down(Duration::from_secs(10)).await;
    assert_eq!(*server.ended.states.lock(), [JobState::Completed]);
}

#[tokio::test]
async fn failures_end_their_job_and_leave_the_device_working() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Fail { after_steps: 2, code: ErrorCode::DeviceFailed });
    let server = server(data.path(), 1, &control).await;
    for expected in [Some(ErrorCode::DeviceFailed), None] {
        let job = server.wait_for_end(server.submit().await).await;
        assert_eq!(job.error.map(|error| error.code), expected);
    }
    let mut unknown = new_job();
    picture(&mut unknown).model = "gone".parse().unwrap();
    let unknown = server.service.submit(&principal(), unknown).await.unwrap().id;
    let error = server.wait_for_end(unknown).await.error.unwrap();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::ModelUnavailable, "no model 'gone'; installed: m"));
    server.scheduler.shut_down(Duration::from_secs(10)).await;
    assert_eq!(server.scheduler.devices()[0].jobs, []);
}

#[tokio::test]
async fn a_task_that_runs_out_of_memory_gets_one_more_chance() {
    let data = data();
    let control = FakeControl::new(0);
    let out_of_memory = || FakeFailure::Fail { after_steps: 1, code: ErrorCode::OutOfMemory };
    control.plan(out_of_memory());
    let server = server(data.path(), 1, &control).await;
    assert_eq!(server.wait_for_end(server.submit().await).await.state, JobState::Completed);
    control.plan(out_of_memory());
    control.plan(out_of_memory());
    let error = server.wait_for_end(server.submit().await).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    assert_eq!(server.wait_for_end(server.submit().await).await.state, JobState::Completed);
}

#[tokio::test]
async fn a_poison_task_fails_after_its_third_charge_while_others_go_on() {
    let data = data();
    let server = server(data.path(), 1, &FakeControl::new(0)).await;
    let mut jobs = Vec::new();
    let poison = server.submit_prompt("poison fake:crash_at=1").await;
    for _ in 0..4 {
        jobs.push(server.submit().await);
    }
    for job in jobs {
        assert_eq!(server.wait_for_end(job).await.state, JobState::Completed);
    }
    let error = server.wait_for_end(poison).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::WorkerLost, "{}", error.message);
    assert_eq!(server.scheduler.devices()[0].executor.restarts, 3);
    assert_eq!(server.wait_for_end(server.submit().await).await.state, JobState::Completed);
}

#[tokio::test]
async fn one_poison_task_among_batch_mates_fails_alone() {
    let data = data();
    let wishes = Wishes { max_batch: 8, ..Wishes::default() };
    let server = server_with(data.path(), &FakeControl::new(2), wishes).await;
    let mut jobs = Vec::new();
    for number in 0..8 {
        let words = if number == 3 { "fake:crash_at=2" } else { "fine" };
        jobs.push(server.submit_prompt(words).await);
    }
    let mut states = Vec::new();
    for job in jobs {
        states.push(server.wait_for_end(job).await.state);
    }
    let mut expected = vec![JobState::Completed; 8];
    expected[3] = JobState::Failed;
    assert_eq!(states, expected);
}

#[tokio::test]
async fn quotas_are_settled_by_what_was_made() {
    let data = data();
    let control = FakeControl::new(0);
    let server = server(data.path(), 1, &control).await;
    // Older windows are removed by the upkeep.
    let window_start = SystemClock.now();
    let counter = |meter| CounterKey { holder: Holder::User(principal().user), meter, window_start };
    let reserve = |meter, amount| Reservation { key: counter(meter), amount, limit: Some(1_000_000), resets: None };
    let reservations = vec![reserve(Meter::Images, 2), reserve(Meter::GpuMs, 0), reserve(Meter::StorageBytes, 0)];
    let submit = async |words: &str| {
        let job = NewJob { reservations: reservations.clone(), ..prompt(words) };
        server.service.submit(&principal(), job).await.unwrap().id
    };
    let (good, bad) = (submit("fake:step_ms=3").await, submit("fake:fail_at=1").await);
    let good = server.wait_for_end(good).await.result.unwrap();
    server.wait_for_end(bad).await;
    let used =
        server.service.usage(&[counter(Meter::Images), counter(Meter::GpuMs), counter(Meter::StorageBytes)]).await.unwrap();
    let of = |meter| used.iter().find(|(key, _)| key.meter == meter).map_or(0, |(_, amount)| *amount);
    let bytes: u64 = good.artifacts.iter().map(|artifact| artifact.bytes).sum();
    assert_eq!((of(Meter::Images), of(Meter::StorageBytes)), (2, bytes as i64));
    assert!(of(Meter::GpuMs) >= 6, "{}", of(Meter::GpuMs));
}

#[tokio::test]
async fn a_drained_device_finishes_and_takes_nothing_more() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 1 });
    let server = server(data.path(), 2, &control).await;
    let hanging = server.submit().await;
    server.wait_for(hanging, |state| state == JobState::Running).await;
    let busy = server.scheduler.devices().into_iter().find(|device| !device.jobs.is_empty()).unwrap().name;
    let idle = if busy == "fake" { "fake#2" } else { "fake" };
    assert!(server.scheduler.drain(idle, true).unwrap().draining);
    let waiting = server.submit().await;
    server.service.cancel(&principal(), hanging).await.unwrap();
    assert_eq!(server.wait_for_end(waiting).await.state, JobState::Completed, "on the one that is not drained");
    assert!(server.scheduler.drain(&busy, true).unwrap().draining);
    let stuck = server.submit().await;
    assert_eq!(server.scheduler.forecast(stuck).map_or(1, |forecast| forecast.position), 1);
    assert!(!server.scheduler.drain(idle, false).unwrap().draining);
    assert_eq!(server.wait_for_end(stuck).await.state, JobState::Completed);
    let error = server.scheduler.drain("gpu", true).unwrap_err().to_string();
    assert_eq!(error, "no device 'gpu'; devices: fake, fake#2");
}

#[tokio::test]
async fn queued_and_running_jobs_can_be_cancelled() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 1 });
    let server = server(data.path(), 1, &control).await;
    let (hanging, waiting, last) = (server.submit().await, server.submit().await, server.submit().await);
    server.wait_for(hanging, |state| state == JobState::Running).await;
    server.service.cancel(&principal(), waiting).await.unwrap();
    server.service.cancel(&principal(), hanging).await.unwrap();
    assert_eq!(server.wait_for_end(hanging).await.state, JobState::Cancelled);
    assert_eq!(server.wait_for_end(waiting).await.state, JobState::Cancelled);
    assert_eq!(server.wait_for_end(last).await.state, JobState::Completed);
    assert!(!server.ended.states.lock().contains(&JobState::Failed));
}

#[tokio::test]
async fn a_model_that_goes_while_its_job_waits_fails_the_job_alone() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 0 });
    let server = server(data.path(), 1, &control).await;
    let other = data.path().join("models/other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("model_index.json"), "{}").unwrap();
    let blocking = server.submit().await;
    let mut waiting = new_job();
    picture(&mut waiting).model = "other".parse().unwrap();
    let waiting = server.service.submit(&principal(), waiting).await.unwrap().id;
    std::fs::remove_dir_all(&other).unwrap();
    server.service.cancel(&principal(), blocking).await.unwrap();
    let error = server.wait_for_end(waiting).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::ModelUnavailable, "{}", error.message);
    assert!(!error.message.contains(data.path().to_str().unwrap()), "{}", error.message);
    assert_eq!(server.wait_for_end(server.submit().await).await.state, JobState::Completed);
}

#[tokio::test]
async fn devices_share_the_queue_and_urgent_jobs_go_first() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 0 });
    control.plan(FakeFailure::Hang { after_steps: 0 });
    let server = server(data.path(), 2, &control).await;
    let blocking = [server.submit().await, server.submit().await];
    for id in blocking {
        server.wait_for(id, |state| state == JobState::Running).await;
    }
    assert_eq!(server.scheduler.devices().iter().filter(|device| !device.jobs.is_empty()).count(), 2);
    let ordinary = server.submit().await;
    let urgent = server.service.submit(&principal(), NewJob { priority: 1, ..new_job() }).await.unwrap().id;
    server.service.cancel(&principal(), blocking[0]).await.unwrap();
    let (ordinary, urgent) = (server.wait_for_end(ordinary).await, server.wait_for_end(urgent).await);
    assert!(urgent.started <= ordinary.started, "{:?} {:?}", urgent.started, ordinary.started);
    server.service.cancel(&principal(), blocking[1]).await.unwrap();
    server.wait_for_end(blocking[1]).await;
}

#[tokio::test]
async fn watchers_get_previews_and_a_bad_input_fails_its_job() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 0 });
    let server = server(data.path(), 1, &control).await;
    let blocker = server.submit().await;
    let watched = server.submit().await;
    let (_, mut events) = server.service.watch(&principal(), watched, Previews::Wanted).await.unwrap();
    let with_input = |png: Vec<u8>| NewJob { inputs: vec![init_image(png)], ..new_job() };
    let good = encode_png(64, 32, &[9; 64 * 32 * 3], &PngText::default()).unwrap();
    let good = server.service.submit(&principal(), with_input(good)).await.unwrap().id;
    let bad = server.service.submit(&principal(), with_input(b"junk".to_vec())).await.unwrap().id;
    server.service.cancel(&principal(), blocker).await.unwrap();
    let mut previews = Vec::new();
    while let Ok(event) = events.recv().await {
        if let JobEventKind::Preview { index, png, .. } = event.kind {
            assert!(decode_image(&png).is_ok());
            previews.push(index);
        }
    }
    previews.sort_unstable();
    assert_eq!(previews, [0, 0, 0, 1, 1, 1]);
    assert_eq!(server.wait_for_end(good).await.state, JobState::Completed);
    assert_eq!(server.wait_for_end(bad).await.error.unwrap().code, ErrorCode::StorageFailed);
    let mask = NewInput { purpose: InputPurpose::Mask, bytes: b"junk".to_vec().into() };
    let good = encode_png(64, 32, &[9; 64 * 32 * 3], &PngText::default()).unwrap();
    let masked = NewJob { inputs: vec![init_image(good), mask], ..new_job() };
    let masked = server.service.submit(&principal(), masked).await.unwrap().id;
    let error = server.wait_for_end(masked).await.error.unwrap();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::StorageFailed, "the mask cannot be read back from the storage"));
}
