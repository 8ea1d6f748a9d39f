//! What is kept no longer.

use sqlx::PgConnection;

use super::quotas;
use crate::database::PostgresDatabase;
use crate::domain::{Job, UnixMs};
use crate::jobs::store::rows::{AccountRow, JobRow, account_columns, job_columns};
use crate::jobs::store::{StoreError, filter};

/// Old jobs, and the identifiers of those that cannot be read.
pub(super) async fn ended(
    connection: &mut PgConnection,
    before: UnixMs,
    limit: u32,
) -> Result<(Vec<Job>, Vec<String>), StoreError> {
    let rows: Vec<JobRow> = sqlx::query_as(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE finished_ms < $1 AND state IN ('completed', 'failed', 'cancelled')
             AND NOT EXISTS (SELECT 1 FROM provider_calls WHERE provider_calls.job_id = jobs.id AND ended_ms IS NULL)
         ORDER BY finished_ms LIMIT $2"
    ))
    .bind(before.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(filter::split(rows))
}

/// Removes terminal jobs; those that somebody has locked stay until the next time.
pub(super) async fn forget(database: &PostgresDatabase, jobs: &[String]) -> Result<u64, StoreError> {
    let mut transaction = database.pool().begin().await?;
    let gone: Vec<AccountRow> = sqlx::query_as(concat!(
        "WITH old AS (
             SELECT id FROM jobs WHERE id = ANY($1) AND state IN ('completed', 'failed', 'cancelled')
                 AND NOT EXISTS (SELECT 1 FROM provider_calls WHERE provider_calls.job_id = jobs.id AND ended_ms IS NULL)
             ORDER BY id FOR UPDATE SKIP LOCKED
         )
         DELETE FROM jobs USING old WHERE jobs.id = old.id RETURNING ",
        account_columns!(),
        job_columns!()
    ))
    .bind(jobs)
    .fetch_all(&mut *transaction)
    .await?;
    let ids: Vec<&str> = gone.iter().map(|account| account.job.id.as_str()).collect();
    // A call may have ended after its job.
    sqlx::query("UPDATE provider_calls SET answer = NULL WHERE job_id = ANY($1) AND answer IS NOT NULL")
        .bind(ids)
        .execute(&mut *transaction)
        .await?;
    quotas::adjust(&mut transaction, &filter::given_up(&gone)).await?;
    transaction.commit().await?;
    Ok(gone.len() as u64)
}
