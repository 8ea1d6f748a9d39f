//! What every [`Ledger`] must do.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rstest::rstest;

use super::super::call::{CallEnding, CallFilter, CallState, KeptAnswer, NewCall, ProviderCall};
use super::super::sums::{SumBy, grouped};
use super::Ledger;
use crate::database::tests::{Adapter, TestDatabase};
use crate::domain::{CallId, JobId, Micros, TaskId, UnixMs};

async fn empty(adapter: Adapter) -> Option<(Arc<dyn Ledger>, TestDatabase)> {
    let test = TestDatabase::open(adapter).await?;
    Some((super::open(&test.database), test))
}

fn call(user: &str, provider: &str, micros: i64, created: i64) -> NewCall {
    NewCall {
        id: CallId::generate(),
        task: TaskId::generate(),
        job: JobId::generate(),
        user: user.parse().unwrap(),
        project: None,
        provider: provider.parse().unwrap(),
        model: "a model/of theirs".to_owned(),
        key: "key-1".parse().unwrap(),
        our_id: "ours".to_owned(),
        estimated: Micros::new(micros),
        created: UnixMs(created),
    }
}

fn ending(state: CallState, micros: i64) -> CallEnding {
    CallEnding { state, settled: Micros::new(micros), failure: None }
}

fn sending(call: &NewCall) -> ProviderCall {
    ProviderCall {
        call: call.clone(),
        state: CallState::Sending,
        remote_id: None,
        answer: None,
        settled: None,
        failure: None,
        updated: call.created,
        ended: None,
    }
}

#[rstest]
#[tokio::test]
async fn a_call_is_found_in_the_state_that_it_was_left_in(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((ledger, _test)) = empty(adapter).await else { return };
    let first = NewCall { project: Some("film".parse().unwrap()), ..call("ann", "aliyun", 1_200_000, 10) };
    let found = async || ledger.last_of_task(first.task, &first.provider).await.unwrap();
    assert_eq!(found().await, None);
    assert!(ledger.begin(&first, None).await.unwrap());
    assert_eq!(found().await, Some(sending(&first)));
    // Once more, after a lost answer: it is written down once.
    assert!(ledger.begin(&first, None).await.unwrap());
    assert_eq!(found().await, Some(sending(&first)));
    assert!(ledger.taken(first.id, "remote-1", UnixMs(20)).await.unwrap());
    let running = ProviderCall {
        state: CallState::Running,
        remote_id: Some("remote-1".to_owned()),
        updated: UnixMs(20),
        ..sending(&first)
    };
    assert_eq!(found().await, Some(running.clone()));
    let failure = Some(("transient".to_owned(), "the provider is in trouble".to_owned()));
    let failed = CallEnding { failure: failure.clone(), ..ending(CallState::Failed, 7) };
    assert!(ledger.end(first.id, &failed, UnixMs(30)).await.unwrap());
    let ended = ProviderCall {
        state: CallState::Failed,
        settled: Some(Micros::new(7)),
        failure,
        updated: UnixMs(30),
        ended: Some(UnixMs(30)),
        ..running
    };
    assert_eq!(found().await, Some(ended.clone()));
    // The first ending stays, and nothing follows it.
    assert!(!ledger.end(first.id, &ending(CallState::Finished, 9), UnixMs(40)).await.unwrap());
    assert!(!ledger.taken(first.id, "remote-2", UnixMs(40)).await.unwrap());
    assert_eq!(found().await, Some(ended));
    assert!(!ledger.answered(first.id, &KeptAnswer::new("{}".to_owned()), UnixMs(40)).await.unwrap());
    // The last one counts, and only the provider's.
    let second = NewCall { id: CallId::generate(), ..first.clone() };
    assert!(ledger.begin(&second, None).await.unwrap());
    assert_eq!(found().await, Some(sending(&second)));
    // One that was fulfilled at once.
    let answer = KeptAnswer::new("{\"results\":[]}".to_owned());
    assert!(ledger.answered(second.id, &answer, UnixMs(50)).await.unwrap());
    let answered =
        ProviderCall { state: CallState::Running, answer: Some(answer.clone()), updated: UnixMs(50), ..sending(&second) };
    assert_eq!(found().await, Some(answered.clone()));
    assert_eq!(format!("{answer:?}"), "KeptAnswer(14 bytes)");
    assert!(ledger.end(second.id, &ending(CallState::Finished, 9), UnixMs(60)).await.unwrap());
    assert_eq!(found().await.and_then(|call| call.answer), Some(answer), "whoever takes up the task finds it");
    assert_eq!(ledger.last_of_task(first.task, &"minimax".parse().unwrap()).await.unwrap(), None);
    assert!(!ledger.end(CallId::generate(), &ending(CallState::Finished, 1), UnixMs(1)).await.unwrap(), "there is no such call");
}

#[rstest]
#[tokio::test]
async fn an_ended_call_cannot_be_changed_by_anybody(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((ledger, test)) = empty(adapter).await else { return };
    let call = call("ann", "aliyun", 5, 1);
    assert!(ledger.begin(&call, None).await.unwrap());
    ledger.end(call.id, &ending(CallState::Finished, 5), UnixMs(2)).await.unwrap();
    for change in [
        "UPDATE provider_calls SET settled_micros = 0",
        "UPDATE provider_calls SET answer = NULL, settled_micros = 0",
        "UPDATE provider_calls SET answer = 'links'",
        "UPDATE provider_calls SET tended_until_ms = 1",
    ] {
        assert!(test.execute(change).await.is_err(), "{change}");
    }
    let left = ledger.last_of_task(call.task, &call.provider).await.unwrap().unwrap();
    assert_eq!(left.settled, Some(Micros::new(5)));
}

#[rstest]
#[tokio::test]
async fn an_answer_goes_with_a_call_that_gave_no_results(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
    #[values(CallState::Failed, CallState::Cancelled, CallState::Unknown)] state: CallState,
) {
    let Some((ledger, _test)) = empty(adapter).await else { return };
    let call = call("ann", "aliyun", 5, 1);
    assert!(ledger.begin(&call, None).await.unwrap());
    assert!(ledger.answered(call.id, &KeptAnswer::new("links".to_owned()), UnixMs(2)).await.unwrap());
    assert!(ledger.end(call.id, &ending(state, 5), UnixMs(3)).await.unwrap());
    assert_eq!(ledger.last_of_task(call.task, &call.provider).await.unwrap().map(|call| call.answer), Some(None));
}

#[rstest]
#[tokio::test]
async fn pages_are_the_newest_first(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((ledger, _test)) = empty(adapter).await else { return };
    let calls: Vec<NewCall> =
        (0..5).map(|index| call(if index % 2 == 0 { "ann" } else { "bob" }, "aliyun", index, index)).collect();
    for call in &calls {
        assert!(ledger.begin(call, None).await.unwrap());
    }
    ledger.end(calls[4].id, &ending(CallState::Unknown, 4), UnixMs(9)).await.unwrap();
    let ids = async |filter: CallFilter, before, most| -> Vec<usize> {
        let page = ledger.page(&filter, before, most).await.unwrap();
        page.iter().map(|found| calls.iter().position(|call| call.id == found.call.id).unwrap()).collect()
    };
    let all = CallFilter::default;
    assert_eq!(ids(all(), None, 10).await, [4, 3, 2, 1, 0]);
    assert_eq!(ids(all(), None, 2).await, [4, 3]);
    assert_eq!(ids(all(), Some(calls[3].id), 2).await, [2, 1]);
    assert_eq!(ids(CallFilter { user: Some("bob".parse().unwrap()), ..all() }, None, 10).await, [3, 1]);
    assert_eq!(ids(CallFilter { state: Some(CallState::Unknown), ..all() }, None, 10).await, [4]);
    assert_eq!(ids(CallFilter { job: Some(calls[2].job), ..all() }, None, 10).await, [2]);
    assert_eq!(ids(CallFilter { project: Some("film".parse().unwrap()), ..all() }, None, 10).await, [0_usize; 0]);
    assert_eq!(ids(CallFilter { provider: Some("minimax".parse().unwrap()), ..all() }, None, 10).await, [0_usize; 0]);
}

/// User, project, provider, estimate, what it was settled to and how it ended, and when it was sent.
type Row = (bool, bool, bool, i64, Option<(i64, CallState)>, i64);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let micros = 0..1_000_000_000_000_i64;
    let ended = prop::sample::select(vec![CallState::Finished, CallState::Failed, CallState::Unknown, CallState::Cancelled]);
    let row = (any::<bool>(), any::<bool>(), any::<bool>(), micros.clone(), prop::option::of((micros, ended)), 0..100_i64);
    prop::collection::vec(row, 0..30)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn it_adds_up_to_the_millionth(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((ledger, test)) = empty(adapter).await else { return };
    let handle = tokio::runtime::Handle::current();
    let run = move || {
        let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
        runner.run(&rows(), |rows| {
            handle.block_on(async {
                test.execute("DELETE FROM provider_calls").await.unwrap();
                let mut expected: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
                for (ann, film, aliyun, estimated, settled, created) in rows {
                    let (user, provider) = (if ann { "ann" } else { "bob" }, if aliyun { "aliyun" } else { "minimax" });
                    let call =
                        NewCall { project: film.then(|| "film".parse().unwrap()), ..call(user, provider, estimated, created) };
                    assert!(ledger.begin(&call, None).await.unwrap());
                    if let Some((settled, state)) = settled {
                        ledger.end(call.id, &ending(state, settled), UnixMs(200)).await.unwrap();
                    }
                    if (20..80).contains(&created) {
                        let (calls, failed, micros) = expected.entry(user.to_owned()).or_default();
                        *calls += 1;
                        *failed += i64::from(settled.is_some_and(|(_, state)| state != CallState::Finished));
                        *micros += settled.map_or(estimated, |(settled, _)| settled);
                    }
                }
                let sums = ledger.sums(&CallFilter::default(), UnixMs(20), UnixMs(80)).await.unwrap();
                let by_user = grouped(&sums, SumBy::User);
                assert_eq!(by_user, expected);
                let total = |by| grouped(&sums, by).values().map(|(_, _, micros)| *micros).sum::<i64>();
                let whole: i64 = expected.values().map(|(_, _, micros)| *micros).sum();
                assert_eq!([SumBy::Project, SumBy::Provider, SumBy::Model].map(total), [whole; 3]);
                let ann = CallFilter { user: Some("ann".parse().unwrap()), ..CallFilter::default() };
                let anns = ledger.sums(&ann, UnixMs(20), UnixMs(80)).await.unwrap();
                assert_eq!(grouped(&anns, SumBy::User).get("ann"), expected.get("ann"));
            });
            Ok(())
        })
    };
    tokio::task::spawn_blocking(run).await.unwrap().unwrap();
}
