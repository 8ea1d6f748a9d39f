//! The rules of [`JobService`], on SQLite, with the runner's part played by the tests.

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;

use super::store::{Outcome, StoreError};
use super::*;
use crate::domain::{ErrorCode, ImageRequest, Job, JobError, JobEventKind, JobId, JobState, Principal, Progress, SystemClock};
use crate::storage::{ArtifactStorage, StorageError};

struct Fixture {
    service: JobService,
    storage: ArtifactStorage,
    _directory: TempDir,
}

async fn fixture(queue_limit: u64) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("jobs.db")).await.unwrap();
    let storage = ArtifactStorage::local(&directory.path().join("outputs")).unwrap();
    let store = Arc::new(SqliteJobStore::new(database));
    let service = JobService::new(store, storage.clone(), Arc::new(SystemClock), JobServiceOptions { queue_limit });
    Fixture { service, storage, _directory: directory }
}

fn principal(user: &str) -> Principal {
    Principal { user: user.parse().unwrap(), admin: user == "root", key: None }
}

fn new_job() -> NewJob {
    NewJob {
        request: ImageRequest {
            model: "m".parse().unwrap(),
            prompt: "a red circle".to_owned(),
            negative_prompt: None,
            width: 100,
            height: 100,
            num_inference_steps: 10,
            guidance_scale: 1.0,
            seed: 1,
            sampler: None,
            num_images: 1,
            init_image: None,
            strength: 1.0,
        },
        init_image_png: None,
        priority: 0,
        idempotency_key: None,
    }
}

impl Fixture {
    async fn submit(&self, user: &str) -> Job {
        self.service.submit(&principal(user), new_job()).await.unwrap()
    }

    /// Claims the only waiting task.
    async fn claim(&self) -> runner::RunningTask {
        let runner = self.service.runner();
        let ready = runner.ready(1).await.unwrap().pop().unwrap();
        runner.claim(&ready).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn people_see_their_own_jobs_and_administrators_all() {
    let fixture = fixture(10).await;
    let service = &fixture.service;
    let (ann, bob) = (fixture.submit("ann").await.id, fixture.submit("bob").await.id);
    for (who, id, seen) in [
        ("ann", ann, true),
        ("ann", bob, false),
        ("bob", bob, true),
        ("bob", ann, false),
        ("root", ann, true),
        ("root", bob, true),
    ] {
        let who = principal(who);
        assert_eq!(service.get(&who, id).await.is_ok(), seen, "{who:?} gets {id}");
        assert_eq!(service.watch(&who, id, Previews::Unwanted).await.is_ok(), seen, "{who:?} watches {id}");
        if !seen {
            let cancelled = service.cancel(&who, id).await;
            assert!(matches!(cancelled, Err(JobServiceError::NotFound(hidden)) if hidden == id));
        }
    }
    let listed = async |who: &str| service.list(&principal(who), 10, None).await.unwrap().len();
    assert_eq!((listed("ann").await, listed("bob").await, listed("root").await, listed("eve").await), (1, 1, 2, 0));
    assert!(matches!(service.get(&principal("root"), JobId::generate()).await, Err(JobServiceError::NotFound(_))));
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_request() {
    let fixture = fixture(10).await;
    let keyed = |change: &dyn Fn(&mut NewJob)| {
        let mut job = NewJob { idempotency_key: Some("k".to_owned()), ..new_job() };
        change(&mut job);
        job
    };
    let submit = async |user: &str, job: NewJob| fixture.service.submit(&principal(user), job).await;
    let first = submit("ann", keyed(&|_| ())).await.unwrap();
    assert_eq!(submit("ann", keyed(&|_| ())).await.unwrap().id, first.id);
    assert_ne!(submit("bob", keyed(&|_| ())).await.unwrap().id, first.id);
    let conflicts: [&dyn Fn(&mut NewJob); 4] =
        [&|job| job.request.prompt.push('!'), &|job| job.request.seed = 99, &|job| job.priority = 1, &|job| {
            job.init_image_png = Some(Bytes::from_static(b"png"));
        }];
    for change in conflicts {
        assert!(matches!(submit("ann", keyed(change)).await, Err(JobServiceError::IdempotencyConflict)));
    }
    assert_eq!(fixture.service.counts().await.unwrap(), [(JobState::Queued, 2)]);
}

#[tokio::test]
async fn a_full_queue_and_a_closed_one_refuse() {
    let fixture = fixture(1).await;
    let with_picture = || NewJob { init_image_png: Some(Bytes::from_static(b"png")), ..new_job() };
    let accepted = fixture.service.submit(&principal("ann"), with_picture()).await.unwrap();
    let key = accepted.request.init_image.unwrap();
    assert_eq!(fixture.storage.get(&key).await.unwrap(), "png");
    let refused = fixture.service.submit(&principal("ann"), with_picture()).await;
    assert!(matches!(refused, Err(JobServiceError::QueueFull { limit: 1 })));
    let inputs = fixture.storage.local_path(&key).unwrap().parent().unwrap().read_dir().unwrap().count();
    assert_eq!(inputs, 1, "the refused job's picture is gone");
    fixture.service.close();
    assert!(matches!(fixture.service.submit(&principal("ann"), new_job()).await, Err(JobServiceError::ShuttingDown)));
    assert!(matches!(fixture.storage.get("inputs/none.png").await, Err(StorageError::NotFound(_))));
}

#[tokio::test]
async fn cancelling_depends_on_the_state() {
    let fixture = fixture(10).await;
    let (service, ann) = (&fixture.service, principal("ann"));
    let queued = fixture.submit("ann").await.id;
    let (_, mut events) = service.watch(&ann, queued, Previews::Unwanted).await.unwrap();
    assert_eq!(service.cancel(&ann, queued).await.unwrap().state, JobState::Cancelled);
    assert!(matches!(events.try_recv().unwrap().kind, JobEventKind::State { state: JobState::Cancelled, .. }));
    assert!(matches!(events.try_recv(), Err(TryRecvError::Closed)));
    assert_eq!(service.cancel(&ann, queued).await.unwrap().state, JobState::Cancelled, "again is fine");

    let running = fixture.submit("ann").await.id;
    let task = fixture.claim().await;
    assert!(!task.stop.is_cancelled());
    assert_eq!(service.cancel(&ann, running).await.unwrap().state, JobState::Running);
    assert!(task.stop.is_cancelled());
    let error = JobError { code: ErrorCode::Internal, message: "x".to_owned() };
    service.runner().finish(&task.fence, &Outcome::Failed(error), Progress::default()).await.unwrap();
    let late = service.cancel(&ann, running).await;
    assert!(matches!(late, Err(JobServiceError::AlreadyEnded { state: "failed", .. })));
}

#[tokio::test]
async fn watchers_see_the_job_then_every_event() {
    let fixture = fixture(10).await;
    let (service, runner, ann) = (&fixture.service, fixture.service.runner(), principal("ann"));
    let id = fixture.submit("ann").await.id;
    let (job, mut events) = service.watch(&ann, id, Previews::Wanted).await.unwrap();
    assert_eq!(job.state, JobState::Queued);
    let task = fixture.claim().await;
    assert!(task.previews.exists());
    let progress = Progress { step: 1, steps: 10 };
    runner.publish_progress(id, progress);
    runner.publish_preview(id, 0, progress, Bytes::from_static(b"png"));
    assert_eq!(service.get(&ann, id).await.unwrap().progress, progress, "fresher than the store");
    runner.release(&task.fence).await.unwrap();
    assert!(matches!(runner.release(&task.fence).await, Err(StoreError::LeaseLost)));
    assert_eq!(service.get(&ann, id).await.unwrap().progress, Progress::default());
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(match event.kind {
            JobEventKind::State { state, .. } => state.as_str(),
            JobEventKind::Progress(_) => "progress",
            JobEventKind::Preview { .. } => "preview",
        });
    }
    assert_eq!(seen, ["running", "progress", "preview", "queued"]);
    service.cancel(&ann, id).await.unwrap();
    let (job, mut after) = service.watch(&ann, id, Previews::Wanted).await.unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    assert!(matches!(after.try_recv(), Err(TryRecvError::Closed)));
}

#[tokio::test]
async fn estimates_include_the_queue() {
    let fixture = fixture(10).await;
    let (service, runner) = (&fixture.service, fixture.service.runner());
    let request = new_job().request;
    assert_eq!(service.estimate_seconds(&request).await, None);
    let job = fixture.submit("ann").await;
    runner.observe_speed(&job, 3.0);
    runner.set_devices(2);
    let estimate = service.estimate_seconds(&request).await.unwrap();
    assert!((estimate - 4.5).abs() < 1e-9, "own 3 s, and 3 s of waiting work on two devices: {estimate}");
}
