//! Waiting: the bound, the order, the pages, the pauses.

use rstest::rstest;

use super::*;

#[rstest]
#[tokio::test]
async fn the_queue_is_bounded(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let first = inserted(&*store).await;
    let full = async || matches!(store.insert(&record("bob"), 1).await, Err(StoreError::QueueFull(1)));
    assert!(full().await);
    let fence = claim(&*store, &first).await.fence;
    assert_eq!(store.insert(&record("bob"), 1).await.unwrap(), Inserted::New, "a running job does not wait");
    assert!(full().await);
    store.release(&fence, &Release::default(), NOW).await.unwrap();
    store.request_cancel(first.job.id, NOW).await.unwrap();
    assert!(full().await);
    assert_eq!(store.counts().await.unwrap(), [(JobState::Queued, 1)], "the refused left nothing");
    let restarted = open(&test.database);
    assert!(matches!(restarted.insert(&record("bob"), 1).await, Err(StoreError::QueueFull(1))), "counted anew");
}

#[rstest]
#[tokio::test]
async fn pages_go_on_where_the_last_one_ended(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let mut expected = Vec::new();
    for created in [30, 10, 20, 20, 20, 20, 5] {
        let mut record = record("ann");
        record.job.created = UnixMs(created);
        store.insert(&record, LIMIT).await.unwrap();
        expected.push((UnixMs(created), record.task()));
    }
    expected.sort();
    let (mut position, mut seen) = (START, Vec::new());
    loop {
        let page = store.queued(position, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        position = QueuePosition { queued: last.queued, task: Some(last.task) };
        seen.extend(page.into_iter().map(|task| (task.queued, task.task)));
    }
    assert_eq!(seen, expected);
    let again = store.queued(QueuePosition { queued: UnixMs(20), task: None }, 100).await.unwrap();
    assert_eq!(again.len(), 5, "a time without a task begins with that time");
}

#[rstest]
#[tokio::test]
async fn a_new_priority_is_a_new_place_in_the_queue(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let (record, other) = (inserted(&*store).await, inserted(&*store).await);
    let job = store.set_priority(record.job.id, 9, UnixMs(5_000)).await.unwrap();
    assert_eq!((job.priority, job.updated), (9, UnixMs(5_000)));
    assert_eq!(store.job(record.job.id).await.unwrap(), job);
    let news = store.queued(QueuePosition { queued: UnixMs(1_000), task: Some(other.task()) }, 9).await.unwrap();
    assert_eq!(news.len(), 1, "who follows the queue learns of it");
    assert_eq!((news[0].task, news[0].priority, news[0].created), (record.task(), 9, UnixMs(1_000)));
    let running = claim(&*store, &other).await.job;
    assert_eq!(store.set_priority(other.job.id, 9, UnixMs(5_000)).await.unwrap(), running, "it does not wait");
    assert!(matches!(store.set_priority(JobId::generate(), 1, NOW).await, Err(StoreError::NotFound(_))));
}

#[rstest]
#[tokio::test]
async fn a_retry_waits_for_its_time(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted(&*store).await;
    let first = claim(&*store, &record).await;
    let release = Release { charged: true, alone: true, run_after: Some(UnixMs(60_000)) };
    let back = store.release(&first.fence, &release, UnixMs(3_000)).await.unwrap();
    assert_eq!((back.state, back.started, back.progress), (JobState::Queued, None, Progress::default()));
    let waits = store.queued(START, 9).await.unwrap();
    assert_eq!((waits[0].run_after, waits[0].alone, waits[0].queued), (release.run_after, true, UnixMs(3_000)));
    let claim_at = async |now: i64| store.claim(&[record.task()], "owner", UnixMs(now), UnixMs(now + 9_000)).await.unwrap().pop();
    assert!(claim_at(59_999).await.is_none());
    let second = claim_at(60_000).await.unwrap();
    assert_eq!((second.failures, second.alone, second.fence.attempt), (1, true, first.fence.attempt + 1));
    let uncharged = Release { run_after: Some(UnixMs(60_000 + LONGEST_PAUSE_MS + 1)), ..Release::default() };
    store.release(&second.fence, &uncharged, UnixMs(61_000)).await.unwrap();
    let third = claim_at(60_000).await.unwrap();
    assert_eq!((third.failures, third.alone), (1, false), "the clock was put back: it is due");
}
