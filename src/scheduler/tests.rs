//! Whole jobs through scheduler, fake devices and storage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::domain::{
    DeviceName, ErrorCode, ImageRequest, Job, JobEventKind, JobId, JobObserver, JobState, ModelId, Principal, Progress,
    SystemClock,
};
use crate::execution::results::{Attempt, EncodedPicture, store_pictures};
use crate::execution::{DeviceWorker, ExecutorOptions, FakeControl, FakeFailure};
use crate::jobs::{Database, JobService, JobServiceOptions, NewJob, Previews, SqliteJobStore};
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_png};
use crate::models::ModelCatalog;
use crate::storage::ArtifactStorage;

#[derive(Debug, Default)]
struct Ended(Mutex<Vec<JobState>>);

impl JobObserver for Ended {
    fn job_finished(&self, _model: &ModelId, state: JobState, _ran_seconds: f64) {
        self.0.lock().push(state);
    }
}

struct Server {
    service: JobService,
    storage: ArtifactStorage,
    scheduler: Scheduler,
    ended: Arc<Ended>,
}

/// A server on a data directory, with fake devices.
async fn server(data: &Path, devices: usize, control: &FakeControl) -> Server {
    std::fs::create_dir_all(data.join("models/m")).unwrap();
    std::fs::write(data.join("models/m/model_index.json"), "{}").unwrap();
    let database = Database::open(&data.join("jobs.db")).await.unwrap();
    let storage = ArtifactStorage::local(&data.join("outputs")).unwrap();
    let store = Arc::new(SqliteJobStore::new(database));
    let service = JobService::new(store, storage.clone(), Arc::new(SystemClock), JobServiceOptions::default());
    let options = ExecutorOptions { fake: control.clone(), ..ExecutorOptions::default() };
    let ended = Arc::new(Ended::default());
    let scheduler = Scheduler::start(SchedulerParts {
        runner: service.runner(),
        executors: DeviceWorker::open_all(&vec![DeviceName::Fake; devices], &options).unwrap(),
        models: ModelCatalog::open(vec![data.join("models")]),
        storage: storage.clone(),
        observer: ended.clone(),
        max_concurrent: devices,
    })
    .await
    .unwrap();
    Server { service, storage, scheduler, ended }
}

fn principal() -> Principal {
    Principal { user: "ann".parse().unwrap(), admin: false, key: None }
}

fn new_job() -> NewJob {
    NewJob {
        request: ImageRequest {
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
        },
        init_image_png: None,
        priority: 0,
        idempotency_key: None,
    }
}

impl Server {
    async fn submit(&self) -> JobId {
        self.service.submit(&principal(), new_job()).await.unwrap().id
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
        assert_eq!((picture.width, picture.height), (64, 32));
        let text = String::from_utf8_lossy(&bytes);
        let parameters = format!("Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: {}, Size: 64x32", artifact.seed);
        assert!(text.contains(&parameters), "{text}");
        assert!(text.contains(&format!("\"seed\":{}", artifact.seed)));
        assert!(decode_image(&server.storage.get(&artifact.thumbnail_key).await.unwrap()).is_ok());
    }
    assert!(server.service.estimate_seconds(&job.request).await.is_some());
    server.scheduler.shut_down(Duration::from_secs(10)).await;
    assert_eq!(*server.ended.0.lock(), [JobState::Completed]);
}

#[tokio::test]
async fn failures_end_their_job_and_leave_the_device_working() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Fail { after_steps: 2, code: ErrorCode::OutOfMemory });
    control.plan(FakeFailure::Panic { after_steps: 0 });
    let server = server(data.path(), 1, &control).await;
    for expected in [Some(ErrorCode::OutOfMemory), Some(ErrorCode::DeviceFailed), None] {
        let job = server.wait_for_end(server.submit().await).await;
        assert_eq!(job.error.map(|error| error.code), expected);
    }
    let mut unknown = new_job();
    unknown.request.model = "gone".parse().unwrap();
    let unknown = server.service.submit(&principal(), unknown).await.unwrap().id;
    let error = server.wait_for_end(unknown).await.error.unwrap();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::ModelUnavailable, "no model 'gone'; installed: m"));
    assert_eq!(server.scheduler.devices()[0].job, None);
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
    assert!(!server.ended.0.lock().contains(&JobState::Failed));
}

#[test]
fn what_ran_when_the_server_died_runs_again_and_ends_once() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 1 });
    // A runtime that is torn down in the middle of everything: as after kill -9, no task writes anything any more.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let jobs = runtime.block_on(async {
        let first = server(data.path(), 1, &control).await;
        let jobs = [first.submit().await, first.submit().await];
        first.wait_for(jobs[0], |state| state == JobState::Running).await;
        jobs
    });
    runtime.shutdown_background();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let second = server(data.path(), 1, &FakeControl::new(0)).await;
        for id in jobs {
            assert_eq!(second.wait_for_end(id).await.state, JobState::Completed);
        }
        second.scheduler.shut_down(Duration::from_secs(10)).await;
        assert_eq!(*second.ended.0.lock(), [JobState::Completed; 2]);
    });
}

#[tokio::test]
async fn every_picture_exists_once_after_a_crash_between_storing_and_finishing() {
    let data = data();
    let (picture, thumbnail) = {
        // A server that dies right after it has stored its pictures: the job still runs, the files are there.
        let database = Database::open(&data.path().join("jobs.db")).await.unwrap();
        let storage = ArtifactStorage::local(&data.path().join("outputs")).unwrap();
        let store = Arc::new(SqliteJobStore::new(database.clone()));
        let service = JobService::new(store, storage.clone(), Arc::new(SystemClock), JobServiceOptions::default());
        service.submit(&principal(), new_job()).await.unwrap();
        let ready = service.runner().ready(1).await.unwrap().pop().unwrap();
        let task = service.runner().claim(&ready).await.unwrap().unwrap();
        let encoded = EncodedPicture { width: 64, height: 32, seed: 7, png: "png".into(), thumbnail_jpeg: "jpeg".into() };
        let attempt = Attempt::new(&task.job, task.fence.attempt);
        let stored = store_pictures(&storage, &attempt, vec![encoded]).await.unwrap().pop().unwrap();
        database.close().await;
        (stored.key, stored.thumbnail_key)
    };
    let server = server(data.path(), 1, &FakeControl::new(0)).await;
    for key in [&picture, &thumbnail] {
        assert!(server.storage.get(key).await.is_err(), "{key} belongs to no job");
    }
    let id = server.service.list(&principal(), 1, None).await.unwrap()[0].id;
    let result = server.wait_for_end(id).await.result.unwrap();
    let stored = data.path().join("outputs/images").read_dir().unwrap().count();
    assert_eq!((stored, result.artifacts.len()), (2, 2));
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
    waiting.request.model = "other".parse().unwrap();
    let waiting = server.service.submit(&principal(), waiting).await.unwrap().id;
    std::fs::remove_dir_all(&other).unwrap();
    server.service.cancel(&principal(), blocking).await.unwrap();
    let error = server.wait_for_end(waiting).await.error.unwrap();
    assert_eq!(error.code, ErrorCode::ModelUnavailable, "{}", error.message);
    assert!(!error.message.contains(data.path().to_str().unwrap()), "{}", error.message);
    assert_eq!(server.wait_for_end(server.submit().await).await.state, JobState::Completed);
}

#[tokio::test]
async fn a_shutdown_gives_back_what_does_not_end_in_time() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 1 });
    let server = server(data.path(), 1, &control).await;
    let (hanging, waiting) = (server.submit().await, server.submit().await);
    server.wait_for(hanging, |state| state == JobState::Running).await;
    server.scheduler.shut_down(Duration::ZERO).await;
    for id in [hanging, waiting] {
        assert_eq!(server.service.get(&principal(), id).await.unwrap().state, JobState::Queued);
    }
    assert!(server.ended.0.lock().is_empty());
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
    assert_eq!(server.scheduler.devices().iter().filter(|device| device.job.is_some()).count(), 2);
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
    let with_input = |png: Vec<u8>| NewJob { init_image_png: Some(png.into()), ..new_job() };
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
    assert_eq!(previews, [0, 0, 0, 1, 1, 1]);
    assert_eq!(server.wait_for_end(good).await.state, JobState::Completed);
    assert_eq!(server.wait_for_end(bad).await.error.unwrap().code, ErrorCode::StorageFailed);
}
