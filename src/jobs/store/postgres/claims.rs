//! How tasks are taken from the queue and held.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::quotas;
use crate::database::PostgresDatabase;
use crate::domain::{JobId, Spent, TaskId, UnixMs};
use crate::jobs::store::rows::{
    AccountRow, ClaimRow, HeldTasks, job_columns, parse, read_reservations, to_json, unreadable_error,
};
use crate::jobs::store::{Claim, LONGEST_PAUSE_MS, Renewal, Renewed, StoreError};
use crate::quota;

/// The compare-and-swap. Whatever somebody else is changing is left to them, so this waits for nobody. A pause that ends later than
/// any can was written by a clock that has been put back since.
const CLAIM: &str = "
    WITH ready AS (
        SELECT tasks.id FROM tasks JOIN jobs ON jobs.id = tasks.job_id
        WHERE tasks.id = ANY($1) AND tasks.state = 'queued' AND jobs.state = 'queued'
            AND (run_after_ms IS NULL OR run_after_ms <= $4 OR run_after_ms > $5)
        ORDER BY tasks.job_id FOR UPDATE SKIP LOCKED
    )
    UPDATE tasks SET state = 'running', attempt = attempt + 1, lease_owner = $2, lease_until_ms = $3, run_after_ms = NULL, updated_ms = $4
    FROM ready WHERE tasks.id = ready.id
    RETURNING tasks.id AS task_id, job_id, attempt, failures, alone";

const START: &str = concat!(
    "UPDATE jobs SET state = 'running', started_ms = $2, updated_ms = $2, progress_step = 0, progress_steps = 0
     WHERE id = ANY($1) RETURNING reservations, spent, ",
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
    let mut jobs: HashMap<String, AccountRow> = jobs.into_iter().map(|row| (row.job.id.clone(), row)).collect();
    let (mut claims, mut failed) = (Vec::with_capacity(won.len()), Vec::new());
    for row in won {
        let Some(job) = jobs.remove(&row.job_id) else { continue };
        let (id, reservations) = (row.job_id.clone(), job.reservations.clone());
        match job.job.into_job().and_then(|job| row.into_claim(owner, job)) {
            Ok(claim) => claims.push(claim),
            // Left in the queue it would be the next to be claimed for ever.
            Err(StoreError::Corrupt(reason)) => {
                tracing::error!(job.id = id, reason, "Job {id} has failed: its row cannot be read: {reason}");
                failed.push((id, reservations));
            }
            Err(error) => return Err(error),
        }
    }
    fail_unreadable(&mut transaction, &failed, now).await?;
    transaction.commit().await?;
    Ok(claims)
}

/// Fails jobs (identifier, reservations) whose rows cannot be read and which this transaction has locked, and their tasks.
async fn fail_unreadable(connection: &mut PgConnection, jobs: &[(String, String)], now: UnixMs) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = jobs.iter().map(|(id, _)| id.as_str()).collect();
    sqlx::query(
        "UPDATE jobs SET state = 'failed', error = $1, spent = $2, finished_ms = $3, updated_ms = $3
         WHERE id = ANY($4) AND state IN ('queued', 'running')",
    )
    .bind(unreadable_error()?)
    .bind(to_json(&Spent::default())?)
    .bind(now.0)
    .bind(&ids)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE tasks SET state = 'failed', updated_ms = $1 WHERE job_id = ANY($2) AND state IN ('queued', 'running')")
        .bind(now.0)
        .bind(&ids)
        .execute(&mut *connection)
        .await?;
    let settled = jobs.iter().flat_map(|(id, text)| quota::settle(&read_reservations(id, text), &Spent::default()));
    quotas::adjust(connection, &crate::jobs::store::ledger::merged(settled)).await
}

/// Fails waiting tasks that cannot be read, and their jobs. Their time of ending is that of their last change: nobody says the present
/// one.
pub(super) async fn fail_waiting(database: &PostgresDatabase, tasks: &[String]) -> Result<(), StoreError> {
    let mut transaction = database.pool().begin().await?;
    let jobs: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT jobs.id, jobs.reservations, jobs.updated_ms FROM tasks JOIN jobs ON jobs.id = tasks.job_id
         WHERE tasks.id = ANY($1) AND tasks.state = 'queued' AND jobs.state = 'queued' ORDER BY jobs.id FOR UPDATE OF jobs",
    )
    .bind(tasks)
    .fetch_all(&mut *transaction)
    .await?;
    let latest = jobs.iter().map(|(_, _, updated_ms)| *updated_ms).max().unwrap_or_default();
    let jobs: Vec<(String, String)> = jobs.into_iter().map(|(id, reservations, _)| (id, reservations)).collect();
    fail_unreadable(&mut transaction, &jobs, UnixMs(latest)).await?;
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
    let kept: Vec<&Renewal> = free.into_iter().filter(|renewal| held.has(&renewal.fence)).collect();
    let marked: Vec<(String, bool)> = sqlx::query_as(
        "UPDATE jobs SET progress_step = now.step, progress_steps = now.steps, updated_ms = $4
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS now (job_id, step, steps)
         WHERE jobs.id = now.job_id RETURNING jobs.id, cancel_requested_ms IS NOT NULL",
    )
    .bind(kept.iter().map(|renewal| renewal.fence.job.to_string()).collect::<Vec<_>>())
    .bind(kept.iter().map(|renewal| i64::from(renewal.progress.step)).collect::<Vec<_>>())
    .bind(kept.iter().map(|renewal| i64::from(renewal.progress.steps)).collect::<Vec<_>>())
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
