//! The tasks of jobs as the store has them.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::database::Store;

/// A task of a job.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct TaskRecord {
    /// Its place in the job's plan.
    pub(crate) position: i64,
    pub(crate) state: String,
    /// How often it has been claimed.
    pub(crate) attempt: i64,
}

impl Store {
    /// The tasks of a job, in the order of its plan; `sqlite` is the file of a server's own store.
    pub(crate) fn tasks(&self, sqlite: &Path, job: &str) -> Vec<TaskRecord> {
        let sql = format!("SELECT position, state, attempt FROM tasks WHERE job_id = '{job}' ORDER BY position");
        block_on(async {
            match self {
                Self::Sqlite => {
                    let mut connection = SqliteConnectOptions::new().filename(sqlite).connect().await?;
                    let tasks = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
                    connection.close().await.and(tasks)
                }
                Self::Postgres(_, database) => {
                    let mut connection = PgConnection::connect(database.url()).await?;
                    let tasks = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
                    connection.close().await.and(tasks)
                }
            }
        })
    }
}

/// Makes every ended job of a stopped server's own store older.
pub(crate) fn age(sqlite: &Path, days: i64) {
    let sql = format!("UPDATE jobs SET finished_ms = finished_ms - {days} * 86400000 WHERE finished_ms IS NOT NULL");
    block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(sqlite).connect().await?;
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await;
        connection.close().await.and(done)
    });
}

fn block_on<T>(asking: impl Future<Output = Result<T, sqlx::Error>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(asking).expect("the store answers")
}
