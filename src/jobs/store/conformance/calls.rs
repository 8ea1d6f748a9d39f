//! Calls to providers that outlive the tasks that they were made for.

use rstest::rstest;

use super::quotas::{key, reservation, used};
use super::*;
use crate::domain::job_request::tests::remote;
use crate::domain::{CallId, Micros, ProviderId};
use crate::ledger::{self, AbandonedFilter, CallEnding, CallState, Ledger, NewCall, TaskHold};

fn call_for(record: &NewRecord, created: i64) -> NewCall {
    NewCall {
        id: CallId::generate(),
        task: record.task(),
        job: record.job.id,
        user: record.job.user.clone(),
        project: None,
        provider: "minimax".parse().unwrap(),
        model: "a model".to_owned(),
        key: "main".parse().unwrap(),
        our_id: "ours".to_owned(),
        estimated: Micros::new(280),
        created: UnixMs(created),
    }
}

/// A job of a provider's, which takes 280 beforehand.
async fn inserted_remote(store: &dyn JobStore) -> NewRecord {
    let mut record = with_request("ann", remote("minimax").into());
    record.reservations = vec![reservation(Meter::CostMicros, 5, 280, Some(1_000)), reservation(Meter::Videos, 5, 1, None)];
    store.insert(&record, LIMIT).await.unwrap();
    record
}

async fn taken(ledger: &dyn Ledger, providers: &[&str], now: i64, or_begun_before: i64) -> Vec<CallId> {
    let wanted = AbandonedFilter {
        providers: providers.iter().map(|name| name.parse().unwrap()).collect::<Vec<ProviderId>>(),
        or_begun_before: UnixMs(or_begun_before),
        unanswered_before: UnixMs(now - 100),
        now: UnixMs(now),
    };
    let taken = ledger.take_abandoned(&wanted, UnixMs(now + 50), 10).await.unwrap();
    taken.into_iter().map(|call| call.call.id).collect()
}

#[rstest]
#[tokio::test]
async fn calls_are_abandoned_when_their_tasks_have_ended(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let record = inserted_remote(&*store).await;
    let claim = claim(&*store, &record).await;
    let call = call_for(&record, 1_000);
    assert!(ledger.begin(&call, None).await.unwrap());
    ledger.taken(call.id, "theirs", UnixMs(1_001)).await.unwrap();
    assert!(taken(&*ledger, &["minimax"], 5_000, 0).await.is_empty(), "its task runs");
    store.release(&claim.fence, &Release::default(), NOW).await.unwrap();
    assert!(taken(&*ledger, &["minimax"], 5_000, 0).await.is_empty(), "its task waits to be taken up again");
    assert_eq!(store.request_cancel(record.job.id, NOW).await.unwrap().1.state, JobState::Cancelled);
    assert!(taken(&*ledger, &["aliyun"], 5_000, 1_000).await.is_empty(), "nobody here knows its provider");
    assert_eq!(taken(&*ledger, &["aliyun", "minimax"], 5_000, 0).await, [call.id]);
    assert!(taken(&*ledger, &["minimax"], 5_049, 0).await.is_empty(), "somebody has it");
    assert_eq!(taken(&*ledger, &[], 5_050, 1_001).await, [call.id], "it is old");

    // One that was not answered may be answered yet.
    let unanswered = call_for(&record, 5_950);
    assert!(ledger.begin(&unanswered, None).await.unwrap());
    let ending = CallEnding { state: CallState::Cancelled, settled: Micros::new(280), failure: None };
    assert!(ledger.end(call.id, &ending, UnixMs(6_000)).await.unwrap());
    assert!(taken(&*ledger, &["minimax"], 6_050, 0).await.is_empty());
    assert_eq!(taken(&*ledger, &["minimax"], 6_051, 0).await, [unanswered.id]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_is_taken_by_one_of_many(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((_, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let call = call_for(&with_request("ann", remote("minimax").into()), 1_000);
    assert!(ledger.begin(&call, None).await.unwrap());
    let takers = (0..16).map(|_| taken(&*ledger, &["minimax"], 5_000, 0));
    let takers = futures_util::future::join_all(takers).await;
    assert_eq!(takers.concat(), [call.id]);
}

#[rstest]
#[tokio::test]
async fn a_call_begins_for_whoever_holds_its_task_and_for_nobody_else(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let record = inserted_remote(&*store).await;
    let begins = async |attempt, owner: &str| {
        let hold = TaskHold { attempt, owner: owner.to_owned() };
        ledger.begin(&call_for(&record, 1_000), Some(&hold)).await.unwrap()
    };
    assert!(!begins(0, "owner").await, "nobody holds it");
    let first = claim(&*store, &record).await;
    for (attempt, owner, expected) in [(1, "owner", true), (1, "another", false), (0, "owner", false), (2, "owner", false)] {
        assert_eq!(begins(attempt, owner).await, expected, "{attempt} {owner}");
    }
    // Begun, and its answer lost: it is there, though the task has gone on.
    let (call, hold) = (call_for(&record, 1_000), TaskHold { attempt: 1, owner: "owner".to_owned() });
    assert!(ledger.begin(&call, Some(&hold)).await.unwrap());
    store.release(&first.fence, &Release::default(), NOW).await.unwrap();
    assert!(ledger.begin(&call, Some(&hold)).await.unwrap());
    assert!(!begins(1, "owner").await, "it waits");
    try_claim(&*store, &record, "another").await.unwrap();
    assert!(!begins(1, "owner").await && begins(2, "another").await);
}

#[rstest]
#[tokio::test]
async fn a_waiting_task_says_whether_its_provider_works_for_it(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let record = inserted_remote(&*store).await;
    let is_open = async || store.queued(START, 9).await.unwrap().pop().map(|task| task.has_open_call);
    assert_eq!(is_open().await, Some(false));
    let held = claim(&*store, &record).await;
    let call = call_for(&record, 1_000);
    assert!(ledger.begin(&call, None).await.unwrap());
    assert_eq!(is_open().await, None);
    store.release(&held.fence, &Release::default(), NOW).await.unwrap();
    assert_eq!(is_open().await, Some(true));
    let ending = CallEnding { state: CallState::Failed, settled: Micros::ZERO, failure: None };
    assert!(ledger.end(call.id, &ending, UnixMs(3_000)).await.unwrap());
    assert_eq!(is_open().await, Some(false), "it was turned away at the door");
}

#[rstest]
#[tokio::test]
async fn what_a_call_costs_that_outlived_its_job_is_charged_once(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let (costs, videos) = (key("ann", Meter::CostMicros, 5), key("ann", Meter::Videos, 5));
    let record = inserted_remote(&*store).await;
    let (job, task) = (record.job.id, record.task());
    let claim = claim(&*store, &record).await;
    store.charge_late(job, task, 200).await.unwrap();
    store.release(&claim.fence, &Release::default(), NOW).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(280), "a task that goes on says itself what it cost");
    store.request_cancel(job, NOW).await.unwrap();
    assert_eq!((used(&*store, &costs).await, used(&*store, &videos).await), (Some(0), Some(0)));
    for (cost, expected) in [(280, 280), (280, 280), (150, 150), (0, 0), (280, 280)] {
        store.charge_late(job, task, cost).await.unwrap();
        assert_eq!((used(&*store, &costs).await, used(&*store, &videos).await), (Some(expected), Some(0)));
    }
    store.charge_late(job, TaskId::generate(), 5).await.unwrap();
    store.charge_late(JobId::generate(), task, 5).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(280));
    assert_eq!(state(&*store, &record).await, JobState::Cancelled);
}

#[rstest]
#[tokio::test]
async fn what_a_target_cost_that_was_passed_on_is_charged_with_its_job(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let routed =
        crate::domain::RoutedRequest::new("best".parse().unwrap(), vec![remote("first").into(), remote("second").into()]);
    let mut record = with_request("ann", routed.unwrap().into());
    record.reservations = vec![reservation(Meter::CostMicros, 5, 280, None)];
    store.insert(&record, LIMIT).await.unwrap();
    let costs = key("ann", Meter::CostMicros, 5);
    let first = claim(&*store, &record).await;
    let error = JobError { code: ErrorCode::ProviderUnavailable, message: "it is in trouble".to_owned() };
    let second = store.finish(&ending(&first.fence, Outcome::PassedOn(error)), NOW).await.unwrap().arrived.remove(0);
    store.charge_late(record.job.id, record.task(), 30).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(280), "the job goes on");
    let second = store.claim(&[second.task], "owner", NOW, LEASE_END).await.unwrap().remove(0);
    let spent = Spent { cost_micros: 300, ..Spent::default() };
    store.finish(&Ending { spent, ..ending(&second.fence, completed()) }, NOW).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(330));
    store.charge_late(record.job.id, record.task(), 0).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(300));
}

#[rstest]
#[tokio::test]
async fn a_job_with_an_open_call_stays(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let record = inserted_remote(&*store).await;
    let job = record.job.id;
    let call = call_for(&record, 1_000);
    assert!(ledger.begin(&call, None).await.unwrap());
    assert_eq!(store.open_calls(&[job, JobId::generate()]).await.unwrap(), HashSet::from([record.task()]));
    store.request_cancel(job, NOW).await.unwrap();
    assert_eq!((store.ended(UnixMs(i64::MAX), 9).await.unwrap().len(), store.forget(&[job]).await.unwrap()), (0, 0));
    let ending = CallEnding { state: CallState::Unknown, settled: Micros::new(280), failure: None };
    ledger.end(call.id, &ending, UnixMs(3_000)).await.unwrap();
    assert!(store.open_calls(&[job]).await.unwrap().is_empty());
    assert_eq!((store.ended(UnixMs(i64::MAX), 9).await.unwrap().len(), store.forget(&[job]).await.unwrap()), (1, 1));
}
