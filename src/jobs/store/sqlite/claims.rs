//! How tasks are taken from the queue and held.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::waiting::Waiting;
use super::{quotas, reads};
use crate::domain::{JobId, JobState, UnixMs};
use crate::jobs::store::claimed::{self, ClaimRow, claim_columns};
use crate::jobs::store::rows::{AccountRow, HeldTasks, account_columns, farthest, job_columns, parse, to_json, unreadable_error};
use crate::jobs::store::{Claim, LONGEST_PAUSE_MS, Renewal, Renewed, StoreError};
use crate::quota;

/// The compare-and-swap. A pause that ends later than any can was written by a clock that has been put back since.
const CLAIM: &str = concat!(
    "UPDATE tasks SET state = 'running', attempt = attempt + 1, lease_owner = ?2, lease_until_ms = ?3, run_after_ms = NULL, updated_ms = ?4
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'queued'
         AND (run_after_ms IS NULL OR run_after_ms <= ?4 OR run_after_ms > ?5)
         AND EXISTS (SELECT 1 FROM jobs WHERE jobs.id = tasks.job_id AND jobs.state IN ('queued', 'running')
             AND jobs.cancel_requested_ms IS NULL)
     RETURNING ",
    claim_columns!()
);

/// A film that goes on keeps its progress.
const START: &str = concat!(
    "UPDATE jobs SET state = 'running', updated_ms = ?2, started_ms = CASE state WHEN 'queued' THEN ?2 ELSE started_ms END,
         progress_step = CASE kind WHEN 'film' THEN progress_step ELSE 0 END,
         progress_steps = CASE kind WHEN 'film' THEN progress_steps ELSE 0 END
     WHERE id IN (SELECT value FROM json_each(?1)) RETURNING ",
    account_columns!(),
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
    let finished = reads::finished(&mut *connection, &claimed::films(&jobs)).await?;
    let mut left_the_queue = i64::try_from(won.len()).unwrap_or(i64::MAX);
    let (claims, unreadable) = claimed::read(jobs, won, finished)?;
    for (job, reason) in unreadable {
        // Left in the queue it would be the next to be claimed for ever.
        let id = &job.job.id;
        tracing::error!(job.id = id, reason, "Job {id} has failed: its row cannot be read: {reason}");
        left_the_queue += fail_unreadable(&mut *connection, &job, now).await?;
    }
    waiting.changed_by(-left_the_queue);
    Ok(claims)
}

/// Fails a job whose row cannot be read, and its tasks. Gives how many of them waited.
async fn fail_unreadable(connection: &mut SqliteConnection, job: &AccountRow, now: UnixMs) -> Result<i64, StoreError> {
    let tasks = reads::tasks(&mut *connection, job).await?;
    let charged = tasks.charged(JobState::Failed);
    sqlx::query(
        "UPDATE jobs SET state = 'failed', error = ?1, spent = ?2, finished_ms = ?3, updated_ms = ?3
             WHERE id = ?4 AND state IN ('queued', 'running');
         UPDATE tasks SET state = 'failed', updated_ms = ?3 WHERE job_id = ?4 AND state IN ('queued', 'running')",
    )
    .bind(unreadable_error()?)
    .bind(to_json(&charged)?)
    .bind(now.0)
    .bind(&job.job.id)
    .execute(&mut *connection)
    .await?;
    quotas::adjust(connection, &quota::settle(&job.reservations(), &charged)).await?;
    Ok(tasks.waiting())
}

/// Fails waiting tasks that cannot be read, and their jobs. Their time of ending is that of their last change: nobody says the present
/// one.
pub(super) async fn fail_waiting(
    connection: &mut SqliteConnection,
    tasks: &[String],
    waiting: &Waiting,
) -> Result<(), StoreError> {
    let jobs: Vec<AccountRow> = sqlx::query_as(concat!(
        "SELECT ",
        account_columns!(),
        job_columns!(),
        " FROM jobs WHERE id IN (SELECT job_id FROM tasks WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'queued')"
    ))
    .bind(to_json(&tasks)?)
    .fetch_all(&mut *connection)
    .await?;
    let mut left_the_queue = 0;
    for job in &jobs {
        left_the_queue += fail_unreadable(&mut *connection, job, job.job.updated()).await?;
    }
    waiting.changed_by(-left_the_queue);
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
    let progress = farthest(renewals.iter().filter(|renewal| held.has(&renewal.fence)));
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
