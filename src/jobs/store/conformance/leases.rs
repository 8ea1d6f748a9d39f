//! Who holds a task, and what becomes of those who do not.

use std::collections::HashSet;

use futures_util::future::join_all;
use rstest::rstest;

use super::*;

#[rstest]
#[tokio::test]
async fn one_claim_wins(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted(&*store).await;
    let claims = (0..8).map(|_| try_claim(&*store, &record, "owner"));
    assert_eq!(join_all(claims).await.into_iter().flatten().count(), 1);
    assert!(waiting(&*store).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn many_are_claimed_at_once_and_each_by_one(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let mut tasks = Vec::new();
    for _ in 0..40 {
        tasks.push(inserted(&*store).await.task());
    }
    // On PostgreSQL every claimer is a server of its own; the file of SQLite belongs to one.
    let mut stores = vec![store.clone()];
    if matches!(adapter, Adapter::Postgres) {
        for _ in 0..3 {
            stores.push(open(&Database::open(&test.address).await.unwrap()));
        }
    }
    let claims = (0..8).map(async |claimer| {
        let mut mine = tasks.clone();
        mine.rotate_left(claimer * 5);
        stores[claimer % stores.len()].claim(&mine, &format!("owner {claimer}"), NOW, LEASE_END).await.unwrap()
    });
    let won: Vec<TaskId> = join_all(claims).await.into_iter().flatten().map(|claim| claim.fence.task).collect();
    assert_eq!(won.iter().collect::<HashSet<_>>().len(), won.len(), "no task twice");
    // Who met another's lock left that task alone; it is won by the next who asks.
    let rest = store.claim(&tasks, "late", NOW, LEASE_END).await.unwrap();
    assert_eq!(won.len() + rest.len(), tasks.len());
}

#[rstest]
#[tokio::test]
async fn a_lost_task_cannot_be_written(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted(&*store).await;
    let first = claim(&*store, &record).await.fence;
    store.release(&first, &Release::default(), UnixMs(2_500)).await.unwrap();
    let second = claim(&*store, &record).await.fence;
    assert_eq!(second.attempt, first.attempt + 1);
    let stranger = Fence { owner: "somebody else".to_owned(), ..second.clone() };
    for fence in [&first, &stranger] {
        let renewal = |fence: &Fence, step| Renewal { fence: fence.clone(), progress: Progress { step, steps: 4 } };
        let renewals = [renewal(fence, 9), renewal(&second, 1)];
        let renewed = store.renew(&renewals, UnixMs(3_000), LEASE_END).await.unwrap();
        assert_eq!(renewed, [Renewed::Lost, Renewed::Held { cancel_requested: false }]);
        let finish = store.finish(&ending(fence, completed()), UnixMs(3_000)).await;
        assert!(matches!(finish, Err(StoreError::LeaseLost)));
        let release = store.release(fence, &Release::default(), UnixMs(3_000)).await;
        assert!(matches!(release, Err(StoreError::LeaseLost)));
    }
    let job = store.job(record.job.id).await.unwrap();
    assert_eq!((job.state, job.progress.step, job.result), (JobState::Running, 1, None));
    store.finish(&ending(&second, failed()), UnixMs(4_000)).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn ended_leases_go_back_but_never_ones_own(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let (mine, expired, stopping, alive) =
        (inserted(&*store).await, inserted(&*store).await, inserted(&*store).await, inserted(&*store).await);
    try_claim(&*store, &mine, "me").await.unwrap();
    let lost = try_claim(&*store, &expired, "dead").await.unwrap();
    try_claim(&*store, &stopping, "dead").await.unwrap();
    store.request_cancel(stopping.job.id, NOW).await.unwrap();
    store.claim(&[alive.task()], "other", NOW, UnixMs(50_000)).await.unwrap();

    assert!(store.give_back_expired("me", false, LEASE_END).await.unwrap().is_empty(), "a lease includes its last moment");
    let mut back = store.give_back_expired("me", false, UnixMs(9_001)).await.unwrap();
    back.sort_by_key(|claim| claim.fence.task);
    assert_eq!(back.len(), 2);
    assert_eq!(back[0].fence, lost.fence, "what was cut off");
    assert_eq!((back[0].job.state, back[0].failures), (JobState::Queued, 0), "uncharged");
    assert_eq!(state(&*store, &expired).await, JobState::Queued);
    assert_eq!(state(&*store, &stopping).await, JobState::Cancelled, "not run again");
    assert_eq!(state(&*store, &mine).await, JobState::Running);
    assert_eq!(state(&*store, &alive).await, JobState::Running);
    let waits = store.queued(START, 9).await.unwrap();
    assert_eq!((waits.len(), waits[0].task, waits[0].queued), (1, expired.task(), UnixMs(9_001)));

    let late = store.finish(&ending(&lost.fence, completed()), UnixMs(9_500)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "the old runner learns of it");
    let new = claim(&*store, &expired).await.fence;
    store.finish(&ending(&new, completed()), UnixMs(9_500)).await.unwrap();

    let all = store.give_back_expired("me", true, NOW).await.unwrap();
    assert_eq!(all.iter().map(|claim| claim.fence.task).collect::<Vec<_>>(), [alive.task()], "whatever the lease says");
    let nobody = store.give_back_expired("", true, NOW).await.unwrap();
    assert_eq!(nobody.iter().map(|claim| claim.fence.task).collect::<Vec<_>>(), [mine.task()]);
}

#[rstest]
#[tokio::test]
async fn a_lease_of_a_clock_that_ran_ahead_has_ended(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let (ahead, mine) = (inserted(&*store).await, inserted(&*store).await);
    let end = UnixMs(NOW.0 + FARTHEST_LEASE_END_MS + 1);
    store.claim(&[ahead.task()], "dead", NOW, end).await.unwrap();
    store.claim(&[mine.task()], "me", NOW, end).await.unwrap();
    assert!(store.give_back_expired("me", false, UnixMs(NOW.0 + 1)).await.unwrap().is_empty());
    let back = store.give_back_expired("me", false, NOW).await.unwrap();
    assert_eq!(back.iter().map(|claim| claim.fence.task).collect::<Vec<_>>(), [ahead.task()]);
}

/// Only PostgreSQL lets somebody else change a job meanwhile.
#[tokio::test]
async fn a_job_that_somebody_changes_holds_up_no_other() {
    let Some((store, test)) = empty(Adapter::Postgres).await else { return };
    let Database::Postgres(database) = &test.database else { unreachable!() };
    let (busy, free, gone) = (inserted(&*store).await, inserted(&*store).await, inserted(&*store).await);
    let mut renewals = Vec::new();
    for record in [&busy, &free, &gone] {
        renewals.push(Renewal { fence: claim(&*store, record).await.fence, progress: Progress { step: 2, steps: 4 } });
    }
    sqlx::query("DELETE FROM jobs WHERE id = $1").bind(gone.job.id.to_string()).execute(database.pool()).await.unwrap();
    let mut elsewhere = database.pool().begin().await.unwrap();
    let lock = "SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE";
    sqlx::query(lock).bind(busy.job.id.to_string()).execute(&mut *elsewhere).await.unwrap();
    let held = Renewed::Held { cancel_requested: false };
    let renewed = store.renew(&renewals, UnixMs(3_000), UnixMs(20_000)).await.unwrap();
    assert_eq!(renewed, [Renewed::Busy, held, Renewed::Lost]);
    elsewhere.rollback().await.unwrap();
    assert_eq!(store.job(busy.job.id).await.unwrap().progress.step, 0);
    assert_eq!(store.renew(&renewals, UnixMs(3_000), UnixMs(20_000)).await.unwrap(), [held, held, Renewed::Lost]);
    // Where it is known to be lost, a lock makes no difference.
    renewals[0].fence.attempt += 1;
    let mut elsewhere = database.pool().begin().await.unwrap();
    sqlx::query(lock).bind(busy.job.id.to_string()).execute(&mut *elsewhere).await.unwrap();
    assert_eq!(store.renew(&renewals, UnixMs(3_000), UnixMs(20_000)).await.unwrap(), [Renewed::Lost, held, Renewed::Lost]);
}

#[rstest]
#[tokio::test]
async fn a_renewed_lease_does_not_end(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted(&*store).await;
    let fence = claim(&*store, &record).await.fence;
    let renewal = Renewal { fence, progress: Progress { step: 1, steps: 4 } };
    store.renew(&[renewal], UnixMs(8_000), UnixMs(20_000)).await.unwrap();
    assert!(store.give_back_expired("me", false, UnixMs(20_000)).await.unwrap().is_empty());
    assert_eq!(store.give_back_expired("me", false, UnixMs(20_001)).await.unwrap().len(), 1);
    assert_eq!(store.renew(&[], NOW, NOW).await.unwrap(), []);
}
