//! From the insert to the end, and afterwards.

use rstest::rstest;

use super::*;

#[rstest]
#[tokio::test]
async fn what_is_stored_comes_back(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let mut record = record("ann");
    record.job.project = Some("film".parse().unwrap());
    record.job.retry_of = Some(JobId::generate());
    record.job.priority = -7;
    assert_eq!(store.insert(&record, LIMIT).await.unwrap(), Inserted::New);
    assert_eq!(store.job(record.job.id).await.unwrap(), record.job);
    let unknown = JobId::generate();
    assert!(matches!(store.job(unknown).await, Err(StoreError::NotFound(id)) if id == unknown));
    let waits = store.queued(START, 9).await.unwrap();
    assert_eq!(
        waits,
        [QueuedTask {
            task: record.task(),
            job: record.job.id,
            user: record.job.user.clone(),
            project: record.job.project.clone(),
            position: 0,
            lane: Lane::Device,
            batch: BatchKey { model: "m".parse().unwrap(), width: 64, height: 96 },
            rows: 6,
            // 4 evaluations of 3 pictures of 64 x 96, guided.
            work: 4.0 * 2.0 * 3.0 * (64.0 * 96.0 / 1e6),
            priority: -7,
            created: UnixMs(1_000),
            queued: UnixMs(1_000),
            run_after: None,
            alone: false,
            has_next_target: false,
            has_open_call: false,
        }]
    );
    let claimed = claim(&*store, &record).await;
    assert_eq!((claimed.job.state, claimed.job.started), (JobState::Running, Some(NOW)));
    assert_eq!((claimed.fence.attempt, claimed.failures, claimed.alone), (1, 0, false));
    let progress = Progress { step: 3, steps: 4 };
    let renewal = Renewal { fence: claimed.fence.clone(), progress };
    let renewed = store.renew(&[renewal], UnixMs(2_500), LEASE_END).await.unwrap();
    assert_eq!(renewed, [Renewed::Held { cancel_requested: false }]);
    let running = store.job(record.job.id).await.unwrap();
    assert_eq!((running.state, running.progress, running.updated), (JobState::Running, progress, UnixMs(2_500)));
    let Ended { job: done, arrived } = store.finish(&ending(&claimed.fence, completed()), UnixMs(3_000)).await.unwrap();
    let Outcome::Completed(result) = completed() else { unreachable!() };
    assert_eq!((&done.result, arrived), (&Some(result.clone()), Vec::new()));
    let left = TaskRecord { id: record.task(), position: 0, state: JobState::Completed, attempt: 1, result: Some(result) };
    assert_eq!(store.tasks_of(record.job.id).await.unwrap(), [left]);
    assert!(matches!(store.tasks_of(unknown).await, Err(StoreError::NotFound(id)) if id == unknown));
    assert_eq!((done.state, done.finished, done.progress.step), (JobState::Completed, Some(UnixMs(3_000)), 4));
    assert_eq!(store.job(record.job.id).await.unwrap(), done);
    assert_eq!((store.counts().await.unwrap(), test.jobs("completed").await), (Vec::new(), 1));
}

#[rstest]
#[tokio::test]
async fn every_outcome_is_final(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    for outcome in [completed(), completed_oddly(), failed(), Outcome::Cancelled] {
        let record = inserted(&*store).await;
        let fence = claim(&*store, &record).await.fence;
        let ended = store.finish(&ending(&fence, outcome.clone()), UnixMs(3_000)).await.unwrap().job;
        assert_eq!(ended.state, outcome.state());
        assert_eq!(ended.error.is_some(), ended.state == JobState::Failed);
        for again in [completed(), completed_oddly(), failed(), Outcome::Cancelled] {
            let late = store.finish(&ending(&fence, again.clone()), UnixMs(4_000)).await;
            if again == outcome {
                // The answer to the first time may have been lost.
                assert_eq!(late.unwrap(), Ended { job: ended.clone(), arrived: Vec::new() });
            } else {
                assert!(matches!(late, Err(StoreError::LeaseLost)));
            }
        }
        let stranger = Fence { owner: "somebody else".to_owned(), ..fence.clone() };
        assert!(matches!(store.finish(&ending(&stranger, outcome), UnixMs(4_000)).await, Err(StoreError::LeaseLost)));
        assert!(matches!(store.release(&fence, &Release::default(), UnixMs(4_000)).await, Err(StoreError::LeaseLost)));
        let renewal = Renewal { fence, progress: Progress::default() };
        assert_eq!(store.renew(&[renewal], UnixMs(4_000), LEASE_END).await.unwrap(), [Renewed::Lost]);
        assert_eq!(store.request_cancel(record.job.id, UnixMs(4_000)).await.unwrap(), (ended.state, ended.clone()));
        assert_eq!(store.set_priority(record.job.id, 3, UnixMs(4_000)).await.unwrap(), ended);
        assert!(try_claim(&*store, &record, "owner").await.is_none());
        assert!(store.give_back_expired("", true, UnixMs(99_000)).await.unwrap().is_empty());
        assert_eq!(store.job(record.job.id).await.unwrap(), ended);
    }
    let revived = test.execute("UPDATE jobs SET state = 'queued'").await.unwrap_err().to_string();
    assert!(revived.contains("a terminal job cannot change its state"), "{revived}");
}

#[rstest]
#[tokio::test]
async fn idempotency_keys_are_per_user(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let keyed = |user: &str, request: &[u8]| NewRecord {
        idempotency_key: Some("k".to_owned()),
        request_sha256: Sha256Digest::of(request),
        ..record(user)
    };
    let first = keyed("ann", b"one");
    assert_eq!(store.insert(&first, 2).await.unwrap(), Inserted::New);
    let again = store.insert(&keyed("ann", b"one"), 1).await.unwrap();
    assert_eq!(again, Inserted::Existing(Box::new(first.job)), "even when the queue is full");
    assert!(matches!(store.insert(&keyed("ann", b"two"), 2).await, Err(StoreError::Duplicate)));
    assert_eq!(store.insert(&keyed("bob", b"two"), 2).await.unwrap(), Inserted::New);
    assert_eq!(store.counts().await.unwrap(), [(JobState::Queued, 2)]);
}

#[rstest]
#[tokio::test]
async fn one_of_many_submits_with_one_key_is_stored(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let records: Vec<_> = (0..20).map(|_| NewRecord { idempotency_key: Some("k".to_owned()), ..record("ann") }).collect();
    let results = futures_util::future::join_all(records.iter().map(|record| store.insert(record, LIMIT))).await;
    let mut ids: Vec<JobId> = std::iter::zip(&records, results)
        .map(|(record, result)| match result.unwrap() {
            Inserted::New => record.job.id,
            Inserted::Existing(job) => job.id,
        })
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(store.counts().await.unwrap(), [(JobState::Queued, 1)]);
}

#[rstest]
#[tokio::test]
async fn cancel_depends_on_the_state(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let queued = inserted(&*store).await;
    let (before, job) = store.request_cancel(queued.job.id, UnixMs(3_000)).await.unwrap();
    assert_eq!((before, job.state, job.finished), (JobState::Queued, JobState::Cancelled, Some(UnixMs(3_000))));
    assert!(waiting(&*store).await.is_empty());
    assert!(try_claim(&*store, &queued, "owner").await.is_none());

    let running = inserted(&*store).await;
    let fence = claim(&*store, &running).await.fence;
    for _ in 0..2 {
        let (before, job) = store.request_cancel(running.job.id, UnixMs(3_000)).await.unwrap();
        assert_eq!((before, job.state), (JobState::Running, JobState::Running));
        assert_eq!(store.job(running.job.id).await.unwrap(), job);
    }
    let renewal = Renewal { fence: fence.clone(), progress: Progress::default() };
    let told = store.renew(&[renewal], UnixMs(3_000), LEASE_END).await.unwrap();
    assert_eq!(told, [Renewed::Held { cancel_requested: true }], "whoever runs it is told");
    let released = store.release(&fence, &Release::default(), UnixMs(4_000)).await.unwrap();
    assert_eq!((released.state, released.finished), (JobState::Cancelled, Some(UnixMs(4_000))), "not run again");
    assert!(waiting(&*store).await.is_empty());
    let unknown = store.request_cancel(JobId::generate(), UnixMs(1)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(_))));
}

#[rstest]
#[tokio::test]
async fn jobs_are_looked_up_many_at_a_time(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let (first, second, broken) = (inserted(&*store).await, inserted(&*store).await, record("bad"));
    store.insert(&broken, LIMIT).await.unwrap();
    test.execute("UPDATE jobs SET request = '{}' WHERE user_id = 'bad'").await.unwrap();
    let asked = [second.job.id, JobId::generate(), first.job.id, broken.job.id];
    let mut found = store.jobs_of(&asked).await.unwrap();
    found.sort_by_key(|job| job.id);
    assert_eq!(found, [first.job.clone(), second.job.clone()]);
    let stored = store.stored(&asked).await.unwrap();
    assert_eq!(stored, HashSet::from([first.job.id, second.job.id, broken.job.id]), "what cannot be read is there all the same");
    assert_eq!(store.jobs_of(&[]).await.unwrap(), []);
}

#[rstest]
#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let mut ids = Vec::new();
    for (user, project) in [("ann", None), ("bob", Some("film")), ("ann", Some("film")), ("ann", None)] {
        let mut record = record(user);
        record.job.project = project.map(|project| project.parse().unwrap());
        store.insert(&record, LIMIT).await.unwrap();
        ids.push(record.job.id);
    }
    store.request_cancel(ids[0], NOW).await.unwrap();
    let list = async |filter: JobFilter, before: Option<JobId>, limit: u32| -> Vec<JobId> {
        store.jobs(&filter, before, limit).await.unwrap().into_iter().map(|job| job.id).collect()
    };
    let all = JobFilter::default;
    let of = |user: &str| JobFilter { user: Some(user.parse().unwrap()), ..all() };
    assert_eq!(list(all(), None, 10).await, [ids[3], ids[2], ids[1], ids[0]]);
    assert_eq!(list(of("ann"), None, 2).await, [ids[3], ids[2]]);
    assert_eq!(list(of("ann"), Some(ids[2]), 2).await, [ids[0]]);
    assert_eq!(list(of("bob"), Some(ids[0]), 2).await, []);
    let film = JobFilter { project: Some("film".parse().unwrap()), ..all() };
    assert_eq!(list(film.clone(), None, 10).await, [ids[2], ids[1]]);
    assert_eq!(list(JobFilter { user: of("ann").user, ..film }, None, 10).await, [ids[2]]);
    let in_states = |states: &[JobState]| JobFilter { states: states.to_vec(), ..all() };
    assert_eq!(list(in_states(&[JobState::Cancelled, JobState::Failed]), None, 10).await, [ids[0]]);
    assert_eq!(list(in_states(&[JobState::Queued]), None, 10).await.len(), 3);
}
