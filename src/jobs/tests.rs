//! The rules of [`JobService`], on SQLite, with the runner's part played by the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;

use super::store::{JobFilter, Outcome, Release, StoreError};
use super::*;
use crate::database::Database;
use crate::domain::film::tests::film;
use crate::domain::{
    Clock, CounterKey, ErrorCode, Holder, ImageRequest, Job, JobError, JobEventKind, JobId, JobRequest, JobResult, JobState,
    Meter, Principal, Progress, Reservation, Sha256Digest, Spent, SystemClock, TaskId, UnixMs, Unobserved,
};
use crate::storage::{ArtifactStorage, StorageError};

const LEASE: Duration = Duration::from_secs(15);

struct Fixture {
    service: JobService,
    storage: ArtifactStorage,
    directory: TempDir,
}

async fn fixture(queue_limit: u64) -> Fixture {
    fixture_at(queue_limit, Arc::new(SystemClock)).await
}

async fn fixture_at(queue_limit: u64, clock: Arc<dyn Clock>) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("jobs.db")).await.unwrap();
    let storage = ArtifactStorage::local(&directory.path().join("outputs")).unwrap();
    let store = store::open(&database);
    let service = JobService::new(store, storage.clone(), clock, JobServiceOptions { queue_limit });
    Fixture { service, storage, directory }
}

/// A clock that the test sets.
#[derive(Debug)]
struct Wound(AtomicI64);

impl Default for Wound {
    fn default() -> Self {
        Self(AtomicI64::new(1_000_000))
    }
}

impl Clock for Wound {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::Relaxed))
    }
}

fn principal(user: &str) -> Principal {
    Principal { user: user.parse().unwrap(), project: None, admin: user == "root", key: None }
}

fn named(name: &str, asked: &str) -> NamedRequest {
    NamedRequest { name: name.to_owned(), asked: Sha256Digest::of(asked.as_bytes()) }
}

fn new_job() -> NewJob {
    NewJob {
        request: JobRequest::Image(ImageRequest {
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

fn png() -> NewInput {
    NewInput { purpose: InputPurpose::InitImage, bytes: Bytes::from_static(b"png") }
}

/// One picture of a user's daily hundred.
fn picture_of(user: &str, limit: i64) -> Reservation {
    let key = CounterKey { holder: Holder::User(user.parse().unwrap()), meter: Meter::Images, window_start: UnixMs(1) };
    Reservation { key, amount: 1, limit: Some(limit), resets: None }
}

impl Fixture {
    async fn submit(&self, user: &str) -> Job {
        self.service.submit(&principal(user), new_job()).await.unwrap()
    }

    /// Claims every waiting task.
    async fn claim_all(&self, runner: &JobRunner) -> Vec<RunningTask> {
        let start = store::QueuePosition { queued: UnixMs(0), task: None };
        let waiting = runner.store().queued(start, 100).await.unwrap();
        let ids: Vec<(TaskId, JobId)> = waiting.iter().map(|task| (task.task, task.job)).collect();
        runner.claim(&ids, LEASE).await.unwrap()
    }

    async fn used(&self, reservation: &Reservation) -> i64 {
        let used = self.service.usage(std::slice::from_ref(&reservation.key)).await.unwrap();
        used.first().map_or(0, |(_, amount)| *amount)
    }
}

fn failed() -> Outcome {
    Outcome::Failed(JobError { code: ErrorCode::Internal, message: "x".to_owned() })
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
    let listed = async |who: &str| service.list(&principal(who), JobFilter::default(), 10, None).await.unwrap().len();
    assert_eq!((listed("ann").await, listed("bob").await, listed("root").await, listed("eve").await), (1, 1, 2, 0));
    assert!(matches!(service.get(&principal("root"), JobId::generate()).await, Err(JobServiceError::NotFound(_))));
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_request() {
    let fixture = fixture(10).await;
    let keyed = |change: &dyn Fn(&mut NewJob)| {
        let mut job = NewJob { idempotency_key: Some(named("k", "a red circle")), ..new_job() };
        change(&mut job);
        job
    };
    let submit = async |user: &str, job: NewJob| fixture.service.submit(&principal(user), job).await;
    let first = submit("ann", keyed(&|_| ())).await.unwrap();
    assert_eq!(submit("ann", keyed(&|_| ())).await.unwrap().id, first.id);
    assert_ne!(submit("bob", keyed(&|_| ())).await.unwrap().id, first.id);
    // What the server made of it may differ: what the client said is the same.
    let same: [&dyn Fn(&mut NewJob); 2] = [&|job| picture(job).num_inference_steps = 11, &|job| job.priority = 1];
    for change in same {
        assert_eq!(submit("ann", keyed(change)).await.unwrap().id, first.id);
    }
    let conflicts: [&dyn Fn(&mut NewJob); 3] = [
        &|job| job.idempotency_key = Some(named("k", "a blue circle")),
        &|job| job.project = Some("film".parse().unwrap()),
        &|job| job.inputs = vec![png()],
    ];
    for change in conflicts {
        assert!(matches!(submit("ann", keyed(change)).await, Err(JobServiceError::IdempotencyConflict)));
    }
    assert_eq!(fixture.service.counts().await.unwrap(), [(JobState::Queued, 2)]);
}

#[tokio::test]
async fn a_full_queue_and_a_closed_one_refuse() {
    let fixture = fixture(1).await;
    let with_picture = || NewJob { inputs: vec![png()], ..new_job() };
    let accepted = fixture.service.submit(&principal("ann"), with_picture()).await.unwrap();
    let key = accepted.request.inputs()[0].to_owned();
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
    let runner = service.runner();
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    assert!(!task.stop.is_cancelled());
    assert_eq!(service.cancel(&ann, running).await.unwrap().state, JobState::Running);
    assert!(task.stop.is_cancelled());
    runner.finish(&task, &failed(), Spent::default()).await.unwrap();
    let late = service.cancel(&ann, running).await;
    assert!(matches!(late, Err(JobServiceError::AlreadyEnded { state: "failed", .. })));
}

#[tokio::test]
async fn a_claim_that_fails_leaves_the_running_task_cancellable() {
    let fixture = fixture(10).await;
    let (service, runner) = (&fixture.service, fixture.service.runner());
    let id = fixture.submit("ann").await.id;
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    assert!(runner.claim(&[(task.fence.task, id)], LEASE).await.unwrap().is_empty());
    service.cancel(&principal("ann"), id).await.unwrap();
    assert!(task.stop.is_cancelled());
}

#[tokio::test]
async fn watchers_see_the_job_then_every_event() {
    let fixture = fixture(10).await;
    let (service, runner, ann) = (&fixture.service, fixture.service.runner(), principal("ann"));
    let id = fixture.submit("ann").await.id;
    let (job, mut events) = service.watch(&ann, id, Previews::Wanted).await.unwrap();
    assert_eq!(job.state, JobState::Queued);
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    assert!(task.previews.exists());
    let progress = Progress { step: 1, steps: 10 };
    runner.publish_progress(&task, progress);
    runner.publish_preview(id, 0, progress, Bytes::from_static(b"png"));
    assert_eq!(service.get(&ann, id).await.unwrap().progress, progress, "fresher than the store");
    runner.release(&task, &Release::default()).await.unwrap();
    assert!(matches!(runner.release(&task, &Release::default()).await, Err(StoreError::LeaseLost)));
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(match event.kind {
            JobEventKind::State { state, .. } => state.as_str(),
            JobEventKind::Progress(_) => "progress",
            JobEventKind::Preview { .. } => "preview",
            JobEventKind::Task(_) => "task",
        });
    }
    assert_eq!(seen, ["running", "progress", "preview", "queued"]);
    service.cancel(&ann, id).await.unwrap();
    let (job, mut after) = service.watch(&ann, id, Previews::Wanted).await.unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    assert!(matches!(after.try_recv(), Err(TryRecvError::Closed)));
}

#[tokio::test]
async fn a_project_key_sees_and_makes_only_its_projects_jobs() {
    let fixture = fixture(10).await;
    let service = &fixture.service;
    let film: crate::domain::ProjectId = "film".parse().unwrap();
    let keyed = Principal { project: Some(film.clone()), ..principal("ann") };
    let (outside, inside) = (fixture.submit("ann").await, service.submit(&keyed, new_job()).await.unwrap());
    assert_eq!(inside.project, Some(film.clone()));
    let foreign = NewJob { project: Some("other".parse().unwrap()), ..new_job() };
    assert_eq!(service.submit(&keyed, foreign).await.unwrap().project, Some(film.clone()), "the key decides");
    assert!(matches!(service.get(&keyed, outside.id).await, Err(JobServiceError::NotFound(_))));
    assert!(service.get(&keyed, inside.id).await.is_ok());
    let count = async |who: &Principal, filter: JobFilter| service.list(who, filter, 10, None).await.unwrap().len();
    assert_eq!(count(&keyed, JobFilter::default()).await, 2);
    assert_eq!(count(&keyed, JobFilter { project: Some("other".parse().unwrap()), ..JobFilter::default() }).await, 0);
    assert_eq!(count(&principal("ann"), JobFilter::default()).await, 3);
    assert_eq!(count(&principal("ann"), JobFilter { user: Some("bob".parse().unwrap()), ..JobFilter::default() }).await, 0);
    assert_eq!(count(&principal("root"), JobFilter { project: Some(film), ..JobFilter::default() }).await, 2);
    let cancelled = JobFilter { states: vec![JobState::Cancelled], ..JobFilter::default() };
    assert_eq!(count(&principal("root"), cancelled).await, 0);
}

#[tokio::test]
async fn quotas_are_taken_once_and_settled_by_what_was_spent() {
    let fixture = fixture(10).await;
    let (service, runner, ann) = (&fixture.service, fixture.service.runner(), principal("ann"));
    let reservation = picture_of("ann", 2);
    let job = |key: Option<&str>| NewJob {
        reservations: vec![reservation.clone()],
        idempotency_key: key.map(|key| named(key, "a red circle")),
        inputs: vec![png()],
        ..new_job()
    };
    let first = service.submit(&ann, job(Some("k"))).await.unwrap();
    assert_eq!(service.submit(&ann, job(Some("k"))).await.unwrap().id, first.id);
    assert_eq!(fixture.used(&reservation).await, 1, "an idempotent answer takes nothing");
    let second = service.submit(&ann, job(None)).await.unwrap();
    let refused = service.submit(&ann, job(None)).await;
    assert!(matches!(refused, Err(JobServiceError::Quota(refusal)) if refusal.used == 2));
    let inputs = fixture.storage.local_path("inputs/x").unwrap().parent().unwrap().read_dir().unwrap().count();
    assert_eq!(inputs, 2, "refused and repeated submissions leave no picture behind");
    service.cancel(&ann, second.id).await.unwrap();
    assert_eq!(fixture.used(&reservation).await, 1);
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    runner.finish(&task, &failed(), Spent::default()).await.unwrap();
    assert_eq!(fixture.used(&reservation).await, 0, "a failed job gives back what it did not use");
}

#[tokio::test]
async fn only_failed_and_cancelled_jobs_are_retried_with_all_they_had() {
    let fixture = fixture(10).await;
    let (service, runner, ann) = (&fixture.service, fixture.service.runner(), principal("ann"));
    let mask = NewInput { purpose: InputPurpose::Mask, bytes: Bytes::from_static(b"mask") };
    let mut job = NewJob { inputs: vec![png(), mask], priority: 3, ..new_job() };
    picture(&mut job).seed = 77;
    let first = service.submit(&ann, job).await.unwrap();
    assert!(matches!(
        service.retry(&ann, first.id, Retry::default(), Vec::new()).await,
        Err(JobServiceError::NotRetryable { state: "queued", .. })
    ));
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    runner.finish(&task, &failed(), Spent::default()).await.unwrap();
    assert!(matches!(
        service.retry(&principal("bob"), first.id, Retry::default(), Vec::new()).await,
        Err(JobServiceError::NotFound(_))
    ));
    let again = service.retry(&principal("root"), first.id, Retry::default(), vec![picture_of("ann", 9)]).await.unwrap();
    assert_eq!((&again.user, again.retry_of, again.state), (&ann.user, Some(first.id), JobState::Queued));
    assert_eq!((again.request.seed(), again.priority), (77, 3));
    let (old, new) = (first.request.inputs(), again.request.inputs());
    assert_eq!((old.len(), new.len()), (2, 2));
    for (index, bytes) in ["png", "mask"].into_iter().enumerate() {
        assert_ne!(old[index], new[index], "each has its own copy");
        assert_eq!(fixture.storage.get(new[index]).await.unwrap(), bytes);
    }
    assert_eq!(fixture.used(&picture_of("ann", 9)).await, 1);
}

#[tokio::test]
async fn what_a_film_has_taken_over_counts_from_its_beginning() {
    let fixture = fixture(10).await;
    let (service, runner, ann) = (&fixture.service, fixture.service.runner(), principal("ann"));
    let far = async |id: JobId| service.get(&ann, id).await.unwrap().progress;
    let left = || Outcome::Completed(JobResult { artifacts: Vec::new(), manifest: serde_json::Value::Null });
    let mut two_scenes = film(&[24, 24]);
    two_scenes.scenes[1].seed += 1;
    let first = service.submit(&ann, NewJob { request: two_scenes.into(), ..new_job() }).await.unwrap();
    assert_eq!(far(first.id).await, Progress::default());
    // Both keyframes, and the clip of one scene; the other's fails.
    for (role, outcome) in [("keyframe", left()), ("keyframe", left()), ("clip", left()), ("clip", failed())] {
        let mut tasks = fixture.claim_all(&runner).await;
        let task = tasks.remove(tasks.iter().position(|task| task.planned.role.as_str() == role).unwrap());
        for other in &tasks {
            runner.release(other, &Release::default()).await.unwrap();
        }
        let before = far(first.id).await;
        runner.finish(&task, &outcome, Spent::default()).await.unwrap();
        assert!(far(first.id).await.step >= before.step, "{:?}", task.planned.role);
    }

    let again = service.retry(&ann, first.id, Retry::default(), Vec::new()).await.unwrap();
    // Of two keyframes of 20 steps, two clips of 8, two scenes and the film.
    let taken_over = Progress { step: 48, steps: 59 };
    assert_eq!((again.progress, far(again.id).await), (taken_over, taken_over), "while it waits");
    let mut tasks = fixture.claim_all(&runner).await;
    assert_eq!(far(again.id).await, taken_over, "before a task says anything");
    let clip = tasks.remove(tasks.iter().position(|task| task.planned.role.as_str() == "clip").unwrap());
    runner.publish_progress(&clip, Progress { step: 3, steps: 8 });
    assert_eq!(far(again.id).await, Progress { step: 51, steps: 59 });
    runner.finish(&clip, &left(), Spent::default()).await.unwrap();
    for task in &tasks {
        runner.finish(task, &left(), Spent::default()).await.unwrap();
    }
    assert_eq!(far(again.id).await, Progress { step: 57, steps: 59 }, "between two tasks");
    let _next = fixture.claim_all(&runner).await;
    assert_eq!(far(again.id).await, Progress { step: 57, steps: 59 });
}

#[tokio::test]
async fn changes_of_the_queue_are_told_as_they_happen() {
    let fixture = fixture(10).await;
    let (service, runner, ann) = (&fixture.service, fixture.service.runner(), principal("ann"));
    runner.attach();
    let (first, second) = (fixture.submit("ann").await, fixture.submit("ann").await);
    service.set_priority(second.id, 7).await.unwrap();
    service.cancel(&ann, first.id).await.unwrap();
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    service.set_priority(second.id, 8).await.unwrap();
    runner.release(&task, &Release { alone: true, ..Release::default() }).await.unwrap();
    let told: Vec<String> = runner
        .changes()
        .iter()
        .map(|change| match change {
            QueueChange::Arrived(task) => format!("{} arrived at {}, alone {}", task.job, task.priority, task.alone),
            QueueChange::Left(job) => format!("{job} left"),
            QueueChange::Gone(task) => format!("{task} gone"),
            QueueChange::Reprioritized(job, priority) => format!("{job} to {priority}"),
        })
        .collect();
    let expected = [
        format!("{} arrived at 0, alone false", first.id),
        format!("{} arrived at 0, alone false", second.id),
        format!("{} to 7", second.id),
        format!("{} left", first.id),
        format!("{} arrived at 7, alone true", second.id),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn leases_are_renewed_together_and_bring_requests_to_stop() {
    let fixture = fixture(10).await;
    let runner = fixture.service.runner();
    let ids = [fixture.submit("ann").await.id, fixture.submit("ann").await.id];
    let tasks = fixture.claim_all(&runner).await;
    // As another server would: without this one's tokens.
    runner.store().request_cancel(ids[0], UnixMs(5)).await.unwrap();
    runner.publish_progress(&tasks[1], Progress { step: 4, steps: 9 });
    let until = tokio_util::sync::CancellationToken::new();
    let stopped = tasks.iter().find(|task| task.job.id == ids[0]).unwrap().stop.clone();
    tokio::select! {
        () = runner.keep_leases(Duration::from_millis(30), &Unobserved, &until) => {}
        () = stopped.cancelled() => {}
    }
    assert!(tasks.iter().filter(|task| task.stop.is_cancelled()).count() == 1);
    let stored = runner.store().job(tasks[1].job.id).await.unwrap();
    assert_eq!(stored.progress, Progress { step: 4, steps: 9 });
}

#[tokio::test]
async fn a_task_that_somebody_else_has_is_lost_and_nothing_of_it_is_written() {
    let fixture = fixture(10).await;
    let (runner, other) = (fixture.service.runner(), fixture.service.runner());
    fixture.submit("ann").await;
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    assert_eq!(other.give_back_expired(true, LEASE).await.unwrap().len(), 1);
    let theirs = fixture.claim_all(&other).await.pop().unwrap();
    let until = tokio_util::sync::CancellationToken::new();
    tokio::select! {
        () = runner.keep_leases(Duration::from_millis(30), &Unobserved, &until) => {}
        () = task.lost.cancelled() => {}
    }
    assert!(!runner.holds(task.fence.task) && other.holds(task.fence.task));
    assert!(matches!(runner.finish(&task, &failed(), Spent::default()).await, Err(StoreError::LeaseLost)));
    assert_eq!(other.finish(&theirs, &failed(), Spent::default()).await.unwrap().state, JobState::Failed);
}

#[tokio::test]
async fn a_claim_that_could_not_be_renewed_goes_back_to_the_queue() {
    let clock = Arc::new(Wound::default());
    let fixture = fixture_at(10, clock.clone()).await;
    let runner = fixture.service.runner();
    fixture.submit("ann").await;
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    runner.give_back_expired(false, LEASE).await.unwrap();
    // Nobody can write, and nothing waits whose claim could fail.
    let file = SqliteConnectOptions::new().filename(fixture.directory.path().join("jobs.db"));
    let mut in_the_way = SqliteConnection::connect_with(&file).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut in_the_way).await.unwrap();
    let until = tokio_util::sync::CancellationToken::new();
    tokio::time::pause();
    tokio::select! {
        () = runner.keep_leases(LEASE, &Unobserved, &until) => {}
        () = task.lost.cancelled() => {}
    }
    tokio::time::resume();
    sqlx::query("ROLLBACK").execute(&mut in_the_way).await.unwrap();
    assert!(!runner.holds(task.fence.task));
    assert!(runner.give_back_expired(false, LEASE).await.unwrap().is_empty(), "the lease has not ended");
    clock.0.fetch_add(LEASE.as_millis() as i64 + 1, Ordering::Relaxed);
    let given_back = runner.give_back_expired(false, LEASE).await.unwrap();
    assert_eq!(given_back.iter().map(|claim| &claim.fence).collect::<Vec<_>>(), [&task.fence]);
    let again = fixture.claim_all(&runner).await.pop().unwrap();
    assert_eq!(again.fence.attempt, task.fence.attempt + 1);
}

#[tokio::test]
async fn what_the_runner_holds_is_never_given_back_by_itself() {
    let clock = Arc::new(Wound::default());
    let fixture = fixture_at(10, clock.clone()).await;
    let runner = fixture.service.runner();
    fixture.submit("ann").await;
    let task = fixture.claim_all(&runner).await.pop().unwrap();
    clock.0.fetch_add(10 * LEASE.as_millis() as i64, Ordering::Relaxed);
    assert!(runner.give_back_expired(false, LEASE).await.unwrap().is_empty());
    runner.give_up(&task);
    assert!(!runner.holds(task.fence.task));
    assert_eq!(runner.give_back_expired(false, LEASE).await.unwrap().len(), 1);
}
