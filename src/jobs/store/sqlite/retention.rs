//! What is kept no longer.

use sqlx::SqliteConnection;

use super::quotas;
use crate::domain::{Job, UnixMs};
use crate::jobs::store::rows::{AccountRow, JobRow, account_columns, job_columns, to_json};
use crate::jobs::store::{StoreError, filter};

/// Old jobs, and the identifiers of those that cannot be read.
pub(super) async fn ended(
    connection: &mut SqliteConnection,
    before: UnixMs,
    limit: u32,
) -> Result<(Vec<Job>, Vec<String>), StoreError> {
    let rows: Vec<JobRow> = sqlx::query_as(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE finished_ms < ?1 AND state IN ('completed', 'failed', 'cancelled')
             AND NOT EXISTS (SELECT 1 FROM provider_calls WHERE provider_calls.job_id = jobs.id AND ended_ms IS NULL)
         ORDER BY finished_ms LIMIT ?2"
    ))
    .bind(before.0)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(filter::split(rows))
}

/// Removes terminal jobs.
pub(super) async fn forget(connection: &mut SqliteConnection, jobs: &[String]) -> Result<u64, StoreError> {
    let gone: Vec<AccountRow> = sqlx::query_as(concat!(
        "DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('completed', 'failed', 'cancelled')
             AND NOT EXISTS (SELECT 1 FROM provider_calls WHERE provider_calls.job_id = jobs.id AND ended_ms IS NULL)
         RETURNING ",
        account_columns!(),
        job_columns!()
    ))
    .bind(to_json(&jobs)?)
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<&str> = gone.iter().map(|account| account.job.id.as_str()).collect();
    // A call may have ended after its job.
    sqlx::query(
        "UPDATE provider_calls SET answer = NULL WHERE job_id IN (SELECT value FROM json_each(?1)) AND answer IS NOT NULL",
    )
    .bind(to_json(&ids)?)
    .execute(&mut *connection)
    .await?;
    quotas::adjust(connection, &filter::given_up(&gone)).await?;
    Ok(gone.len() as u64)
}
