//! Reservations, settlements, refunds.

use futures_util::future::join_all;
use rstest::rstest;

use super::*;

pub(super) fn key(holder: &str, meter: Meter, window: i64) -> CounterKey {
    CounterKey { holder: Holder::User(holder.parse().unwrap()), meter, window_start: UnixMs(window) }
}

pub(super) fn reservation(meter: Meter, window: i64, amount: i64, limit: Option<i64>) -> Reservation {
    Reservation { key: key("ann", meter, window), amount, limit, resets: None }
}

fn with(reservations: Vec<Reservation>) -> NewRecord {
    NewRecord { reservations, ..record("ann") }
}

pub(super) async fn used(store: &dyn JobStore, key: &CounterKey) -> Option<i64> {
    store.usage(std::slice::from_ref(key)).await.unwrap().pop().map(|(_, used)| used)
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_submits_for_a_hundred_units(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let stores = match adapter {
        Adapter::Sqlite => [store.clone(), store.clone()],
        Adapter::Postgres => [store.clone(), open(&Database::open(&test.address).await.unwrap())],
    };
    let project = CounterKey { holder: Holder::Project("film".parse().unwrap()), meter: Meter::Images, window_start: UnixMs(5) };
    let reservations = vec![
        reservation(Meter::Images, 5, 1, Some(100)),
        Reservation { key: project.clone(), amount: 1, limit: Some(500), resets: None },
    ];
    let submits = (0..1000).map(|index| {
        let (store, record) = (stores[index % 2].clone(), with(reservations.clone()));
        async move { store.insert(&record, LIMIT).await }
    });
    let (mut accepted, mut refused) = (0, 0);
    for result in join_all(submits).await {
        match result {
            Ok(Inserted::New) => accepted += 1,
            Err(StoreError::Quota(refusal)) => {
                assert_eq!((refusal.used, &refusal.reservation), (100, &reservations[0]));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((accepted, refused), (100, 900));
    assert_eq!(store.counts().await.unwrap(), [(JobState::Queued, 100)], "the refused left nothing");
    assert_eq!(used(&*store, &reservations[0].key).await, Some(100));
    assert_eq!(used(&*store, &project).await, Some(100), "nor did they take from the other counter");
}

#[rstest]
#[tokio::test]
async fn a_refusal_changes_nothing(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let images = |amount| reservation(Meter::Images, 5, amount, None);
    let time = |limit| reservation(Meter::GpuMs, 5, 0, Some(limit));
    store.insert(&with(vec![images(2), time(1)]), LIMIT).await.unwrap();
    assert_eq!(used(&*store, &images(0).key).await, Some(2));
    assert_eq!(used(&*store, &time(1).key).await, None, "nothing was ever added");
    for refused in [
        vec![images(1), time(0)],
        vec![images(1), reservation(Meter::StorageBytes, 0, 11, Some(10))],
        vec![reservation(Meter::Images, 5, 9, Some(10))],
    ] {
        let Err(StoreError::Quota(refusal)) = store.insert(&with(refused.clone()), LIMIT).await else { panic!("{refused:?}") };
        assert_eq!(Some(&refusal.reservation), refused.last());
        assert_eq!(refusal.used, if refused.len() == 1 { 2 } else { 0 });
    }
    assert_eq!(used(&*store, &images(0).key).await, Some(2));
    assert_eq!(waiting(&*store).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn what_was_not_used_goes_back_to_the_window_that_paid(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let (yesterday, today) = (5, 105);
    let day = |window| {
        let reservations = [reservation(Meter::Images, window, 3, None), reservation(Meter::GpuMs, window, 0, None)];
        with([reservations.to_vec(), vec![reservation(Meter::StorageBytes, 0, 0, None)]].concat())
    };
    let (images, gpu, bytes) =
        (|window| key("ann", Meter::Images, window), key("ann", Meter::GpuMs, yesterday), key("ann", Meter::StorageBytes, 0));
    let usage = async || {
        let counters = [images(yesterday), images(today), gpu.clone(), bytes.clone()];
        let used = store.usage(&counters).await.unwrap();
        counters.map(|key| used.iter().find(|(counter, _)| *counter == key).map_or(0, |(_, used)| *used))
    };
    let records = [day(yesterday), day(yesterday), day(yesterday), day(yesterday), day(today)];
    for record in &records {
        store.insert(record, LIMIT).await.unwrap();
    }
    assert_eq!(usage().await, [12, 3, 0, 0]);
    // Done with one picture less than was asked for.
    let done = claim(&*store, &records[0]).await.fence;
    let spent = Spent { images: 2, gpu_ms: 700, storage_bytes: 50, ..Spent::default() };
    let end = Ending { spent, ..ending(&done, completed()) };
    store.finish(&end, UnixMs(3_000)).await.unwrap();
    assert_eq!(usage().await, [11, 3, 700, 50]);
    store.finish(&end, UnixMs(3_000)).await.unwrap();
    assert_eq!(usage().await, [11, 3, 700, 50], "settled once");
    // Cancelled while it waited.
    store.request_cancel(records[1].job.id, UnixMs(4_000)).await.unwrap();
    assert_eq!(usage().await, [8, 3, 700, 50]);
    // Cancelled, and released by its runner.
    let running = claim(&*store, &records[2]).await.fence;
    store.request_cancel(records[2].job.id, UnixMs(4_000)).await.unwrap();
    assert_eq!(usage().await, [8, 3, 700, 50], "it still runs");
    store.release(&running, &Release::default(), UnixMs(4_500)).await.unwrap();
    assert_eq!(usage().await, [5, 3, 700, 50]);
    // Cancelled, and its runner died.
    try_claim(&*store, &records[3], "dead").await.unwrap();
    store.request_cancel(records[3].job.id, UnixMs(4_000)).await.unwrap();
    store.give_back_expired("me", true, UnixMs(5_000)).await.unwrap();
    assert_eq!(usage().await, [2, 3, 700, 50]);
    // Back in the queue is not the end.
    let again = claim(&*store, &records[4]).await.fence;
    store.release(&again, &Release { charged: true, ..Release::default() }, UnixMs(5_000)).await.unwrap();
    assert_eq!(usage().await, [2, 3, 700, 50]);
}

#[rstest]
#[tokio::test]
async fn forgotten_jobs_give_their_bytes_back(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let bytes = key("ann", Meter::StorageBytes, 0);
    let reservations = vec![reservation(Meter::Images, 5, 1, None), reservation(Meter::StorageBytes, 0, 0, None)];
    let mut ended = Vec::new();
    for finished in [3_000, 4_000, 5_000] {
        let record = with(reservations.clone());
        store.insert(&record, LIMIT).await.unwrap();
        let fence = claim(&*store, &record).await.fence;
        let spent = Spent { images: 1, gpu_ms: 0, storage_bytes: 10, ..Spent::default() };
        ended.push(store.finish(&Ending { spent, ..ending(&fence, completed()) }, UnixMs(finished)).await.unwrap().job);
    }
    let waits = with(reservations);
    store.insert(&waits, LIMIT).await.unwrap();
    assert_eq!(store.ended(UnixMs(3_000), 9).await.unwrap(), []);
    assert_eq!(store.ended(UnixMs(5_000), 1).await.unwrap(), ended[..1], "the oldest first");
    assert_eq!(used(&*store, &bytes).await, Some(30), "a look removes nothing");
    assert_eq!(store.forget(&[ended[0].id, waits.job.id]).await.unwrap(), 1, "what waits stays");
    assert_eq!(used(&*store, &bytes).await, Some(20));
    assert_eq!(store.forget(&[ended[0].id]).await.unwrap(), 0, "once more changes nothing");
    assert_eq!(store.ended(UnixMs(i64::MAX), 9).await.unwrap(), ended[1..]);
    assert_eq!(store.forget(&[ended[1].id, ended[2].id]).await.unwrap(), 2);
    assert_eq!(used(&*store, &bytes).await, Some(0));
    assert_eq!(used(&*store, &key("ann", Meter::Images, 5)).await, Some(4), "what was made stays counted");
    assert!(matches!(store.job(ended[0].id).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.counts().await.unwrap(), [(JobState::Queued, 1)]);
    // Counters of past windows.
    assert_eq!(store.forget_counters(UnixMs(5)).await.unwrap(), 0);
    assert_eq!(store.forget_counters(UnixMs(6)).await.unwrap(), 1);
    assert_eq!(used(&*store, &bytes).await, Some(0), "bytes have no window");
    store.request_cancel(waits.job.id, NOW).await.unwrap();
    assert_eq!(used(&*store, &key("ann", Meter::Images, 5)).await, None, "a refund does not bring a counter back");
}
