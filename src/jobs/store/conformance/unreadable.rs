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
    let claims = store.claim(&[broken.task(), good.task()], "owner", NOW, LEASE_END).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.fence.task).collect::<Vec<_>>(), [good.task()]);
    assert!(waiting(&*store).await.is_empty());
    assert_eq!((store.counts().await.unwrap(), test.jobs("failed").await), (vec![(JobState::Running, 1)], 1));
    assert!(matches!(store.job(broken.job.id).await, Err(StoreError::Corrupt(_))));
    let listed = store.jobs(&JobFilter::default(), None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), [good.job.id]);
    assert_eq!(store.ended(UnixMs(i64::MAX), 9).await.unwrap(), []);
    assert_eq!(test.jobs("failed").await, 0, "it is removed all the same");
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
    assert_eq!(test.jobs("failed").await, 1);
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
    assert_eq!(page.iter().map(|task| task.task).collect::<Vec<_>>(), [good.task()]);
    assert_eq!((store.counts().await.unwrap(), test.jobs("failed").await), (vec![(JobState::Queued, 1)], 3));
    assert!(matches!(store.insert(&record("ann"), 1).await, Err(StoreError::QueueFull(1))));
    assert_eq!(store.insert(&record("ann"), 2).await.unwrap(), Inserted::New, "the failed ones do not wait any more");
}

/// Only PostgreSQL lets somebody else change a job meanwhile. Locks taken in another order than everybody's end in a deadlock.
#[tokio::test]
async fn an_unreadable_task_is_failed_in_the_order_of_locks() {
    let Some((store, test)) = empty(Adapter::Postgres).await else { return };
    let Database::Postgres(database) = &test.database else { unreachable!() };
    let record = inserted(&*store).await;
    test.execute("UPDATE tasks SET model_id = '../etc'").await.unwrap();
    let mut elsewhere = database.pool().begin().await.unwrap();
    let job = record.job.id.to_string();
    sqlx::query("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE").bind(&job).execute(&mut *elsewhere).await.unwrap();
    let change = async {
        let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(database.pool()).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        sqlx::query("UPDATE tasks SET priority = 1 WHERE job_id = $1").bind(&job).execute(&mut *elsewhere).await.unwrap();
        elsewhere.commit().await.unwrap();
    };
    let (page, ()) = tokio::join!(store.queued(START, 9), change);
    assert_eq!(page.unwrap(), []);
    assert_eq!(test.jobs("failed").await, 1);
}
