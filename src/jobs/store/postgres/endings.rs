//! How jobs end, and how those that do not end go back to the queue.

use sqlx::PgConnection;

use super::{quotas, reads};
use crate::database::PostgresDatabase;
use crate::domain::{Job, JobId, JobState, Spent, UnixMs};
use crate::jobs::store::rows::{AccountRow, EndRow, JobRow, corrupt, job_columns, parse, to_json};
use crate::jobs::store::{Claim, Ending, FARTHEST_LEASE_END_MS, Fence, Release, StoreError, ledger};
use crate::quota;

const FINISH: &str = concat!(
    "UPDATE jobs SET state = $1, result = $2, error = $3, spent = $4, finished_ms = $5, updated_ms = $5, progress_step = $6,
         progress_steps = $7
     WHERE id = $8 AND state = 'running' RETURNING reservations, spent, ",
    job_columns!()
);

/// A job that goes back follows the wish of whoever has asked it to stop.
const GIVE_BACK: &str = concat!(
    "UPDATE jobs SET
         state = CASE WHEN cancel_requested_ms IS NULL THEN 'queued' ELSE 'cancelled' END,
         finished_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE $1 END,
         started_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE started_ms END,
         spent = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE $2 END,
         progress_step = 0, progress_steps = 0, updated_ms = $1
     WHERE id = $3 AND state = 'running' RETURNING reservations, spent, ",
    job_columns!()
);

/// Locks the job of a claim, if it still runs. Only then can the task's row be trusted: a statement that waited for the job would
/// still see the task as it was before.
async fn lock_running(connection: &mut PgConnection, job: JobId) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT 1 FROM jobs WHERE id = $1 AND state = 'running' FOR UPDATE")
        .bind(job.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

pub(super) async fn finish(database: &PostgresDatabase, ending: &Ending, now: UnixMs) -> Result<Job, StoreError> {
    let Ending { fence, outcome, progress, spent } = ending;
    let row = EndRow::of(outcome, spent)?;
    let mut transaction = database.pool().begin().await?;
    if !lock_running(&mut transaction, fence.job).await? {
        return ended_already(&mut transaction, fence, &row).await;
    }
    // The owner stays: it tells who may ask again what became of this.
    let left = sqlx::query(
        "UPDATE tasks SET state = $1, failures = failures + $2, lease_until_ms = NULL, updated_ms = $3
         WHERE id = $4 AND job_id = $5 AND state = 'running' AND attempt = $6 AND lease_owner = $7",
    )
    .bind(row.state)
    .bind(row.failures)
    .bind(now.0)
    .bind(fence.task.to_string())
    .bind(fence.job.to_string())
    .bind(fence.attempt)
    .bind(&fence.owner)
    .execute(&mut *transaction)
    .await?;
    if left.rows_affected() == 0 {
        return Err(StoreError::LeaseLost);
    }
    let ended: AccountRow = sqlx::query_as(FINISH)
        .bind(row.state)
        .bind(&row.result)
        .bind(&row.error)
        .bind(&row.spent)
        .bind(now.0)
        .bind(i64::from(progress.step))
        .bind(i64::from(progress.steps))
        .bind(fence.job.to_string())
        .fetch_one(&mut *transaction)
        .await?;
    quotas::adjust(&mut transaction, &quota::settle(&ended.reservations(), spent)).await?;
    let job = ended.job.into_job()?;
    transaction.commit().await?;
    Ok(job)
}

/// The job, if this very ending has been written already and only its answer was lost.
async fn ended_already(connection: &mut PgConnection, fence: &Fence, end: &EndRow) -> Result<Job, StoreError> {
    let row: Option<JobRow> = sqlx::query_as(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs JOIN tasks ON tasks.job_id = jobs.id
         WHERE jobs.id = $1 AND tasks.id = $2 AND tasks.attempt = $3 AND tasks.lease_owner = $4 AND tasks.state = $5"
    ))
    .bind(fence.job.to_string())
    .bind(fence.task.to_string())
    .bind(fence.attempt)
    .bind(&fence.owner)
    .bind(end.state)
    .fetch_optional(connection)
    .await?;
    row.filter(|row| end.is_of(row)).ok_or(StoreError::LeaseLost)?.into_job()
}

pub(super) async fn release(
    database: &PostgresDatabase,
    fence: &Fence,
    release: &Release,
    now: UnixMs,
) -> Result<Job, StoreError> {
    let mut transaction = database.pool().begin().await?;
    if !lock_running(&mut transaction, fence.job).await? {
        return Err(StoreError::LeaseLost);
    }
    let held = sqlx::query(
        "SELECT 1 FROM tasks WHERE id = $1 AND job_id = $2 AND state = 'running' AND attempt = $3 AND lease_owner = $4 FOR UPDATE",
    )
    .bind(fence.task.to_string())
    .bind(fence.job.to_string())
    .bind(fence.attempt)
    .bind(&fence.owner)
    .fetch_optional(&mut *transaction)
    .await?;
    if held.is_none() {
        return Err(StoreError::LeaseLost);
    }
    let back = give_back(&mut transaction, &fence.job.to_string(), now).await?;
    let reservations = back.reservations();
    let job = back.job.into_job()?;
    sqlx::query(
        "UPDATE tasks SET state = $1, queued_ms = $2, updated_ms = $2, lease_owner = NULL, lease_until_ms = NULL,
             failures = failures + $3, alone = $4, run_after_ms = $5
         WHERE id = $6",
    )
    .bind(job.state.as_str())
    .bind(now.0)
    .bind(i64::from(release.charged))
    .bind(release.alone)
    .bind(release.run_after.map(|time| time.0))
    .bind(fence.task.to_string())
    .execute(&mut *transaction)
    .await?;
    if job.state.is_terminal() {
        quotas::adjust(&mut transaction, &quota::settle(&reservations, &Spent::default())).await?;
    } else {
        database.notify(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(job)
}

/// Takes a job that this transaction has locked out of `running`.
async fn give_back(connection: &mut PgConnection, job: &str, now: UnixMs) -> Result<AccountRow, StoreError> {
    let row = sqlx::query_as(GIVE_BACK).bind(now.0).bind(to_json(&Spent::default())?).bind(job).fetch_one(connection).await?;
    Ok(row)
}

pub(super) async fn give_back_expired(
    database: &PostgresDatabase,
    owner: &str,
    all: bool,
    now: UnixMs,
) -> Result<Vec<Claim>, StoreError> {
    let mut transaction = database.pool().begin().await?;
    // Whoever has a row locked is alive, or its session ends soon.
    let expired: Vec<(String, String, i64, Option<String>, i64, bool)> = sqlx::query_as(
        "SELECT tasks.id, job_id, attempt, lease_owner, failures, alone FROM tasks JOIN jobs ON jobs.id = tasks.job_id
         WHERE tasks.state = 'running' AND jobs.state = 'running' AND lease_owner IS DISTINCT FROM $1
             AND ($2 OR lease_until_ms IS NULL OR lease_until_ms < $3 OR lease_until_ms > $4)
         ORDER BY job_id FOR UPDATE SKIP LOCKED",
    )
    .bind(owner)
    .bind(all)
    .bind(now.0)
    .bind(now.0.saturating_add(FARTHEST_LEASE_END_MS))
    .fetch_all(&mut *transaction)
    .await?;
    if expired.is_empty() {
        return Ok(Vec::new());
    }
    let (mut claims, mut adjustments) = (Vec::with_capacity(expired.len()), Vec::new());
    for (task, job, attempt, holder, failures, alone) in expired {
        let back = give_back(&mut transaction, &job, now).await?;
        sqlx::query(
            "UPDATE tasks SET state = (SELECT state FROM jobs WHERE id = $1), queued_ms = $2, updated_ms = $2, lease_owner = NULL,
                 lease_until_ms = NULL
             WHERE id = $3",
        )
        .bind(&job)
        .bind(now.0)
        .bind(&task)
        .execute(&mut *transaction)
        .await?;
        if back.spent.is_some() {
            adjustments.extend(quota::settle(&back.reservations(), &Spent::default()));
        }
        // Who cannot be read goes back all the same; the next claim deals with it.
        match back.job.into_job().and_then(|job| {
            let fence = Fence { task: parse(&task)?, job: job.id, attempt, owner: holder.unwrap_or_default() };
            Ok(Claim { fence, job, failures: u32::try_from(failures).map_err(corrupt)?, alone })
        }) {
            Ok(claim) => claims.push(claim),
            Err(error) => tracing::error!(task.id = task, error = %error, "A task that goes back cannot be read: {error}"),
        }
    }
    quotas::adjust(&mut transaction, &ledger::merged(adjustments)).await?;
    database.notify(&mut transaction).await?;
    transaction.commit().await?;
    Ok(claims)
}

pub(super) async fn request_cancel(database: &PostgresDatabase, id: JobId, now: UnixMs) -> Result<(JobState, Job), StoreError> {
    let mut transaction = database.pool().begin().await?;
    let before = reads::locked(&mut transaction, id).await?;
    let after = match before.state {
        JobState::Queued => {
            let cancelled: AccountRow = sqlx::query_as(concat!(
                "UPDATE jobs SET state = 'cancelled', cancel_requested_ms = $1, finished_ms = $1, updated_ms = $1, spent = $2
                 WHERE id = $3 RETURNING reservations, spent, ",
                job_columns!()
            ))
            .bind(now.0)
            .bind(to_json(&Spent::default())?)
            .bind(id.to_string())
            .fetch_one(&mut *transaction)
            .await?;
            sqlx::query("UPDATE tasks SET state = 'cancelled', updated_ms = $1 WHERE job_id = $2 AND state = 'queued'")
                .bind(now.0)
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await?;
            quotas::adjust(&mut transaction, &quota::settle(&cancelled.reservations(), &Spent::default())).await?;
            cancelled.job.into_job()?
        }
        JobState::Running => {
            sqlx::query("UPDATE jobs SET cancel_requested_ms = COALESCE(cancel_requested_ms, $1), updated_ms = $1 WHERE id = $2")
                .bind(now.0)
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await?;
            Job { updated: now, ..before.clone() }
        }
        JobState::Completed | JobState::Failed | JobState::Cancelled => return Ok((before.state, before)),
    };
    database.notify(&mut transaction).await?;
    transaction.commit().await?;
    Ok((before.state, after))
}
