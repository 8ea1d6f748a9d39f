//! Databases from before there were films.

use rstest::rstest;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::films::{claim_all, done, inserted_film};
use super::*;
use crate::database::DatabaseAddress;

const JOB: &str = "
    INSERT INTO jobs (id, user_id, kind, model_id, state, request, priority, result, reservations, request_sha256, created_ms,
        updated_ms, finished_ms)
    VALUES ($1, 'ann', 'image', 'm', $2, $3, 0, $4, '[]', $5, 1000, 1000, $6)";
const TASK: &str = "
    INSERT INTO tasks (id, key_sha256, job_id, user_id, model_id, rows, width, height, state, priority, work, attempt, lease_owner,
        lease_until_ms, queued_ms, created_ms, updated_ms)
    VALUES ($1, $2, $3, 'ann', 'm', 6, 64, 96, $4, 0, 2.0, $5, 'owner', 9000, 1000, 1000, 1000)";

#[rstest]
#[tokio::test]
async fn jobs_of_an_old_database_go_on(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some(test) = TestDatabase::open(adapter).await else { return };
    let (waits, runs, done_before) = (record("ann"), record("ann"), record("ann"));
    let Outcome::Completed(result) = completed() else { unreachable!() };
    let rows = [(&waits, "queued", None), (&runs, "running", None), (&done_before, "completed", Some(&result))];
    // Two dialects of the same statements: their connections have nothing in common.
    macro_rules! fill {
        ($connection:expr) => {
            for (record, state, result) in rows {
                sqlx::query(JOB)
                    .bind(record.job.id.to_string())
                    .bind(state)
                    .bind(serde_json::to_string(&record.job.request).unwrap())
                    .bind(result.map(|result| serde_json::to_string(result).unwrap()))
                    .bind(vec![0_u8])
                    .bind(result.map(|_| 1_500_i64))
                    .execute($connection)
                    .await
                    .unwrap();
                sqlx::query(TASK)
                    .bind(record.task().to_string())
                    .bind(vec![0_u8])
                    .bind(record.job.id.to_string())
                    .bind(state)
                    .bind(i64::from(state != "queued"))
                    .execute($connection)
                    .await
                    .unwrap();
            }
        };
    }
    let directory = tempfile::tempdir().unwrap();
    let address = match &test.database {
        Database::Sqlite(_) => {
            let path = directory.path().join("old.db");
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::migrate!("migrations/sqlite").run_to(2, &mut connection).await.unwrap();
            fill!(&mut connection);
            connection.close().await.unwrap();
            DatabaseAddress::File(path)
        }
        Database::Postgres(database) => {
            test.execute("DROP SCHEMA public CASCADE").await.unwrap();
            test.execute("CREATE SCHEMA public").await.unwrap();
            let mut connection = database.pool().acquire().await.unwrap();
            let connection: &mut PgConnection = &mut connection;
            sqlx::migrate!("migrations/postgres").run_to(1, &mut *connection).await.unwrap();
            fill!(&mut *connection);
            test.address.clone()
        }
    };
    let store = open(&Database::open(&address).await.unwrap());
    let waiting = store.queued(START, 9).await.unwrap();
    assert_eq!(
        waiting.iter().map(|task| (task.task, task.position, task.lane)).collect::<Vec<_>>(),
        [(waits.task(), 0, Lane::Device)]
    );
    assert_eq!(store.job(waits.job.id).await.unwrap(), waits.job);
    let claimed = claim(&*store, &waits).await;
    store.finish(&ending(&claimed.fence, completed()), NOW).await.unwrap();
    let fence = Fence { task: runs.task(), job: runs.job.id, attempt: 1, owner: "owner".to_owned() };
    store.finish(&ending(&fence, completed()), NOW).await.unwrap();
    for record in [&waits, &runs, &done_before] {
        let task = store.tasks_of(record.job.id).await.unwrap().remove(0);
        assert_eq!((task.state, task.attempt, &task.result), (JobState::Completed, 1, &Some(result.clone())));
    }
    let film = inserted_film(&*store, &[24]).await;
    let keyframe = claim_all(&*store, "owner").await.remove(0);
    assert_eq!(store.finish(&done(&keyframe), NOW).await.unwrap().arrived.len(), 1);
    assert_eq!(state(&*store, &film).await, JobState::Running);
}
