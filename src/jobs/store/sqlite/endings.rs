//! How jobs end, and how those that do not end go back to the queue.

use sqlx::SqliteConnection;

use super::waiting::Waiting;
use super::{quotas, reads};
use crate::domain::{Job, JobId, JobState, Spent, UnixMs};
use crate::jobs::store::rows::{AccountRow, EndRow, JobRow, corrupt, job_columns, parse, to_json};
use crate::jobs::store::{Claim, Ending, FARTHEST_LEASE_END_MS, Fence, Release, StoreError, ledger};
use crate::quota;

/// The job of `?1`, if the claim `?2`, `?3`, `?4` (task, attempt, owner) still runs it.
macro_rules! held_job {
    () => {
        " jobs.id = ?1 AND jobs.state = 'running' AND EXISTS (SELECT 1 FROM tasks
              WHERE tasks.id = ?2 AND tasks.job_id = ?1 AND tasks.state = 'running' AND tasks.attempt = ?3 AND tasks.lease_owner = ?4)"
    };
}

/// The task first, then the job of a task that has just ended so. The owner stays: it tells who may ask again what became of this.
const FINISH: &str = concat!(
    "UPDATE tasks SET state = ?5, failures = failures + ?12, lease_until_ms = NULL, updated_ms = ?9
     WHERE id = ?2 AND EXISTS (SELECT 1 FROM jobs WHERE",
    held_job!(),
    ");
     UPDATE jobs SET state = ?5, result = ?6, error = ?7, spent = ?8, finished_ms = ?9, updated_ms = ?9, progress_step = ?10,
         progress_steps = ?11
     WHERE id = ?1 AND state = 'running' AND EXISTS (SELECT 1 FROM tasks
         WHERE tasks.id = ?2 AND tasks.job_id = ?1 AND tasks.state = ?5 AND tasks.attempt = ?3 AND tasks.lease_owner = ?4)
     RETURNING reservations, spent, ",
    job_columns!()
);

/// A job that goes back follows the wish of whoever has asked it to stop. `?5` is the time, `?6` what it has spent.
const GIVE_BACK: &str = concat!(
    "UPDATE jobs SET
         state = CASE WHEN cancel_requested_ms IS NULL THEN 'queued' ELSE 'cancelled' END,
         finished_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE ?5 END,
         started_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE started_ms END,
         spent = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE ?6 END,
         progress_step = 0, progress_steps = 0, updated_ms = ?5
     WHERE",
    held_job!(),
    " RETURNING reservations, spent, ",
    job_columns!()
);

pub(super) async fn finish(
    connection: &mut SqliteConnection,
    ending: &Ending,
    row: &EndRow,
    now: UnixMs,
) -> Result<Job, StoreError> {
    let Ending { fence, progress, spent, .. } = ending;
    let ended: Option<AccountRow> = sqlx::query_as(FINISH)
        .bind(fence.job.to_string())
        .bind(fence.task.to_string())
        .bind(fence.attempt)
        .bind(&fence.owner)
        .bind(row.state)
        .bind(&row.result)
        .bind(&row.error)
        .bind(&row.spent)
        .bind(now.0)
        .bind(progress.step)
        .bind(progress.steps)
        .bind(row.failures)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(ended) = ended else { return ended_already(connection, fence, row).await };
    quotas::adjust(connection, &quota::settle(&ended.reservations(), spent)).await?;
    ended.job.into_job()
}

/// The job, if this very ending has been written already and only its answer was lost.
async fn ended_already(connection: &mut SqliteConnection, fence: &Fence, end: &EndRow) -> Result<Job, StoreError> {
    let row: Option<JobRow> = sqlx::query_as(concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs JOIN tasks ON tasks.job_id = jobs.id
         WHERE jobs.id = ?1 AND tasks.id = ?2 AND tasks.attempt = ?3 AND tasks.lease_owner = ?4 AND tasks.state = ?5"
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
    connection: &mut SqliteConnection,
    fence: &Fence,
    release: &Release,
    now: UnixMs,
    waiting: &Waiting,
) -> Result<Job, StoreError> {
    let back: Option<AccountRow> = sqlx::query_as(GIVE_BACK)
        .bind(fence.job.to_string())
        .bind(fence.task.to_string())
        .bind(fence.attempt)
        .bind(&fence.owner)
        .bind(now.0)
        .bind(to_json(&Spent::default())?)
        .fetch_optional(&mut *connection)
        .await?;
    let back = back.ok_or(StoreError::LeaseLost)?;
    let reservations = back.reservations();
    let job = back.job.into_job()?;
    sqlx::query(
        "UPDATE tasks SET state = ?1, queued_ms = ?2, updated_ms = ?2, lease_owner = NULL, lease_until_ms = NULL,
             failures = failures + ?3, alone = ?4, run_after_ms = ?5
         WHERE id = ?6",
    )
    .bind(job.state.as_str())
    .bind(now.0)
    .bind(i64::from(release.charged))
    .bind(release.alone)
    .bind(release.run_after.map(|time| time.0))
    .bind(fence.task.to_string())
    .execute(&mut *connection)
    .await?;
    if job.state.is_terminal() {
        quotas::adjust(connection, &quota::settle(&reservations, &Spent::default())).await?;
    } else {
        waiting.changed_by(1);
    }
    Ok(job)
}

pub(super) async fn give_back_expired(
    connection: &mut SqliteConnection,
    owner: &str,
    all: bool,
    now: UnixMs,
    waiting: &Waiting,
) -> Result<Vec<Claim>, StoreError> {
    let expired: Vec<(String, String, i64, Option<String>, i64, bool)> = sqlx::query_as(
        "SELECT id, job_id, attempt, lease_owner, failures, alone FROM tasks
         WHERE state = 'running' AND lease_owner IS NOT ?1 AND (?2 OR lease_until_ms IS NULL OR lease_until_ms < ?3
             OR lease_until_ms > ?4)
         ORDER BY id",
    )
    .bind(owner)
    .bind(all)
    .bind(now.0)
    .bind(now.0.saturating_add(FARTHEST_LEASE_END_MS))
    .fetch_all(&mut *connection)
    .await?;
    let (mut claims, mut joined, mut adjustments) = (Vec::with_capacity(expired.len()), 0, Vec::new());
    for (task, job, attempt, holder, failures, alone) in expired {
        let holder = holder.unwrap_or_default();
        let back: Option<AccountRow> = sqlx::query_as(GIVE_BACK)
            .bind(&job)
            .bind(&task)
            .bind(attempt)
            .bind(&holder)
            .bind(now.0)
            .bind(to_json(&Spent::default())?)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(back) = back else { continue };
        sqlx::query(
            "UPDATE tasks SET state = (SELECT state FROM jobs WHERE id = ?1), queued_ms = ?2, updated_ms = ?2, lease_owner = NULL,
                 lease_until_ms = NULL
             WHERE id = ?3",
        )
        .bind(&job)
        .bind(now.0)
        .bind(&task)
        .execute(&mut *connection)
        .await?;
        if back.spent.is_some() {
            adjustments.extend(quota::settle(&back.reservations(), &Spent::default()));
        } else {
            joined += 1;
        }
        // Who cannot be read goes back all the same; the next claim deals with it.
        match back.job.into_job().and_then(|job| {
            let fence = Fence { task: parse(&task)?, job: job.id, attempt, owner: holder };
            Ok(Claim { fence, job, failures: u32::try_from(failures).map_err(corrupt)?, alone })
        }) {
            Ok(claim) => claims.push(claim),
            Err(error) => tracing::error!(task.id = task, error = %error, "A task that goes back cannot be read: {error}"),
        }
    }
    quotas::adjust(connection, &ledger::merged(adjustments)).await?;
    waiting.changed_by(joined);
    Ok(claims)
}

pub(super) async fn request_cancel(
    connection: &mut SqliteConnection,
    id: JobId,
    now: UnixMs,
    waiting: &Waiting,
) -> Result<(JobState, Job), StoreError> {
    let before = reads::job(connection, id).await?;
    match before.state {
        JobState::Queued => {
            let cancelled: Option<AccountRow> = sqlx::query_as(concat!(
                "UPDATE jobs SET state = 'cancelled', cancel_requested_ms = ?1, finished_ms = ?1, updated_ms = ?1, spent = ?2
                 WHERE id = ?3 AND state = 'queued' RETURNING reservations, spent, ",
                job_columns!()
            ))
            .bind(now.0)
            .bind(to_json(&Spent::default())?)
            .bind(id.to_string())
            .fetch_optional(&mut *connection)
            .await?;
            let cancelled = cancelled.ok_or(StoreError::NotFound(id))?;
            sqlx::query("UPDATE tasks SET state = 'cancelled', updated_ms = ?1 WHERE job_id = ?2 AND state = 'queued'")
                .bind(now.0)
                .bind(id.to_string())
                .execute(&mut *connection)
                .await?;
            quotas::adjust(connection, &quota::settle(&cancelled.reservations(), &Spent::default())).await?;
            let job = cancelled.job.into_job()?;
            waiting.changed_by(-1);
            Ok((JobState::Queued, job))
        }
        JobState::Running => {
            sqlx::query(
                "UPDATE jobs SET cancel_requested_ms = COALESCE(cancel_requested_ms, ?1), updated_ms = ?1
                 WHERE id = ?2 AND state = 'running'",
            )
            .bind(now.0)
            .bind(id.to_string())
            .execute(&mut *connection)
            .await?;
            Ok((JobState::Running, Job { updated: now, ..before }))
        }
        JobState::Completed | JobState::Failed | JobState::Cancelled => Ok((before.state, before)),
    }
}
