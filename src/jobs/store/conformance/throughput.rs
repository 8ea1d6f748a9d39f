//! How fast jobs go through a store.

use std::time::Instant;

use futures_util::future::join_all;
use rstest::rstest;

use super::*;

/// Run by hand: `cargo test -p framewright --lib jobs_a_second -- --ignored --nocapture`.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn jobs_a_second(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter, #[values(1, 128)] at_once: u32) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let each = if at_once == 1 { 300 } else { 100 };
    let started = Instant::now();
    let clients = (0..at_once).map(|_| {
        let store = store.clone();
        async move {
            for _ in 0..each {
                let key = |meter| CounterKey { holder: Holder::User("ann".parse().unwrap()), meter, window_start: UnixMs(5) };
                let reservation = |meter, amount| Reservation { key: key(meter), amount, limit: Some(1 << 40), resets: None };
                let reservations =
                    vec![reservation(Meter::Images, 1), reservation(Meter::GpuMs, 0), reservation(Meter::StorageBytes, 0)];
                let record = NewRecord { reservations, ..record("ann") };
                store.insert(&record, LIMIT).await.unwrap();
                let fence = claim(&*store, &record).await.fence;
                let spent = Spent { images: 1, gpu_ms: 5, storage_bytes: 1_000, ..Spent::default() };
                store.finish(&Ending { spent, ..ending(&fence, completed()) }, UnixMs(3_000)).await.unwrap();
            }
        }
    });
    join_all(clients).await;
    let rate = f64::from(at_once * each) / started.elapsed().as_secs_f64();
    println!("{adapter:?}, {at_once} at once: {rate:.0} jobs/s, inserted, claimed and finished");
}
