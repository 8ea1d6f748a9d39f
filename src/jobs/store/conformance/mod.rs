//! What every [`JobStore`] must do: each test runs on SQLite and on PostgreSQL.

mod calls;
mod concurrency;
mod films;
mod leases;
mod lifecycle;
mod migration;
mod pages;
mod queue;
mod quotas;
mod routes;
mod running_out;
mod throughput;
mod unreadable;

use super::*;
use crate::database::tests::{Adapter, TestDatabase};
use crate::domain::plan::{plan, ready};
use crate::domain::{Artifact, ErrorCode, Holder, ImageRequest, JobRequest, Meter};

/// Tasks that may wait, where a test does not care.
const LIMIT: u64 = 10_000;
const NOW: UnixMs = UnixMs(2_000);
const LEASE_END: UnixMs = UnixMs(9_000);
const START: QueuePosition = QueuePosition { queued: UnixMs(0), task: None };

/// An empty store.
async fn empty(adapter: Adapter) -> Option<(Arc<dyn JobStore>, TestDatabase)> {
    let test = TestDatabase::open(adapter).await?;
    Some((open(&test.database), test))
}

fn record(user: &str) -> NewRecord {
    let request = ImageRequest {
        model: "m".parse().unwrap(),
        prompt: "a red circle ⭕\0".to_owned(),
        negative_prompt: Some(String::new()),
        width: 64,
        height: 96,
        num_inference_steps: 4,
        guidance_scale: 3.3,
        seed: u64::MAX,
        sampler: None,
        num_images: 3,
        init_image: None,
        strength: 1.0,
        mask: None,
    };
    with_request(user, request.into())
}

/// A job with the tasks that can run at once.
fn with_request(user: &str, request: JobRequest) -> NewRecord {
    let job = Job {
        id: JobId::generate(),
        user: user.parse().unwrap(),
        project: None,
        retry_of: None,
        state: JobState::Queued,
        request,
        priority: 0,
        progress: Progress::default(),
        created: UnixMs(1_000),
        started: None,
        finished: None,
        updated: UnixMs(1_000),
        result: None,
        error: None,
    };
    let plan = plan(&job.request);
    let first = ready(&plan, 0, |_| None).into_iter();
    let task =
        |position: u32| NewTask { id: TaskId::generate(), position, planned: plan[position as usize].clone(), result: None };
    NewRecord {
        tasks: first.map(task).collect(),
        idempotency_key: None,
        request_sha256: Sha256Digest::of(b"request"),
        reservations: Vec::new(),
        callback: None,
        job,
    }
}

impl NewRecord {
    /// The first, and of a job of one task the only, of its tasks.
    fn task(&self) -> TaskId {
        self.tasks[0].id
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
            video: None,
        }],
        manifest: serde_json::json!({"seed": u64::MAX}),
    })
}

/// With a number that, unlike most, is another one when it is read back from its text.
fn completed_oddly() -> Outcome {
    Outcome::Completed(JobResult { artifacts: Vec::new(), manifest: serde_json::json!({"scale": 94.527_069_555_392_23}) })
}

fn failed() -> Outcome {
    Outcome::Failed(JobError { code: ErrorCode::OutOfMemory, message: "too big".to_owned() })
}

fn ending(fence: &Fence, outcome: Outcome) -> Ending {
    Ending { fence: fence.clone(), outcome, progress: Progress { step: 4, steps: 4 }, spent: Spent::default() }
}

async fn inserted(store: &dyn JobStore) -> NewRecord {
    let record = record("ann");
    assert_eq!(store.insert(&record, LIMIT).await.unwrap(), Inserted::New);
    record
}

async fn try_claim(store: &dyn JobStore, record: &NewRecord, owner: &str) -> Option<Claim> {
    store.claim(&[record.task()], owner, NOW, LEASE_END).await.unwrap().pop()
}

async fn claim(store: &dyn JobStore, record: &NewRecord) -> Claim {
    try_claim(store, record, "owner").await.unwrap()
}

async fn state(store: &dyn JobStore, record: &NewRecord) -> JobState {
    store.job(record.job.id).await.unwrap().state
}

async fn waiting(store: &dyn JobStore) -> Vec<TaskId> {
    store.queued(START, 100).await.unwrap().into_iter().map(|queued| queued.task).collect()
}
