//! Routed jobs: one target after the other, each with tasks of its own.

use rstest::rstest;

use super::films::{claim_all, done, states};
use super::*;
use crate::domain::RoutedRequest;
use crate::domain::film::tests::film;
use crate::domain::job_request::tests::remote;
use crate::domain::plan::Lane;

fn unavailable() -> JobError {
    JobError { code: ErrorCode::ProviderUnavailable, message: "the provider is in trouble".to_owned() }
}

fn passed_on(claim: &Claim) -> Ending {
    let spent = Spent { cost_micros: 7, ..Spent::default() };
    Ending { spent, ..ending(&claim.fence, Outcome::PassedOn(unavailable())) }
}

/// A provider, another one, then two scenes made here.
async fn inserted_route(store: &dyn JobStore) -> NewRecord {
    let targets = vec![remote("first").into(), remote("second").into(), film(&[24, 24]).into()];
    let routed = RoutedRequest::new("best".parse().unwrap(), targets).unwrap();
    let record = with_request("ann", routed.into());
    assert_eq!(store.insert(&record, LIMIT).await.unwrap(), Inserted::New);
    record
}

async fn waiting_lanes(store: &dyn JobStore) -> Vec<(u32, Lane, String)> {
    let waiting = store.queued(START, 100).await.unwrap();
    let mut lanes: Vec<_> = waiting.into_iter().map(|task| (task.position, task.lane, task.batch.model.to_string())).collect();
    lanes.sort();
    lanes
}

#[rstest]
#[tokio::test]
async fn each_target_is_tried_when_the_one_before_has_failed(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_route(&*store).await;
    assert_eq!(store.job(record.job.id).await.unwrap(), record.job);
    assert_eq!(waiting_lanes(&*store).await, [(0, Lane::Remote, "first".to_owned())]);
    let has_next_target =
        async || -> Vec<bool> { store.queued(START, 100).await.unwrap().iter().map(|task| task.has_next_target).collect() };
    assert_eq!(has_next_target().await, [true]);

    let first = claim_all(&*store, "owner").await.remove(0);
    let ended = store.finish(&passed_on(&first), NOW).await.unwrap();
    assert_eq!((ended.job.state, ended.job.error.clone()), (JobState::Running, None));
    assert_eq!(ended.job.progress, Progress::default(), "the next target begins anew");
    assert_eq!(ended.arrived.iter().map(|task| task.position).collect::<Vec<_>>(), [1]);
    let again = store.finish(&passed_on(&first), NOW).await.unwrap();
    assert_eq!(again.arrived, ended.arrived, "the answer was lost, and nothing is done twice");
    assert_eq!(waiting_lanes(&*store).await, [(1, Lane::Remote, "second".to_owned())]);
    assert_eq!((has_next_target().await, ended.arrived[0].has_next_target), (vec![true], true));

    let second = claim_all(&*store, "owner").await.remove(0);
    store.finish(&passed_on(&second), NOW).await.unwrap();
    assert_eq!(waiting_lanes(&*store).await, [(2, Lane::Device, "sdxl".to_owned()), (5, Lane::Device, "sdxl".to_owned())]);
    assert_eq!(has_next_target().await, [false, false]);
    while state(&*store, &record).await != JobState::Completed {
        let claims = claim_all(&*store, "owner").await;
        assert!(!claims.is_empty());
        for claim in claims {
            store.finish(&done(&claim), NOW).await.unwrap();
        }
    }
    let ended = states(&*store, &record).await;
    assert_eq!(ended.iter().filter(|(_, state)| *state == JobState::Failed).count(), 2);
    assert_eq!(ended.iter().filter(|(_, state)| *state == JobState::Completed).count(), 7);
}

#[rstest]
#[tokio::test]
async fn the_first_target_that_succeeds_is_the_job(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_route(&*store).await;
    let first = claim_all(&*store, "owner").await.remove(0);
    let ended = store.finish(&done(&first), NOW).await.unwrap();
    assert_eq!((ended.job.state, ended.arrived.len()), (JobState::Completed, 0));
    assert!(ended.job.result.is_some());
    assert_eq!(states(&*store, &record).await, [(0, JobState::Completed)]);
    assert!(waiting(&*store).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn the_last_target_fails_for_all_and_a_local_one_takes_its_tasks_along(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let targets = vec![film(&[24, 24]).into(), remote("last").into()];
    let routed = RoutedRequest::new("best".parse().unwrap(), targets).unwrap();
    let record = with_request("ann", routed.into());
    store.insert(&record, LIMIT).await.unwrap();
    let keyframes = claim_all(&*store, "owner").await;
    assert_eq!(keyframes.len(), 2);
    store.finish(&passed_on(&keyframes[0]), NOW).await.unwrap();
    assert!(matches!(store.finish(&done(&keyframes[1]), NOW).await, Err(StoreError::LeaseLost)), "its target is given up");
    assert_eq!(waiting_lanes(&*store).await, [(7, Lane::Remote, "last".to_owned())]);

    let last = claim_all(&*store, "owner").await.remove(0);
    let ended = store.finish(&passed_on(&last), NOW).await.unwrap();
    assert_eq!((ended.job.state, ended.job.error), (JobState::Failed, Some(unavailable())));
    assert!(ended.arrived.is_empty() && waiting(&*store).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn what_was_asked_to_stop_is_not_passed_on(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_route(&*store).await;
    let first = claim_all(&*store, "owner").await.remove(0);
    store.request_cancel(record.job.id, NOW).await.unwrap();
    let ended = store.finish(&passed_on(&first), NOW).await.unwrap();
    assert_eq!((ended.job.state, ended.arrived.len()), (JobState::Cancelled, 0));
}

#[rstest]
#[tokio::test]
async fn what_every_target_cost_is_charged(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let key = CounterKey { holder: Holder::User("ann".parse().unwrap()), meter: Meter::CostMicros, window_start: UnixMs(0) };
    let targets = vec![remote("first").into(), remote("second").into()];
    let routed = RoutedRequest::new("best".parse().unwrap(), targets).unwrap();
    let mut record = with_request("ann", routed.into());
    record.reservations = vec![Reservation { key: key.clone(), amount: 280, limit: Some(1_000), resets: None }];
    store.insert(&record, LIMIT).await.unwrap();
    let first = claim_all(&*store, "owner").await.remove(0);
    store.finish(&passed_on(&first), NOW).await.unwrap();
    let second = claim_all(&*store, "owner").await.remove(0);
    let spent = Spent { cost_micros: 300, ..Spent::default() };
    store.finish(&Ending { spent, ..done(&second) }, NOW).await.unwrap();
    assert_eq!(store.usage(std::slice::from_ref(&key)).await.unwrap(), [(key, 307)]);
}
