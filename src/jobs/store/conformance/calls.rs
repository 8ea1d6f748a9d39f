//! Calls to providers that outlive the tasks that they were made for.

use rstest::rstest;

use super::quotas::{key, reservation, used};
use super::*;
use crate::domain::job_request::tests::remote;
use crate::domain::{CallId, Micros, ProviderId};
use crate::ledger::{self, AbandonedFilter, CallEnding, CallFilter, CallState, KeptAnswer, Ledger, NewCall, TaskHold};

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

fn settled(state: CallState, micros: i64) -> CallEnding {
    CallEnding { state, settled: Micros::new(micros), failure: None }
}

/// A call that the provider works for.
async fn begun(ledger: &dyn Ledger, record: &NewRecord) -> NewCall {
    let call = call_for(record, 1_000);
    assert!(ledger.begin(&call, None).await.unwrap());
    assert!(ledger.taken(call.id, "theirs", UnixMs(1_001)).await.unwrap());
    call
}

#[rstest]
#[tokio::test]
async fn what_a_call_costs_that_outlived_its_job_is_charged_once(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let (costs, videos) = (key("ann", Meter::CostMicros, 5), key("ann", Meter::Videos, 5));
    let record = inserted_remote(&*store).await;
    let (job, task) = (record.job.id, record.task());
    let claim = claim(&*store, &record).await;
    let call = begun(&*ledger, &record).await;
    store.charge_late(job, task).await.unwrap();
    store.release(&claim.fence, &Release::default(), NOW).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(280), "a task that goes on says itself what it cost");
    store.request_cancel(job, NOW).await.unwrap();
    assert_eq!((used(&*store, &costs).await, used(&*store, &videos).await), (Some(0), Some(0)));
    for (cost, is_first) in [(150, true), (280, false)] {
        let ending = settled(CallState::Cancelled, cost);
        assert_eq!(store.settle_late(&call, &ending, NOW).await.unwrap(), is_first);
        store.charge_late(job, task).await.unwrap();
        assert_eq!((used(&*store, &costs).await, used(&*store, &videos).await), (Some(150), Some(0)), "the first ending stays");
    }
    store.charge_late(job, TaskId::generate()).await.unwrap();
    store.charge_late(JobId::generate(), task).await.unwrap();
    // One whose job has been removed ends all the same.
    let orphan = begun(&*ledger, &with_request("ann", remote("minimax").into())).await;
    assert!(store.settle_late(&orphan, &settled(CallState::Unknown, 7), NOW).await.unwrap());
    assert!(!ledger.end(orphan.id, &settled(CallState::Unknown, 8), NOW).await.unwrap());
    assert_eq!(used(&*store, &costs).await, Some(150));
    assert_eq!(state(&*store, &record).await, JobState::Cancelled);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_of_one_task_that_are_settled_together_are_all_charged(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let record = inserted_remote(&*store).await;
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(begun(&*ledger, &record).await);
    }
    store.request_cancel(record.job.id, NOW).await.unwrap();
    let ending = settled(CallState::Cancelled, 30);
    let settling = calls.iter().map(|call| store.settle_late(call, &ending, NOW));
    for is_first in futures_util::future::join_all(settling).await {
        assert!(is_first.unwrap());
    }
    assert_eq!(used(&*store, &key("ann", Meter::CostMicros, 5)).await, Some(240));
}

/// How a job ends whose server died after a call of its task had ended, and before the task had.
#[derive(Clone, Copy, Debug)]
enum Loss {
    LeaseExpires,
    GivesBack,
    WaitsAgain,
}

#[rstest]
#[tokio::test]
async fn a_call_that_ended_before_the_end_of_its_task_was_written_is_charged(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
    #[values(Loss::LeaseExpires, Loss::GivesBack, Loss::WaitsAgain)] loss: Loss,
    #[values(CallState::Cancelled, CallState::Finished)] call_state: CallState,
) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let costs = key("ann", Meter::CostMicros, 5);
    let record = inserted_remote(&*store).await;
    let (job, task) = (record.job.id, record.task());
    let claim = claim(&*store, &record).await;
    let call = begun(&*ledger, &record).await;
    assert!(ledger.end(call.id, &settled(call_state, 150), NOW).await.unwrap());
    match loss {
        Loss::LeaseExpires => {
            store.request_cancel(job, NOW).await.unwrap();
            assert_eq!(store.give_back_expired("another", true, NOW).await.unwrap().len(), 1);
        }
        Loss::GivesBack => {
            store.request_cancel(job, NOW).await.unwrap();
            store.release(&claim.fence, &Release::default(), NOW).await.unwrap();
        }
        Loss::WaitsAgain => {
            store.release(&claim.fence, &Release::default(), NOW).await.unwrap();
            store.request_cancel(job, NOW).await.unwrap();
        }
    }
    assert_eq!(state(&*store, &record).await, JobState::Cancelled);
    assert_eq!(used(&*store, &costs).await, Some(150));
    assert_eq!(used(&*store, &key("ann", Meter::Videos, 5)).await, Some(0), "nothing was delivered");
    store.charge_late(job, task).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(150), "once");
}

#[rstest]
#[tokio::test]
async fn a_call_that_ended_where_the_task_was_lost_is_charged(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let costs = key("ann", Meter::CostMicros, 5);
    let record = inserted_remote(&*store).await;
    claim(&*store, &record).await;
    let call = begun(&*ledger, &record).await;
    store.request_cancel(record.job.id, NOW).await.unwrap();
    store.give_back_expired("another", true, NOW).await.unwrap();
    assert!(ledger.end(call.id, &settled(CallState::Cancelled, 150), NOW).await.unwrap());
    assert_eq!(used(&*store, &costs).await, Some(0));
    for _ in 0..2 {
        store.charge_late(record.job.id, record.task()).await.unwrap();
        assert_eq!(used(&*store, &costs).await, Some(150));
    }
}

#[rstest]
#[tokio::test]
async fn what_came_with_an_answer_is_kept_until_the_end_of_the_task(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
    #[values(true, false)] is_finished: bool,
) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let record = inserted_remote(&*store).await;
    let held = claim(&*store, &record).await;
    let call = call_for(&record, 1_000);
    assert!(ledger.begin(&call, None).await.unwrap());
    let answer = KeptAnswer::new("links".to_owned());
    assert!(ledger.answered(call.id, &answer, UnixMs(1_001)).await.unwrap());
    let kept = async || ledger.last_of_task(call.task, &call.provider).await.unwrap().unwrap().answer;
    let answered_late = call_for(&record, 900);
    assert!(ledger.begin(&answered_late, None).await.unwrap());
    if is_finished {
        assert!(ledger.end(call.id, &settled(CallState::Finished, 280), UnixMs(1_002)).await.unwrap());
    }
    let by_id = async |id: CallId| {
        let page = ledger.page(&CallFilter::default(), None, 9).await.unwrap();
        page.into_iter().find(|found| found.call.id == id).unwrap().answer
    };
    assert_eq!(by_id(call.id).await, Some(answer.clone()), "the task may be taken up again");
    assert_eq!(kept().await, None, "of another call");
    store.finish(&ending(&held.fence, completed()), NOW).await.unwrap();
    assert_eq!(by_id(call.id).await, (!is_finished).then_some(answer.clone()), "an open one is wound up first");
    if !is_finished {
        assert!(store.settle_late(&call, &settled(CallState::Cancelled, 280), NOW).await.unwrap());
        assert_eq!(by_id(call.id).await, None);
    }
    // Whoever lost the task may end a call of it later; the job's removal ends that too.
    assert!(ledger.answered(answered_late.id, &answer, NOW).await.unwrap());
    assert!(ledger.end(answered_late.id, &settled(CallState::Finished, 1), NOW).await.unwrap());
    assert_eq!(by_id(answered_late.id).await, Some(answer));
    assert_eq!(store.forget(&[record.job.id]).await.unwrap(), 1);
    assert_eq!(by_id(answered_late.id).await, None);
}

#[rstest]
#[tokio::test]
async fn what_a_target_cost_that_was_passed_on_is_charged_with_its_job(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
) {
    let Some((store, test)) = empty(adapter).await else { return };
    let ledger = ledger::open(&test.database);
    let routed =
        crate::domain::RoutedRequest::new("best".parse().unwrap(), vec![remote("first").into(), remote("second").into()]);
    let mut record = with_request("ann", routed.unwrap().into());
    record.reservations = vec![reservation(Meter::CostMicros, 5, 280, None)];
    store.insert(&record, LIMIT).await.unwrap();
    let costs = key("ann", Meter::CostMicros, 5);
    let first = claim(&*store, &record).await;
    let error = JobError { code: ErrorCode::ProviderUnavailable, message: "it is in trouble".to_owned() };
    let call = begun(&*ledger, &record).await;
    let passed_on =
        Ending { spent: Spent { cost_micros: 50, ..Spent::default() }, ..ending(&first.fence, Outcome::PassedOn(error)) };
    let second = store.finish(&passed_on, NOW).await.unwrap().arrived.remove(0);
    assert!(store.settle_late(&call, &settled(CallState::Cancelled, 30), NOW).await.unwrap());
    assert_eq!(used(&*store, &costs).await, Some(280), "the job goes on");
    let second = store.claim(&[second.task], "owner", NOW, LEASE_END).await.unwrap().remove(0);
    let spent = Spent { cost_micros: 300, ..Spent::default() };
    store.finish(&Ending { spent, ..ending(&second.fence, completed()) }, NOW).await.unwrap();
    assert_eq!(used(&*store, &costs).await, Some(330));
    let another = begun(&*ledger, &record).await;
    assert!(store.settle_late(&another, &settled(CallState::Unknown, 5), NOW).await.unwrap());
    assert_eq!(used(&*store, &costs).await, Some(335));
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
