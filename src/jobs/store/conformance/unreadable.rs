//! Rows that this version cannot read fail their job and hold up nobody.

use rstest::rstest;

use super::*;

#[rstest]
#[case::request("UPDATE jobs SET request = '{}' WHERE user_id = 'bad'")]
#[case::priority("UPDATE jobs SET priority = 5000000000 WHERE user_id = 'bad'")]
#[case::reservations("UPDATE jobs SET request = '', reservations = '?' WHERE user_id = 'bad'")]
#[tokio::test]
async fn an_unreadable_job_fails_when_it_is_claimed(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
    #[case] sql: &'static str,
) {
    let Some((store, test)) = empty(adapter).await else { return };
    let (broken, good) = (record("bad"), record("ann"));
    for record in [&broken, &good] {
        store.insert(record, LIMIT).await.unwrap();
    }
    test.execute(sql).await.unwrap();
    let claims = store.claim(&[broken.task, good.task], "owner", NOW, LEASE_END).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.fence.task).collect::<Vec<_>>(), [good.task]);
    assert!(waiting(&*store).await.is_empty());
    assert_eq!(store.counts().await.unwrap(), [(JobState::Failed, 1), (JobState::Running, 1)]);
    assert!(matches!(store.job(broken.job.id).await, Err(StoreError::Corrupt(_))));
    let listed = store.jobs(&JobFilter::default(), None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), [good.job.id]);
    assert_eq!(store.forget(UnixMs(i64::MAX), 9).await.unwrap(), [], "it is removed all the same");
    assert_eq!(store.counts().await.unwrap(), [(JobState::Running, 1)]);
}

#[rstest]
#[tokio::test]
async fn an_unreadable_job_that_runs_goes_back_and_fails(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let record = inserted(&*store).await;
    claim(&*store, &record).await;
    test.execute("UPDATE jobs SET request = '{}'").await.unwrap();
    assert_eq!(store.give_back_expired("", true, NOW).await.unwrap(), [], "the server starts all the same");
    assert!(try_claim(&*store, &record, "owner").await.is_none());
    assert_eq!(store.counts().await.unwrap(), [(JobState::Failed, 1)]);
}

#[rstest]
#[tokio::test]
async fn an_unreadable_task_does_not_hide_those_behind_it(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    for _ in 0..3 {
        store.insert(&record("bad"), LIMIT).await.unwrap();
    }
    let good = inserted(&*store).await;
    test.execute("UPDATE tasks SET model_id = '../etc' WHERE user_id = 'bad'").await.unwrap();
    let page = store.queued(START, 2).await.unwrap();
    assert_eq!(page.iter().map(|task| task.task).collect::<Vec<_>>(), [good.task]);
    assert_eq!(store.counts().await.unwrap(), [(JobState::Failed, 3), (JobState::Queued, 1)]);
    assert!(matches!(store.insert(&record("ann"), 1).await, Err(StoreError::QueueFull(1))));
    assert_eq!(store.insert(&record("ann"), 2).await.unwrap(), Inserted::New, "the failed ones do not wait any more");
}
