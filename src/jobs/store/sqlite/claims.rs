//! How tasks are taken from the queue and held.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::quotas;
use super::waiting::Waiting;
use crate::domain::{JobId, Spent, UnixMs};
use crate::jobs::store::rows::{
    AccountRow, ClaimRow, HeldTasks, job_columns, parse, read_reservations, to_json, unreadable_error,
};
use crate::jobs::store::{Claim, LONGEST_PAUSE_MS, Renewal, Renewed, StoreError};
use crate::quota;

/// The compare-and-swap. A pause that ends later than any can was written by a clock that has been put back since.
const CLAIM: &str = "
    UPDATE tasks SET state = 'running', attempt = attempt + 1, lease_owner = ?2, lease_until_ms = ?3, run_after_ms = NULL, updated_ms = ?4
    WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'queued'
        AND (run_after_ms IS NULL OR run_after_ms <= ?4 OR run_after_ms > ?5)
        AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = tasks.job_id AND jobs.state = 'queued')
    RETURNING id AS task_id, job_id, attempt, failures, alone";

const START: &str = concat!(
    "UPDATE jobs SET state = 'running', started_ms = ?2, updated_ms = ?2, progress_step = 0, progress_steps = 0
     WHERE id IN (SELECT value FROM json_each(?1)) RETURNING reservations, spent, ",
    job_columns!()
);

/// `tasks` is a JSON array of identifiers.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    tasks: &str,
    owner: &str,
    now: UnixMs,
    lease_until: UnixMs,
    waiting: &Waiting,
) -> Result<Vec<Claim>, StoreError> {
    let won: Vec<ClaimRow> = sqlx::query_as(CLAIM)
        .bind(tasks)
        .bind(owner)
        .bind(lease_until.0)
        .bind(now.0)
        .bind(now.0.saturating_add(LONGEST_PAUSE_MS))
        .fetch_all(&mut *connection)
        .await?;
    if won.is_empty() {
        return Ok(Vec::new());
    }
    let job_ids: Vec<&str> = won.iter().map(|row| row.job_id.as_str()).collect();
    let jobs: Vec<AccountRow> = sqlx::query_as(START).bind(to_json(&job_ids)?).bind(now.0).fetch_all(&mut *connection).await?;
    let mut jobs: HashMap<String, AccountRow> = jobs.into_iter().map(|row| (row.job.id.clone(), row)).collect();
    let left_the_queue = i64::try_from(won.len()).unwrap_or(i64::MAX);
    let mut claims = Vec::with_capacity(won.len());
    for row in won {
        let Some(job) = jobs.remove(&row.job_id) else { continue };
        let (id, reservations) = (row.job_id.clone(), job.reservations.clone());
        match job.job.into_job().and_then(|job| row.into_claim(owner, job)) {
            Ok(claim) => claims.push(claim),
            // Left in the queue it would be the next to be claimed for ever.
            Err(StoreError::Corrupt(reason)) => {
                tracing::error!(job.id = id, reason, "Job {id} has failed: its row cannot be read: {reason}");
                fail_unreadable(&mut *connection, &id, &reservations, now).await?;
            }
            Err(error) => return Err(error),
        }
    }
    waiting.changed_by(-left_the_queue);
    Ok(claims)
}

/// Fails a job whose row cannot be read, and its task.
async fn fail_unreadable(
    connection: &mut SqliteConnection,
    job: &str,
    reservations: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE jobs SET state = 'failed', error = ?1, spent = ?2, finished_ms = ?3, updated_ms = ?3
             WHERE id = ?4 AND state IN ('queued', 'running');
         UPDATE tasks SET state = 'failed', updated_ms = ?3 WHERE job_id = ?4 AND state IN ('queued', 'running')",
    )
    .bind(unreadable_error()?)
    .bind(to_json(&Spent::default())?)
    .bind(now.0)
    .bind(job)
    .execute(&mut *connection)
    .await?;
    quotas::adjust(connection, &quota::settle(&read_reservations(job, reservations), &Spent::default())).await
}

/// Fails waiting tasks that cannot be read, and their jobs. Their time of ending is that of their last change: nobody says the present
/// one.
pub(super) async fn fail_waiting(
    connection: &mut SqliteConnection,
    tasks: &[String],
    waiting: &Waiting,
) -> Result<(), StoreError> {
    let jobs: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT jobs.id, jobs.reservations, jobs.updated_ms FROM tasks JOIN jobs ON jobs.id = tasks.job_id
         WHERE tasks.id IN (SELECT value FROM json_each(?1)) AND tasks.state = 'queued'",
    )
    .bind(to_json(&tasks)?)
    .fetch_all(&mut *connection)
    .await?;
    for (id, reservations, updated_ms) in &jobs {
        fail_unreadable(&mut *connection, id, reservations, UnixMs(*updated_ms)).await?;
    }
    waiting.changed_by(-i64::try_from(jobs.len()).unwrap_or(i64::MAX));
    Ok(())
}

pub(super) async fn renew(
    connection: &mut SqliteConnection,
    renewals: &[Renewal],
    now: UnixMs,
    lease_until: UnixMs,
) -> Result<Vec<Renewed>, StoreError> {
    let fences: Vec<_> = renewals.iter().map(|Renewal { fence, .. }| (fence.task, fence.attempt, &fence.owner)).collect();
    let held: Vec<(String, i64, String)> = sqlx::query_as(
        "UPDATE tasks SET lease_until_ms = ?2, updated_ms = ?3 FROM json_each(?1) AS fence
         WHERE tasks.id = fence.value ->> 0 AND state = 'running' AND attempt = fence.value ->> 1 AND lease_owner = fence.value ->> 2
         RETURNING id, attempt, lease_owner",
    )
    .bind(to_json(&fences)?)
    .bind(lease_until.0)
    .bind(now.0)
    .fetch_all(&mut *connection)
    .await?;
    let held = HeldTasks::read(held)?;
    let progress: Vec<_> = renewals
        .iter()
        .filter(|renewal| held.has(&renewal.fence))
        .map(|Renewal { fence, progress }| (fence.job, progress.step, progress.steps))
        .collect();
    let marked: Vec<(String, bool)> = sqlx::query_as(
        "UPDATE jobs SET progress_step = now.value ->> 1, progress_steps = now.value ->> 2, updated_ms = ?2 FROM json_each(?1) AS now
         WHERE jobs.id = now.value ->> 0 RETURNING jobs.id, cancel_requested_ms IS NOT NULL",
    )
    .bind(to_json(&progress)?)
    .bind(now.0)
    .fetch_all(connection)
    .await?;
    let marked: HashMap<JobId, bool> =
        marked.into_iter().map(|(job, cancel)| Ok((parse(&job)?, cancel))).collect::<Result<_, StoreError>>()?;
    Ok(renewals
        .iter()
        .map(|Renewal { fence, .. }| match marked.get(&fence.job) {
            Some(cancel_requested) if held.has(fence) => Renewed::Held { cancel_requested: *cancel_requested },
            _ => Renewed::Lost,
        })
        .collect())
}
