//! What films cost, and what becomes of one whose quota runs out.

use rstest::rstest;

use super::films::{claim_all, done, film_of, states};
use super::quotas::{key, reservation, used};
use super::*;

const METERS: [Meter; 4] = [Meter::Videos, Meter::VideoMs, Meter::GpuMs, Meter::StorageBytes];

fn window(meter: Meter) -> i64 {
    if meter == Meter::StorageBytes { 0 } else { 5 }
}

/// A film that may take so much device time.
fn limited(gpu_ms: Option<i64>) -> NewRecord {
    let mut reservations = vec![
        reservation(Meter::Videos, 5, 1, Some(9)),
        reservation(Meter::VideoMs, 5, 2_000, Some(9_000)),
        reservation(Meter::GpuMs, 5, 0, gpu_ms),
        reservation(Meter::StorageBytes, 0, 0, None),
    ];
    reservations.sort_by(|a, b| a.key.cmp(&b.key));
    NewRecord { reservations, ..film_of(&[24, 24]) }
}

/// What the counters of films, device time and bytes hold.
async fn usage(store: &dyn JobStore) -> [i64; 4] {
    let mut held = [0; 4];
    for (held, meter) in held.iter_mut().zip(METERS) {
        *held = used(store, &key("ann", meter, window(meter))).await.unwrap_or(0);
    }
    held
}

/// 60 s of a device, and 10 bytes; the film itself 2 s.
fn spent(claim: &Claim) -> Spent {
    let delivered = i64::from(claim.position == 6);
    Spent { images: 0, videos: delivered, video_ms: delivered * 2_000, gpu_ms: 60_000, cost_micros: 0, storage_bytes: 10 }
}

async fn finish(store: &dyn JobStore, claim: &Claim) -> Ended {
    store.finish(&Ending { spent: spent(claim), ..done(claim) }, UnixMs(3_000)).await.unwrap()
}

#[rstest]
#[tokio::test]
async fn a_film_is_charged_with_the_sum_of_its_tasks(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
    // The last task may take all the rest: it is done.
    #[values(None, Some(6 * 60_000 + 1))] gpu_ms: Option<i64>,
) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = limited(gpu_ms);
    store.insert(&record, LIMIT).await.unwrap();
    assert_eq!(usage(&*store).await, [1, 2_000, 0, 0]);
    let mut ended = 0;
    while state(&*store, &record).await != JobState::Completed {
        for claim in claim_all(&*store, "owner").await {
            assert_eq!(usage(&*store).await, [1, 2_000, 0, 0], "settled at the end");
            finish(&*store, &claim).await;
            ended += 1;
        }
    }
    assert_eq!((ended, usage(&*store).await), (7, [1, 2_000, 7 * 60_000, 70]));
    store.forget(&[record.job.id]).await.unwrap();
    assert_eq!(usage(&*store).await, [1, 2_000, 7 * 60_000, 0]);
}

#[rstest]
#[tokio::test]
async fn a_film_ends_where_its_quota_does(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    // Somebody else's 30 s count as well.
    let mut picture = record("ann");
    picture.reservations = vec![reservation(Meter::GpuMs, 5, 0, Some(151_000))];
    store.insert(&picture, LIMIT).await.unwrap();
    let fence = claim(&*store, &picture).await.fence;
    let took = Spent { gpu_ms: 30_000, ..Spent::default() };
    store.finish(&Ending { spent: took, ..ending(&fence, completed()) }, NOW).await.unwrap();

    let record = limited(Some(150_000));
    store.insert(&record, LIMIT).await.unwrap();
    let keyframes = claim_all(&*store, "owner").await;
    assert_eq!(finish(&*store, &keyframes[0]).await.job.state, JobState::Running, "90 of 150");
    let ended = finish(&*store, &keyframes[1]).await;
    let error = ended.job.error.clone().unwrap();
    assert_eq!((ended.job.state, error.code, ended.arrived.len()), (JobState::Failed, ErrorCode::QuotaExceeded, 0));
    assert!(error.message.starts_with("gpu_seconds_per_day: 150 of 150 used; "), "{}", error.message);
    assert!(error.message.ends_with("; what is made so far is kept for a retry"), "{}", error.message);
    assert_eq!(states(&*store, &record).await, [(0, JobState::Completed), (1, JobState::Cancelled), (3, JobState::Completed)]);
    assert!(store.tasks_of(record.job.id).await.unwrap().iter().all(|task| task.result.is_some() == (task.position != 1)));
    assert_eq!(usage(&*store).await, [0, 0, 150_000, 20], "nothing was delivered; what is made stays");
    assert_eq!(finish(&*store, &keyframes[1]).await, ended, "told once more");
    assert!(waiting(&*store).await.is_empty());
    store.forget(&[record.job.id]).await.unwrap();
    assert_eq!(usage(&*store).await, [0, 0, 150_000, 0]);
}

#[rstest]
#[tokio::test]
async fn a_picture_may_take_its_quota_over(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let mut record = record("ann");
    record.reservations = vec![reservation(Meter::GpuMs, 5, 0, Some(10_000))];
    store.insert(&record, LIMIT).await.unwrap();
    let fence = claim(&*store, &record).await.fence;
    let took = Spent { gpu_ms: 30_000, ..Spent::default() };
    let ended = store.finish(&Ending { spent: took, ..ending(&fence, completed()) }, NOW).await.unwrap();
    assert_eq!(ended.job.state, JobState::Completed);
}

#[rstest]
#[case::failed(0)]
#[case::cancelled_by_its_runner(1)]
#[case::cancelled_and_released(2)]
#[case::cancelled_and_lost(3)]
#[case::cancelled_while_it_waits(4)]
#[tokio::test]
async fn a_film_that_is_not_completed_delivers_nothing(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
    #[case] way: u32,
) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = limited(None);
    store.insert(&record, LIMIT).await.unwrap();
    let keyframes = claim_all(&*store, "owner").await;
    finish(&*store, &keyframes[0]).await;
    let fence = &keyframes[1].fence;
    let took = Spent { gpu_ms: 5_000, storage_bytes: 3, ..Spent::default() };
    let end = |outcome| Ending { spent: took, ..ending(fence, outcome) };
    let cancel = async || store.request_cancel(record.job.id, NOW).await.unwrap();
    match way {
        0 => drop(store.finish(&end(failed()), NOW).await.unwrap()),
        1 => {
            cancel().await;
            store.finish(&end(Outcome::Cancelled), NOW).await.unwrap();
        }
        2 => {
            cancel().await;
            store.release(fence, &Release::default(), NOW).await.unwrap();
        }
        3 => {
            cancel().await;
            store.give_back_expired("", true, NOW).await.unwrap();
        }
        _ => {
            store.release(fence, &Release::default(), NOW).await.unwrap();
            assert_eq!(usage(&*store).await, [1, 2_000, 0, 0]);
            cancel().await;
        }
    }
    assert!(state(&*store, &record).await.is_terminal());
    let device_time = if way < 2 { 65_000 } else { 60_000 };
    assert_eq!(usage(&*store).await, [0, 0, device_time, 10]);
    store.forget(&[record.job.id]).await.unwrap();
    assert_eq!(usage(&*store).await, [0, 0, device_time, 0]);
}
