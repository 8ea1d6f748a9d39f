//! How tasks are taken from the queue and held.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{quotas, reads};
use crate::database::PostgresDatabase;
use crate::domain::{JobId, JobState, TaskId, UnixMs};
use crate::jobs::store::claimed::{self, ClaimRow, claim_columns};
use crate::jobs::store::rows::{AccountRow, HeldTasks, account_columns, farthest, job_columns, parse, to_json, unreadable_error};
use crate::jobs::store::{Claim, LONGEST_PAUSE_MS, Renewal, Renewed, StoreError, ledger};
use crate::quota;

/// Locks the films of the tasks. Somebody who changes one need not want these tasks of it, and would leave them to nobody: they are
/// waited for, as they sort.
const LOCK_FILMS: &str = "
    SELECT 1 FROM jobs WHERE id IN (SELECT job_id FROM tasks WHERE tasks.id = ANY($1) AND tasks.state = 'queued')
        AND kind = 'film' AND state IN ('queued', 'running')
    ORDER BY id FOR UPDATE";

/// The compare-and-swap. Whatever else somebody is changing is left to them, so this waits for nobody. A pause that ends later than
/// any can was written by a clock that has been put back since.
const CLAIM: &str = concat!(
    "WITH ready AS (
        SELECT tasks.id FROM tasks JOIN jobs ON jobs.id = tasks.job_id
        WHERE tasks.id = ANY($1) AND tasks.state = 'queued' AND jobs.state IN ('queued', 'running') AND cancel_requested_ms IS NULL
            AND (run_after_ms IS NULL OR run_after_ms <= $4 OR run_after_ms > $5)
        ORDER BY tasks.job_id FOR UPDATE SKIP LOCKED
    )
    UPDATE tasks SET state = 'running', attempt = attempt + 1, lease_owner = $2, lease_until_ms = $3, run_after_ms = NULL, updated_ms = $4
    FROM ready WHERE tasks.id = ready.id
    RETURNING ",
    claim_columns!()
);

/// A film that goes on keeps its progress.
const START: &str = concat!(
    "UPDATE jobs SET state = 'running', updated_ms = $2, started_ms = CASE state WHEN 'queued' THEN $2 ELSE started_ms END,
         progress_step = CASE kind WHEN 'film' THEN progress_step ELSE 0 END,
         progress_steps = CASE kind WHEN 'film' THEN progress_steps ELSE 0 END
     WHERE id = ANY($1) RETURNING ",
    account_columns!(),
    job_columns!()
);

pub(super) async fn claim(
    database: &PostgresDatabase,
    tasks: &[TaskId],
    owner: &str,
    now: UnixMs,
    lease_until: UnixMs,
) -> Result<Vec<Claim>, StoreError> {
    let tasks: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    let mut transaction = database.pool().begin().await?;
    sqlx::query(LOCK_FILMS).bind(&tasks).execute(&mut *transaction).await?;
    let won: Vec<ClaimRow> = sqlx::query_as(CLAIM)
        .bind(tasks)
        .bind(owner)
        .bind(lease_until.0)
        .bind(now.0)
        .bind(now.0.saturating_add(LONGEST_PAUSE_MS))
        .fetch_all(&mut *transaction)
        .await?;
    if won.is_empty() {
        return Ok(Vec::new());
    }
    let job_ids: Vec<String> = won.iter().map(|row| row.job_id.clone()).collect();
    let jobs: Vec<AccountRow> = sqlx::query_as(START).bind(job_ids).bind(now.0).fetch_all(&mut *transaction).await?;
    let finished = reads::finished(&mut transaction, &claimed::films(&jobs)).await?;
    let (claims, unreadable) = claimed::read(jobs, won, finished)?;
    let mut failed = Vec::with_capacity(unreadable.len());
    for (job, reason) in unreadable {
        // Left in the queue it would be the next to be claimed for ever.
        let id = &job.job.id;
        tracing::error!(job.id = id, reason, "Job {id} has failed: its row cannot be read: {reason}");
        failed.push(job);
    }
    fail_unreadable(&mut transaction, &failed, now).await?;
    transaction.commit().await?;
    Ok(claims)
}

/// Fails jobs whose rows cannot be read and which this transaction has locked, and their tasks.
async fn fail_unreadable(connection: &mut PgConnection, jobs: &[AccountRow], now: UnixMs) -> Result<(), StoreError> {
    let mut settled = Vec::new();
    for job in jobs {
        let charged = reads::tasks(&mut *connection, job).await?.charged(JobState::Failed);
        sqlx::query("UPDATE jobs SET state = 'failed', error = $1, spent = $2, finished_ms = $3, updated_ms = $3 WHERE id = $4")
            .bind(unreadable_error()?)
            .bind(to_json(&charged)?)
            .bind(now.0)
            .bind(&job.job.id)
            .execute(&mut *connection)
            .await?;
        sqlx::query("UPDATE tasks SET state = 'failed', updated_ms = $1 WHERE job_id = $2 AND state IN ('queued', 'running')")
            .bind(now.0)
            .bind(&job.job.id)
            .execute(&mut *connection)
            .await?;
        settled.extend(quota::settle(&job.reservations(), &charged));
    }
    quotas::adjust(connection, &ledger::merged(settled)).await
}

/// Fails waiting tasks that cannot be read, and their jobs. Their time of ending is that of their last change: nobody says the present
/// one.
pub(super) async fn fail_waiting(database: &PostgresDatabase, tasks: &[String]) -> Result<(), StoreError> {
    let mut transaction = database.pool().begin().await?;
    let jobs: Vec<AccountRow> = sqlx::query_as(concat!(
        "SELECT ",
        account_columns!(),
        job_columns!(),
        " FROM jobs WHERE id IN (SELECT job_id FROM tasks WHERE tasks.id = ANY($1) AND tasks.state = 'queued')
             AND state IN ('queued', 'running')
         ORDER BY id FOR UPDATE"
    ))
    .bind(tasks)
    .fetch_all(&mut *transaction)
    .await?;
    let latest = jobs.iter().map(|job| job.job.updated()).max().unwrap_or(UnixMs(0));
    fail_unreadable(&mut transaction, &jobs, latest).await?;
    transaction.commit().await?;
    Ok(())
}

/// What somebody else is changing at this moment is left out, so this waits for nobody and one job holds up no other.
pub(super) async fn renew(
    database: &PostgresDatabase,
    renewals: &[Renewal],
    now: UnixMs,
    lease_until: UnixMs,
) -> Result<Vec<Renewed>, StoreError> {
    let jobs: Vec<String> = renewals.iter().map(|renewal| renewal.fence.job.to_string()).collect();
    let mut transaction = database.pool().begin().await?;
    let locked: Vec<String> = sqlx::query_scalar("SELECT id FROM jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED")
        .bind(&jobs)
        .fetch_all(&mut *transaction)
        .await?;
    let locked: HashSet<JobId> = locked.iter().map(|job| parse(job)).collect::<Result<_, StoreError>>()?;
    let (free, busy): (Vec<&Renewal>, Vec<&Renewal>) = renewals.iter().partition(|renewal| locked.contains(&renewal.fence.job));
    let (tasks, attempts, owners) = fence_columns(&free);
    let held: Vec<(String, i64, String)> = sqlx::query_as(
        "UPDATE tasks SET lease_until_ms = $4, updated_ms = $5
         FROM unnest($1::text[], $2::bigint[], $3::text[]) AS fence (task_id, attempt, owner)
         WHERE tasks.id = fence.task_id AND state = 'running' AND tasks.attempt = fence.attempt AND lease_owner = fence.owner
         RETURNING tasks.id, tasks.attempt, lease_owner",
    )
    .bind(tasks)
    .bind(attempts)
    .bind(owners)
    .bind(lease_until.0)
    .bind(now.0)
    .fetch_all(&mut *transaction)
    .await?;
    let held = HeldTasks::read(held)?;
    let progress = farthest(free.into_iter().filter(|renewal| held.has(&renewal.fence)));
    let marked: Vec<(String, bool)> = sqlx::query_as(
        "UPDATE jobs SET progress_step = now.step, progress_steps = now.steps, updated_ms = $4
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS now (job_id, step, steps)
         WHERE jobs.id = now.job_id RETURNING jobs.id, cancel_requested_ms IS NOT NULL",
    )
    .bind(progress.iter().map(|(job, _, _)| job.to_string()).collect::<Vec<_>>())
    .bind(progress.iter().map(|(_, step, _)| i64::from(*step)).collect::<Vec<_>>())
    .bind(progress.iter().map(|(_, _, steps)| i64::from(*steps)).collect::<Vec<_>>())
    .bind(now.0)
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let undecided = undecided(database, &busy).await?;
    let marked: HashMap<JobId, bool> =
        marked.into_iter().map(|(job, cancel)| Ok((parse(&job)?, cancel))).collect::<Result<_, StoreError>>()?;
    Ok(renewals
        .iter()
        .map(|Renewal { fence, .. }| match marked.get(&fence.job) {
            Some(cancel_requested) if held.has(fence) => Renewed::Held { cancel_requested: *cancel_requested },
            _ if undecided.has(fence) => Renewed::Busy,
            _ => Renewed::Lost,
        })
        .collect())
}

/// Those of the tasks whose jobs could not be locked that are held as far as anything is committed; a job that is not there cannot be
/// locked either.
async fn undecided(database: &PostgresDatabase, busy: &[&Renewal]) -> Result<HeldTasks, StoreError> {
    if busy.is_empty() {
        return Ok(HeldTasks::default());
    }
    let (tasks, attempts, owners) = fence_columns(busy);
    let held = sqlx::query_as(
        "SELECT tasks.id, tasks.attempt, lease_owner
         FROM tasks, unnest($1::text[], $2::bigint[], $3::text[]) AS fence (task_id, attempt, owner)
         WHERE tasks.id = fence.task_id AND state = 'running' AND tasks.attempt = fence.attempt AND lease_owner = fence.owner",
    )
    .bind(tasks)
    .bind(attempts)
    .bind(owners)
    .fetch_all(database.pool())
    .await?;
    HeldTasks::read(held)
}

fn fence_columns<'a>(renewals: &[&'a Renewal]) -> (Vec<String>, Vec<i64>, Vec<&'a str>) {
    let fences = || renewals.iter().map(|renewal| &renewal.fence);
    (
        fences().map(|fence| fence.task.to_string()).collect(),
        fences().map(|fence| fence.attempt).collect(),
        fences().map(|fence| fence.owner.as_str()).collect(),
    )
}
