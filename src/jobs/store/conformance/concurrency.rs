//! Tasks of one film that end at the same moment, on two servers.

use futures_util::future::join_all;
use rstest::rstest;
use tokio_util::task::TaskTracker;

use super::films::{done, inserted_film};
use super::*;

/// Numbers that differ from seed to seed.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// On PostgreSQL two servers; the file of SQLite belongs to one.
async fn two_servers(adapter: Adapter) -> Option<([Arc<dyn JobStore>; 2], TestDatabase)> {
    let (store, test) = empty(adapter).await?;
    let second = match adapter {
        Adapter::Sqlite => store.clone(),
        Adapter::Postgres => open(&Database::open(&test.address).await.unwrap()),
    };
    Some(([store, second], test))
}

/// All that is there of a completed film, each task once.
async fn assert_whole(store: &dyn JobStore, record: &NewRecord) {
    let tasks = store.tasks_of(record.job.id).await.unwrap();
    let count = plan(&record.job.request).len();
    assert_eq!(tasks.iter().map(|task| task.position as usize).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
    assert!(tasks.iter().all(|task| task.state == JobState::Completed && task.attempt == 1), "{tasks:?}");
    let job = store.job(record.job.id).await.unwrap();
    assert_eq!((job.state, job.result.is_some()), (JobState::Completed, true));
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_end_at_once_lead_to_each_task_once(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((stores, _test)) = two_servers(adapter).await else { return };
    let tasks = TaskTracker::new();
    for round in 0..15 {
        let record = inserted_film(&*stores[0], &[24, 24, 24]).await;
        let mut wanted: Vec<TaskId> = record.tasks.iter().map(|task| task.id).collect();
        let mut completed = 0;
        while !wanted.is_empty() {
            let claims = stores[round % 2].claim(&wanted, "owner", NOW, LEASE_END).await.unwrap();
            assert_eq!(claims.len(), wanted.len());
            let endings = claims.into_iter().enumerate().map(|(index, claim)| {
                let store = stores[index % 2].clone();
                tasks.spawn(async move { store.finish(&done(&claim), UnixMs(3_000)).await.unwrap() })
            });
            let ended: Vec<Ended> = join_all(endings).await.into_iter().map(Result::unwrap).collect();
            completed += ended.iter().filter(|ended| ended.job.state == JobState::Completed).count();
            wanted = ended.into_iter().flat_map(|ended| ended.arrived).map(|task| task.task).collect();
        }
        assert_eq!(completed, 1, "one of the endings is the film's");
        assert_whole(&*stores[0], &record).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_make_films_together(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((stores, _test)) = two_servers(adapter).await else { return };
    let tasks = TaskTracker::new();
    for seed in 0..10 {
        let films = [inserted_film(&*stores[0], &[24, 96]).await, inserted_film(&*stores[1], &[24, 24, 24]).await];
        let ids = films.each_ref().map(|record| record.job.id);
        let servers = stores.iter().cloned().enumerate().map(|(server, store)| {
            tasks.spawn(async move {
                let (mut state, owner) = (seed * 2 + server as u64, format!("server {server}"));
                let mut held: Vec<Claim> = Vec::new();
                while store.jobs_of(&ids).await.unwrap().iter().any(|job| !job.state.is_terminal()) {
                    let mut wanted = waiting(&*store).await;
                    if wanted.len() > 1 {
                        let middle = random(&mut state) as usize % wanted.len();
                        wanted.rotate_left(middle);
                        wanted.truncate(1 + random(&mut state) as usize % 3);
                    }
                    held.extend(store.claim(&wanted, &owner, NOW, LEASE_END).await.unwrap());
                    let renewals: Vec<Renewal> =
                        held.iter().map(|claim| Renewal { fence: claim.fence.clone(), progress: Progress::default() }).collect();
                    store.renew(&renewals, NOW, LEASE_END).await.unwrap();
                    // At least one, so that it goes on; the others may be held a while.
                    while !held.is_empty() {
                        let claim = held.swap_remove(random(&mut state) as usize % held.len());
                        store.finish(&done(&claim), UnixMs(3_000)).await.unwrap();
                        if random(&mut state).is_multiple_of(3) {
                            break;
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        for server in join_all(servers).await {
            server.unwrap();
        }
        for record in &films {
            assert_whole(&*stores[0], record).await;
        }
    }
}
