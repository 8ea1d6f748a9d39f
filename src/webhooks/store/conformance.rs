//! What every [`WebhookStore`] must do, and what the databases' triggers must write: each test runs on SQLite and on PostgreSQL.

use std::sync::Arc;

use rstest::rstest;

use super::*;
use crate::database::tests::{Adapter, TestDatabase};
use crate::domain::plan::plan;
use crate::domain::{
    Callback, CallbackEvent, ErrorCode, ImageRequest, Job, JobError, JobResult, JobState, Progress, Sha256Digest, Spent, TaskId,
};
use crate::jobs::store::{Claim, Ending, Inserted, JobStore, NewRecord, NewTask, Outcome, Release};

const LIMIT: u64 = 100;
const ACCEPTED: UnixMs = UnixMs(1_000);
const CLAIMED: UnixMs = UnixMs(2_000);
const ENDED: UnixMs = UnixMs(3_000);
const NOW: UnixMs = UnixMs(10_000);
const LATER: UnixMs = UnixMs(20_000);

struct Stores {
    jobs: Arc<dyn JobStore>,
    webhooks: Arc<dyn WebhookStore>,
    _test: TestDatabase,
}

async fn empty(adapter: Adapter) -> Option<Stores> {
    let test = TestDatabase::open(adapter).await?;
    Some(Stores { jobs: crate::jobs::store::open(&test.database), webhooks: open(&test.database), _test: test })
}

fn callback(host: &str, events: &[CallbackEvent]) -> Callback {
    Callback {
        url: format!("https://{host}/hook?secret=1"),
        host: host.to_owned(),
        events: events.to_vec(),
        format: CallbackFormat::Standard,
        base_url: Some("http://server".to_owned()),
    }
}

fn record(user: &str, callback: Option<Callback>) -> NewRecord {
    let request = ImageRequest {
        model: "m".parse().unwrap(),
        prompt: "x".to_owned(),
        negative_prompt: None,
        width: 64,
        height: 64,
        num_inference_steps: 4,
        guidance_scale: 3.0,
        seed: 7,
        sampler: None,
        num_images: 1,
        init_image: None,
        strength: 1.0,
        mask: None,
    };
    let job = Job {
        id: JobId::generate(),
        user: user.parse().unwrap(),
        project: Some("film".parse().unwrap()),
        retry_of: None,
        state: JobState::Queued,
        request: request.into(),
        priority: 0,
        progress: Progress::default(),
        created: ACCEPTED,
        started: None,
        finished: None,
        updated: ACCEPTED,
        result: None,
        error: None,
    };
    let planned = plan(&job.request).remove(0);
    NewRecord {
        tasks: vec![NewTask { id: TaskId::generate(), position: 0, planned, result: None }],
        idempotency_key: None,
        request_sha256: Sha256Digest::of(b"request"),
        reservations: Vec::new(),
        callback,
        job,
    }
}

impl Stores {
    async fn inserted(&self, record: NewRecord) -> NewRecord {
        assert_eq!(self.jobs.insert(&record, LIMIT).await.unwrap(), Inserted::New);
        record
    }

    async fn claimed(&self, record: &NewRecord) -> Claim {
        self.jobs.claim(&[record.tasks[0].id], "server", CLAIMED, UnixMs(9_000)).await.unwrap().remove(0)
    }

    async fn ended(&self, claim: &Claim, outcome: Outcome) {
        let ending = Ending { fence: claim.fence.clone(), outcome, progress: Progress::default(), spent: Spent::default() };
        self.jobs.finish(&ending, ENDED).await.unwrap();
    }

    /// A completed job of which this host is told.
    async fn completed(&self, user: &str, host: &str) -> DeliveryId {
        let record = self.inserted(record(user, Some(callback(host, &CallbackEvent::TERMINAL)))).await;
        let claim = self.claimed(&record).await;
        self.ended(&claim, completed()).await;
        DeliveryId { job: record.job.id, event: CallbackEvent::Completed }
    }

    async fn events_of(&self, job: JobId) -> Vec<(&'static str, UnixMs)> {
        let filter = DeliveryFilter { job: Some(job), ..DeliveryFilter::default() };
        let mut told: Vec<Delivery> = self.webhooks.list(&filter, None, 100).await.unwrap();
        told.sort_by_key(|delivery| delivery.created);
        told.into_iter().map(|delivery| (delivery.id.event.as_str(), delivery.created)).collect()
    }
}

fn bounds(per_user_and_host: usize, limit: usize) -> DueBounds {
    DueBounds { per_user_and_host, per_user: 100, limit, ..DueBounds::default() }
}

fn completed() -> Outcome {
    Outcome::Completed(JobResult { artifacts: Vec::new(), manifest: serde_json::Value::Null })
}

fn settlement(delivery: &Delivery, state: DeliveryState, due: UnixMs) -> Settlement {
    let error = (state != DeliveryState::Delivered).then(|| "no".to_owned());
    Settlement { id: delivery.id, attempt: delivery.attempts, state, due, http_status: Some(500), error }
}

#[rstest]
#[tokio::test]
async fn what_becomes_of_a_job_is_to_be_told(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    let all = |host: &str| Some(callback(host, &CallbackEvent::ALL));
    let record_of = |host: &str| record("ann", all(host));

    let one = stores.inserted(record_of("a")).await;
    assert_eq!(stores.events_of(one.job.id).await, [("accepted", ACCEPTED)]);
    let claim = stores.claimed(&one).await;
    stores.jobs.release(&claim.fence, &Release::default(), UnixMs(2_500)).await.unwrap();
    let claim = stores.jobs.claim(&[one.tasks[0].id], "server", UnixMs(2_700), UnixMs(9_000)).await.unwrap().remove(0);
    stores.ended(&claim, completed()).await;
    let told = [("accepted", ACCEPTED), ("started", CLAIMED), ("completed", ENDED)];
    assert_eq!(stores.events_of(one.job.id).await, told, "it began once");

    let failed = stores.inserted(record_of("a")).await;
    let error = JobError { code: ErrorCode::OutOfMemory, message: "too big".to_owned() };
    stores.ended(&stores.claimed(&failed).await, Outcome::Failed(error)).await;
    assert_eq!(stores.events_of(failed.job.id).await[2], ("failed", ENDED));

    let cancelled = stores.inserted(record_of("a")).await;
    stores.jobs.request_cancel(cancelled.job.id, ENDED).await.unwrap();
    assert_eq!(stores.events_of(cancelled.job.id).await, [("accepted", ACCEPTED), ("cancelled", ENDED)]);

    let terminal = stores.completed("ann", "a").await;
    assert_eq!(stores.events_of(terminal.job).await, [("completed", ENDED)], "no more than was asked for");
    let silent = stores.inserted(record("ann", None)).await;
    stores.ended(&stores.claimed(&silent).await, completed()).await;
    assert_eq!(stores.events_of(silent.job.id).await, []);
}

#[rstest]
#[tokio::test]
async fn a_refused_job_tells_nothing_and_one_that_is_tried_again_calls_back_as_before(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
) {
    let Some(stores) = empty(adapter).await else { return };
    let refused = record("ann", Some(callback("a", &CallbackEvent::ALL)));
    assert!(stores.jobs.insert(&refused, 0).await.is_err());
    assert_eq!(stores.events_of(refused.job.id).await, []);

    let first = stores.completed("ann", "a").await;
    let mut again = record("ann", None);
    again.job.retry_of = Some(first.job);
    let again = stores.inserted(again).await;
    stores.jobs.request_cancel(again.job.id, ENDED).await.unwrap();
    let id = DeliveryId { job: again.job.id, event: CallbackEvent::Cancelled };
    let told = stores.webhooks.delivery(id).await.unwrap().unwrap();
    assert_eq!((told.url.as_str(), told.format), ("https://a/hook?secret=1", CallbackFormat::Standard));
}

#[rstest]
#[tokio::test]
async fn a_due_delivery_is_claimed_once_and_settled_by_its_claim(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    let id = stores.completed("ann", "a").await;
    let store = &stores.webhooks;
    assert_eq!(store.due(UnixMs(ENDED.0 - 1), &bounds(4, 10)).await.unwrap(), []);
    assert_eq!(store.due(NOW, &bounds(4, 10)).await.unwrap(), [Due { id, user: "ann".parse().unwrap(), host: "a".to_owned() }]);
    let claimed = store.claim(&[id], NOW, LATER).await.unwrap().remove(0);
    assert_eq!((claimed.attempts, claimed.tries, claimed.due, claimed.state), (1, 1, LATER, DeliveryState::Pending));
    assert_eq!((claimed.user.as_str(), claimed.project.as_ref().unwrap().as_str()), ("ann", "film"));
    assert_eq!((claimed.created, claimed.base_url.as_deref()), (ENDED, Some("http://server")));
    assert!(store.claim(&[id], NOW, LATER).await.unwrap().is_empty(), "claimed once");
    assert_eq!(store.due(NOW, &bounds(4, 10)).await.unwrap(), []);

    // Whoever claimed it has died, or took too long.
    let again = store.claim(&[id], LATER, UnixMs(30_000)).await.unwrap().remove(0);
    assert_eq!(again.attempts, 2);
    assert!(!store.settle(&settlement(&claimed, DeliveryState::Delivered, NOW), LATER).await.unwrap(), "it is another's");
    assert!(store.settle(&settlement(&again, DeliveryState::Pending, UnixMs(25_000)), LATER).await.unwrap());
    let waiting = store.delivery(id).await.unwrap().unwrap();
    assert_eq!((waiting.state, waiting.due, waiting.http_status), (DeliveryState::Pending, UnixMs(25_000), Some(500)));
    assert_eq!((waiting.error.as_deref(), waiting.delivered, waiting.updated), (Some("no"), None, LATER));

    let last = store.claim(&[id], UnixMs(25_000), UnixMs(40_000)).await.unwrap().remove(0);
    assert!(store.settle(&settlement(&last, DeliveryState::Delivered, UnixMs(25_000)), UnixMs(26_000)).await.unwrap());
    let told = store.delivery(id).await.unwrap().unwrap();
    assert_eq!((told.state, told.delivered, told.error), (DeliveryState::Delivered, Some(UnixMs(26_000)), None));
    assert!(store.claim(&[id], UnixMs(i64::MAX), UnixMs(i64::MAX)).await.unwrap().is_empty());
}

#[rstest]
#[tokio::test]
async fn what_is_pending_is_counted_due_or_not(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    let store = &stores.webhooks;
    assert_eq!(store.backlog().await.unwrap(), Backlog::default());
    let accepted = stores.inserted(record("ann", Some(callback("a", &CallbackEvent::ALL)))).await;
    let ids = [stores.completed("ann", "a").await, stores.completed("bob", "b").await];
    assert_eq!(store.backlog().await.unwrap(), Backlog { waiting: 3, earliest_due: Some(ACCEPTED) });
    let told = DeliveryId { job: accepted.job.id, event: CallbackEvent::Accepted };
    let claimed = store.claim(&[told, ids[0], ids[1]], NOW, LATER).await.unwrap();
    let under_way = Backlog { waiting: 3, earliest_due: Some(LATER) };
    assert_eq!(store.backlog().await.unwrap(), under_way, "what is under way has not arrived");
    for delivery in &claimed {
        let state = match delivery.id {
            id if id == told => DeliveryState::Delivered,
            id if id == ids[0] => DeliveryState::Failed,
            _ => DeliveryState::Pending,
        };
        assert!(store.settle(&settlement(delivery, state, UnixMs(99_000)), NOW).await.unwrap());
    }
    assert_eq!(store.backlog().await.unwrap(), Backlog { waiting: 1, earliest_due: Some(UnixMs(99_000)) });
    store.replay(told, LATER).await.unwrap().unwrap();
    let replayed = Backlog { waiting: 2, earliest_due: Some(LATER) };
    assert_eq!(store.backlog().await.unwrap(), replayed, "what is sent once more is due now, however old it is");
}

#[rstest]
#[tokio::test]
async fn hosts_take_turns(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    for host in ["slow", "slow", "slow", "slow", "quick", "slow"] {
        stores.completed("ann", host).await;
    }
    let hosts = async |per_host: usize, limit: usize| {
        let due = stores.webhooks.due(NOW, &bounds(per_host, limit)).await.unwrap();
        due.into_iter().map(|due| due.host).collect::<Vec<_>>()
    };
    let first: Vec<String> = hosts(2, 2).await;
    assert!(first.contains(&"quick".to_owned()), "{first:?}");
    assert_eq!(hosts(2, 10).await.len(), 3);
    assert_eq!(hosts(100, 10).await.len(), 6);
}

#[rstest]
#[tokio::test]
async fn users_take_turns_whatever_waits_for_one_of_them(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    for host in ["a", "a", "a", "b", "c"] {
        stores.completed("ann", host).await;
    }
    for user in ["bob", "eve"] {
        stores.completed(user, "a").await;
    }
    let due = async |bounds: DueBounds| {
        let due = stores.webhooks.due(NOW, &bounds).await.unwrap();
        due.into_iter().map(|due| format!("{} {}", due.user, due.host)).collect::<Vec<_>>()
    };
    assert_eq!(due(bounds(4, 3)).await, ["ann a", "bob a", "eve a"], "each user's first");
    assert_eq!(due(bounds(4, 10)).await, ["ann a", "bob a", "eve a", "ann b", "ann c", "ann a", "ann a"]);
    let fewer = DueBounds { per_user: 2, ..bounds(4, 10) };
    assert_eq!(due(fewer).await, ["ann a", "bob a", "eve a", "ann b"]);
    let others = DueBounds { except_hosts: vec!["a".to_owned(), "c".to_owned()], ..bounds(4, 10) };
    assert_eq!(due(others).await, ["ann b"]);
    let others = DueBounds { except_users: vec!["ann".parse().unwrap(), "eve".parse().unwrap()], ..bounds(4, 10) };
    assert_eq!(due(others).await, ["bob a"]);
}

#[rstest]
#[tokio::test]
async fn lists_are_of_whom_and_of_what_is_asked(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    let (first, second, foreign) =
        (stores.completed("ann", "a").await, stores.completed("ann", "a").await, stores.completed("bob", "a").await);
    let list = async |filter: DeliveryFilter, before: Option<DeliveryId>, limit: u32| {
        let page = stores.webhooks.list(&filter, before, limit).await.unwrap();
        page.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    let of_ann = DeliveryFilter { user: Some("ann".parse().unwrap()), ..DeliveryFilter::default() };
    assert_eq!(list(DeliveryFilter::default(), None, 10).await, [foreign, second, first], "newest first");
    assert_eq!(list(of_ann.clone(), None, 10).await, [second, first]);
    assert_eq!(list(of_ann.clone(), None, 1).await, [second]);
    assert_eq!(list(of_ann.clone(), Some(second), 10).await, [first]);
    assert_eq!(list(DeliveryFilter { job: Some(foreign.job), ..of_ann.clone() }, None, 10).await, []);
    let other_project = DeliveryFilter { project: Some("other".parse().unwrap()), ..of_ann.clone() };
    assert_eq!(list(other_project, None, 10).await, []);
    assert_eq!(list(DeliveryFilter { state: Some(DeliveryState::Failed), ..of_ann.clone() }, None, 10).await, []);
    assert_eq!(list(DeliveryFilter { state: Some(DeliveryState::Pending), ..of_ann }, None, 10).await.len(), 2);
}

#[rstest]
#[tokio::test]
async fn what_was_given_up_is_sent_once_more_by_hand(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    let id = stores.completed("ann", "a").await;
    let claimed = stores.webhooks.claim(&[id], NOW, LATER).await.unwrap().remove(0);
    assert!(stores.webhooks.settle(&settlement(&claimed, DeliveryState::Failed, NOW), NOW).await.unwrap());
    assert_eq!(stores.webhooks.due(LATER, &bounds(4, 10)).await.unwrap(), []);
    let replayed = stores.webhooks.replay(id, LATER).await.unwrap().unwrap();
    assert_eq!((replayed.id, replayed.state, replayed.due), (id, DeliveryState::Pending, LATER));
    let again = stores.webhooks.claim(&[id], LATER, UnixMs(30_000)).await.unwrap().remove(0);
    assert_eq!((again.attempts, again.tries), (3, 1), "with all tries before it");
    // Asked for while a try is under way: what becomes of that one is not what becomes of the delivery.
    let replayed = stores.webhooks.replay(id, UnixMs(30_000)).await.unwrap().unwrap();
    assert!(!stores.webhooks.settle(&settlement(&again, DeliveryState::Delivered, LATER), LATER).await.unwrap());
    assert_eq!(
        (replayed.state, stores.webhooks.due(UnixMs(30_000), &bounds(4, 10)).await.unwrap().len()),
        (DeliveryState::Pending, 1)
    );
    let nobody = DeliveryId { job: JobId::generate(), event: CallbackEvent::Failed };
    assert_eq!(stores.webhooks.replay(nobody, LATER).await.unwrap(), None);
}

#[rstest]
#[tokio::test]
async fn deliveries_go_with_their_jobs(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(stores) = empty(adapter).await else { return };
    let (kept, gone) = (stores.completed("ann", "a").await, stores.completed("ann", "a").await);
    let claimed = stores.webhooks.claim(&[gone], NOW, LATER).await.unwrap().remove(0);
    assert_eq!(stores.jobs.forget(&[gone.job]).await.unwrap(), 1);
    assert_eq!(stores.webhooks.delivery(gone).await.unwrap(), None);
    assert!(!stores.webhooks.settle(&settlement(&claimed, DeliveryState::Delivered, NOW), NOW).await.unwrap());
    assert!(stores.webhooks.delivery(kept).await.unwrap().is_some());
}
