//! What every [`JobStore`] must do. Each database's tests run all of these on an empty store.

use std::future::Future;

use super::*;
use crate::domain::{Artifact, ErrorCode, ImageRequest};

const LIMIT: u64 = 100;

pub(crate) fn record(user: &str) -> NewRecord {
    let request = ImageRequest {
        model: "m".parse().unwrap(),
        prompt: "a red circle ⭕".to_owned(),
        negative_prompt: Some(String::new()),
        width: 64,
        height: 64,
        num_inference_steps: 4,
        guidance_scale: 3.3,
        seed: u64::MAX,
        sampler: None,
        num_images: 1,
        init_image: None,
        strength: 1.0,
    };
    let job = Job {
        id: JobId::generate(),
        user: user.parse().unwrap(),
        state: JobState::Queued,
        request,
        priority: 0,
        progress: Progress::default(),
        created: UnixMs(1000),
        started: None,
        finished: None,
        updated: UnixMs(1000),
        result: None,
        error: None,
    };
    NewRecord {
        task: TaskId::generate(),
        task_key: Sha256Digest::of(job.id.to_string().as_bytes()),
        work: 2.0,
        idempotency_key: None,
        request_sha256: Sha256Digest::of(b"request"),
        job,
    }
}

fn completed() -> Outcome {
    Outcome::Completed(JobResult {
        artifacts: vec![Artifact {
            key: "images/a.png".to_owned(),
            thumbnail_key: "thumbnails/a.jpg".to_owned(),
            media_type: "image/png".to_owned(),
            width: 64,
            height: 64,
            bytes: 10,
            sha256: "00".to_owned(),
            seed: u64::MAX,
        }],
        manifest: serde_json::json!({"seed": u64::MAX}),
    })
}

fn failed() -> Outcome {
    Outcome::Failed(JobError { code: ErrorCode::OutOfMemory, message: "too big".to_owned() })
}

async fn inserted(store: &dyn JobStore) -> NewRecord {
    let record = record("ann");
    assert_eq!(store.insert(&record, LIMIT).await.unwrap(), Inserted::New);
    record
}

async fn claim(store: &dyn JobStore, record: &NewRecord) -> Claim {
    store.claim(record.task, "owner", UnixMs(2000), UnixMs(9000)).await.unwrap().unwrap()
}

/// Runs every check, each on a store of its own.
pub(crate) async fn run_all<S, F>(empty: impl Fn() -> F)
where
    S: JobStore,
    F: Future<Output = S>,
{
    what_is_stored_comes_back(&empty().await).await;
    one_claim_wins(&empty().await).await;
    every_outcome_is_final(&empty().await).await;
    a_lost_task_cannot_be_written(&empty().await).await;
    idempotency_keys_are_per_user(&empty().await).await;
    the_queue_is_bounded(&empty().await).await;
    priority_goes_before_age(&empty().await).await;
    cancel_depends_on_the_state(&empty().await).await;
    a_restart_requeues_what_ran(&empty().await).await;
    lists_are_newest_first_and_paged(&empty().await).await;
    unfinished_work_is_summed(&empty().await).await;
}

async fn what_is_stored_comes_back(store: &dyn JobStore) {
    let record = inserted(store).await;
    assert_eq!(store.job(record.job.id).await.unwrap(), record.job);
    let unknown = JobId::generate();
    assert!(matches!(store.job(unknown).await, Err(StoreError::NotFound(id)) if id == unknown));
    let claimed = claim(store, &record).await;
    assert_eq!(claimed.job.started, Some(UnixMs(2000)));
    let progress = Progress { step: 3, steps: 4 };
    assert!(!store.record_progress(&claimed.fence, progress, UnixMs(2500)).await.unwrap());
    let running = store.job(record.job.id).await.unwrap();
    assert_eq!((running.state, running.progress, running.updated), (JobState::Running, progress, UnixMs(2500)));
    let done = store.finish(&claimed.fence, &completed(), Progress { step: 4, steps: 4 }, UnixMs(3000)).await.unwrap();
    let Outcome::Completed(result) = completed() else { unreachable!() };
    assert_eq!(done.result, Some(result));
    assert_eq!((done.state, done.finished, done.progress.step), (JobState::Completed, Some(UnixMs(3000)), 4));
    assert_eq!(store.job(record.job.id).await.unwrap(), done);
    assert_eq!(store.counts().await.unwrap(), [(JobState::Completed, 1)]);
}

async fn one_claim_wins(store: &dyn JobStore) {
    let record = inserted(store).await;
    let claims = (0..8).map(|_| store.claim(record.task, "owner", UnixMs(2000), UnixMs(9000)));
    let won = futures_util::future::join_all(claims).await.into_iter().filter(|claim| claim.as_ref().unwrap().is_some()).count();
    assert_eq!(won, 1);
    assert!(store.ready(10).await.unwrap().is_empty());
}

async fn every_outcome_is_final(store: &dyn JobStore) {
    for outcome in [completed(), failed(), Outcome::Cancelled] {
        let record = inserted(store).await;
        let fence = claim(store, &record).await.fence;
        let ended = store.finish(&fence, &outcome, Progress::default(), UnixMs(3000)).await.unwrap();
        assert_eq!(ended.state, outcome.state());
        assert_eq!(ended.error.is_some(), ended.state == JobState::Failed);
        for again in [completed(), failed(), Outcome::Cancelled] {
            let late = store.finish(&fence, &again, Progress::default(), UnixMs(4000)).await;
            assert!(matches!(late, Err(StoreError::LeaseLost)));
        }
        assert!(matches!(store.release(&fence, UnixMs(4000)).await, Err(StoreError::LeaseLost)));
        assert_eq!(store.request_cancel(record.job.id, UnixMs(4000)).await.unwrap(), (ended.state, ended.clone()));
        assert!(store.claim(record.task, "owner", UnixMs(4000), UnixMs(9000)).await.unwrap().is_none());
        assert_eq!(store.release_all(UnixMs(4000)).await.unwrap(), 0);
        assert_eq!(store.job(record.job.id).await.unwrap(), ended);
    }
}

async fn a_lost_task_cannot_be_written(store: &dyn JobStore) {
    let record = inserted(store).await;
    let first = claim(store, &record).await.fence;
    let back = store.release(&first, UnixMs(2500)).await.unwrap();
    assert_eq!((back.state, back.started, back.progress), (JobState::Queued, None, Progress::default()));
    let second = claim(store, &record).await.fence;
    assert_eq!(second.attempt, first.attempt + 1);
    let stranger = Fence { owner: "somebody else".to_owned(), ..second.clone() };
    for fence in [&first, &stranger] {
        let progress = store.record_progress(fence, Progress { step: 1, steps: 4 }, UnixMs(3000)).await;
        assert!(matches!(progress, Err(StoreError::LeaseLost)));
        let finish = store.finish(fence, &completed(), Progress::default(), UnixMs(3000)).await;
        assert!(matches!(finish, Err(StoreError::LeaseLost)));
        assert!(matches!(store.release(fence, UnixMs(3000)).await, Err(StoreError::LeaseLost)));
    }
    let job = store.job(record.job.id).await.unwrap();
    assert_eq!((job.state, job.progress, job.result), (JobState::Running, Progress::default(), None));
    store.finish(&second, &failed(), Progress::default(), UnixMs(4000)).await.unwrap();
}

async fn idempotency_keys_are_per_user(store: &dyn JobStore) {
    let keyed = |user: &str, request: &[u8]| NewRecord {
        idempotency_key: Some("k".to_owned()),
        request_sha256: Sha256Digest::of(request),
        ..record(user)
    };
    let first = keyed("ann", b"one");
    assert_eq!(store.insert(&first, 2).await.unwrap(), Inserted::New);
    let again = store.insert(&keyed("ann", b"one"), 1).await.unwrap();
    assert_eq!(again, Inserted::Existing(Box::new(first.job)), "even when the queue is full");
    assert!(matches!(store.insert(&keyed("ann", b"two"), 2).await, Err(StoreError::Duplicate)));
    assert_eq!(store.insert(&keyed("bob", b"two"), 2).await.unwrap(), Inserted::New);
    assert_eq!(store.counts().await.unwrap(), [(JobState::Queued, 2)]);
}

async fn the_queue_is_bounded(store: &dyn JobStore) {
    let first = inserted(store).await;
    assert!(matches!(store.insert(&record("bob"), 1).await, Err(StoreError::QueueFull(1))));
    claim(store, &first).await;
    assert_eq!(store.insert(&record("bob"), 1).await.unwrap(), Inserted::New, "a running job does not wait");
}

async fn priority_goes_before_age(store: &dyn JobStore) {
    let mut expected = Vec::new();
    for (priority, created) in [(0, 30), (5, 40), (0, 10), (-5, 1), (5, 50)] {
        let mut record = record("ann");
        record.job.priority = priority;
        record.job.created = UnixMs(created);
        store.insert(&record, LIMIT).await.unwrap();
        expected.push((-priority, created, record.task));
    }
    expected.sort();
    let ready: Vec<TaskId> = store.ready(4).await.unwrap().into_iter().map(|ready| ready.task).collect();
    assert_eq!(ready, expected[..4].iter().map(|(_, _, task)| *task).collect::<Vec<_>>());
}

async fn cancel_depends_on_the_state(store: &dyn JobStore) {
    let queued = inserted(store).await;
    let (before, job) = store.request_cancel(queued.job.id, UnixMs(3000)).await.unwrap();
    assert_eq!((before, job.state, job.finished), (JobState::Queued, JobState::Cancelled, Some(UnixMs(3000))));
    assert!(store.ready(10).await.unwrap().is_empty());
    assert!(store.claim(queued.task, "owner", UnixMs(3000), UnixMs(9000)).await.unwrap().is_none());

    let running = inserted(store).await;
    let fence = claim(store, &running).await.fence;
    for _ in 0..2 {
        let (before, job) = store.request_cancel(running.job.id, UnixMs(3000)).await.unwrap();
        assert_eq!((before, job.state), (JobState::Running, JobState::Running));
    }
    assert!(store.record_progress(&fence, Progress::default(), UnixMs(3000)).await.unwrap(), "whoever runs it is told");
    let released = store.release(&fence, UnixMs(4000)).await.unwrap();
    assert_eq!((released.state, released.finished), (JobState::Cancelled, Some(UnixMs(4000))), "not run again");
    assert!(store.ready(10).await.unwrap().is_empty());
    let unknown = store.request_cancel(JobId::generate(), UnixMs(1)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(_))));
}

async fn a_restart_requeues_what_ran(store: &dyn JobStore) {
    let (waiting, running, stopping) = (inserted(store).await, inserted(store).await, inserted(store).await);
    let old = claim(store, &running).await.fence;
    claim(store, &stopping).await;
    store.request_cancel(stopping.job.id, UnixMs(3000)).await.unwrap();
    let left = store.running().await.unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().any(|claim| claim.fence == old && claim.job.state == JobState::Running));
    assert_eq!(store.release_all(UnixMs(5000)).await.unwrap(), 2);
    let state = async |record: &NewRecord| store.job(record.job.id).await.unwrap().state;
    assert_eq!(state(&waiting).await, JobState::Queued);
    assert_eq!(state(&running).await, JobState::Queued);
    assert_eq!(state(&stopping).await, JobState::Cancelled);
    assert_eq!(store.ready(10).await.unwrap().len(), 2);
    assert_eq!(store.running().await.unwrap(), []);
    let new = claim(store, &running).await.fence;
    let late = store.finish(&old, &completed(), Progress::default(), UnixMs(6000)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)));
    store.finish(&new, &completed(), Progress::default(), UnixMs(6000)).await.unwrap();
}

async fn lists_are_newest_first_and_paged(store: &dyn JobStore) {
    let mut ids = Vec::new();
    for user in ["ann", "bob", "ann", "ann"] {
        let record = record(user);
        store.insert(&record, LIMIT).await.unwrap();
        ids.push(record.job.id);
    }
    let list = async |user: Option<&str>, before: Option<JobId>, limit: u32| -> Vec<JobId> {
        let user = user.map(|user| user.parse().unwrap());
        store.jobs(user.as_ref(), before, limit).await.unwrap().into_iter().map(|job| job.id).collect()
    };
    assert_eq!(list(None, None, 10).await, [ids[3], ids[2], ids[1], ids[0]]);
    assert_eq!(list(Some("ann"), None, 2).await, [ids[3], ids[2]]);
    assert_eq!(list(Some("ann"), Some(ids[2]), 2).await, [ids[0]]);
    assert_eq!(list(Some("bob"), Some(ids[0]), 2).await, []);
}

async fn unfinished_work_is_summed(store: &dyn JobStore) {
    assert!(store.unfinished_work().await.unwrap().is_empty());
    let (first, _second) = (inserted(store).await, inserted(store).await);
    let fence = claim(store, &first).await.fence;
    assert_eq!(store.unfinished_work().await.unwrap(), [("m".parse().unwrap(), 4.0)]);
    store.finish(&fence, &failed(), Progress::default(), UnixMs(3000)).await.unwrap();
    assert_eq!(store.unfinished_work().await.unwrap(), [("m".parse().unwrap(), 2.0)]);
}
