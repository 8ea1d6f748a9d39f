//! How tasks and jobs end, and how those that do not end go back to the queue.

use sqlx::{PgConnection, Postgres, Transaction};

use super::{insert, quotas, reads};
use crate::database::PostgresDatabase;
use crate::domain::{Adjustment, Job, JobId, JobState, Progress, UnixMs};
use crate::jobs::store::claimed::{self, ClaimRow, claim_columns};
use crate::jobs::store::follow::{self, Next, Tasks};
use crate::jobs::store::rows::{AccountRow, EndRow, EndedRow, JobRow, account_columns, job_columns, parse_state, to_json};
use crate::jobs::store::{Claim, Ended, Ending, FARTHEST_LEASE_END_MS, Fence, Outcome, Release, StoreError, ledger};
use crate::quota;

/// The owner stays: it tells who may ask again what became of this.
const END_TASK: &str = "
    UPDATE tasks SET state = $1, failures = failures + $2, spent = $3, result = $4, lease_until_ms = NULL, updated_ms = $5
    WHERE id = $6 AND job_id = $7 AND state = 'running' AND attempt = $8 AND lease_owner = $9 RETURNING position";

/// Whoever runs a part of a job that has ended has lost it.
const END_REST: &str = "
    UPDATE tasks SET state = 'cancelled', lease_owner = NULL, lease_until_ms = NULL, updated_ms = $1
    WHERE job_id = $2 AND state IN ('queued', 'running')";

/// What providers answered to calls for a task that has ended is fetched, or never will be.
const FORGET_ANSWERS: &str =
    "UPDATE provider_calls SET answer = NULL WHERE task_id = $1 AND answer IS NOT NULL AND ended_ms IS NOT NULL";

/// What providers answered is not needed any more.
const END_JOB: &str = concat!(
    "WITH forgotten AS (
         UPDATE provider_calls SET answer = NULL WHERE job_id = $8 AND answer IS NOT NULL AND ended_ms IS NOT NULL)
     UPDATE jobs SET state = $1, result = $2, error = $3, spent = $4, finished_ms = $5, updated_ms = $5,
         progress_step = COALESCE($6, progress_step), progress_steps = COALESCE($7, progress_steps)
     WHERE id = $8 RETURNING ",
    job_columns!()
);

/// `$2` says whether other tasks of the job run. A film keeps its progress.
const GIVE_BACK: &str = concat!(
    "UPDATE jobs SET updated_ms = $1, state = CASE WHEN $2 THEN 'running' ELSE 'queued' END,
         started_ms = CASE WHEN $2 THEN started_ms END,
         progress_step = CASE kind WHEN 'film' THEN progress_step ELSE 0 END,
         progress_steps = CASE kind WHEN 'film' THEN progress_steps ELSE 0 END
     WHERE id = $3 RETURNING ",
    job_columns!()
);

/// Locks the job of a claim, if it still runs. Only then can the task's row be trusted: a statement that waited for the job would
/// still see the task as it was before.
async fn lock_running(connection: &mut PgConnection, job: JobId) -> Result<Option<AccountRow>, StoreError> {
    let row = sqlx::query_as(concat!(
        "SELECT ",
        account_columns!(),
        job_columns!(),
        " FROM jobs WHERE id = $1 AND state = 'running' FOR UPDATE"
    ))
    .bind(job.to_string())
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// Commits what went well. What did not is undone before anybody learns of it: a transaction that is only dropped keeps its locks for a
/// moment longer.
async fn concluded<T>(transaction: Transaction<'_, Postgres>, result: Result<T, StoreError>) -> Result<T, StoreError> {
    if result.is_ok() {
        transaction.commit().await?;
    } else {
        transaction.rollback().await.ok();
    }
    result
}

pub(super) async fn finish(database: &PostgresDatabase, ending: &Ending, now: UnixMs) -> Result<Ended, StoreError> {
    let mut transaction = database.pool().begin().await?;
    let ended = finish_within(&mut transaction, database, ending, now).await;
    concluded(transaction, ended).await
}

async fn finish_within(
    connection: &mut PgConnection,
    database: &PostgresDatabase,
    ending: &Ending,
    now: UnixMs,
) -> Result<Ended, StoreError> {
    let Ending { fence, outcome, progress, spent } = ending;
    let row = EndRow::of(outcome)?;
    let Some(account) = lock_running(connection, fence.job).await? else {
        return ended_already(connection, fence, &row).await;
    };
    let position: Option<i64> = sqlx::query_scalar(END_TASK)
        .bind(row.state)
        .bind(row.failures)
        .bind(to_json(spent)?)
        .bind(row.result.as_ref().filter(|_| account.has_several_tasks()))
        .bind(now.0)
        .bind(fence.task.to_string())
        .bind(fence.job.to_string())
        .bind(fence.attempt)
        .bind(&fence.owner)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(position) = position else { return ended_already(connection, fence, &row).await };
    let job = account.job.clone().into_job()?;
    let tasks = if account.has_several_tasks() {
        sqlx::query(FORGET_ANSWERS).bind(fence.task.to_string()).execute(&mut *connection).await?;
        reads::tasks(connection, &account).await?
    } else {
        Tasks::one(fence.task.to_string(), outcome.state(), *spent)
    };
    let mut next = follow::next(&job, account.cancel_requested(), position, outcome, &tasks);
    if let Next::Goes(_) | Next::Passes(_) = next
        && let Some(refusal) = quotas::used_up(connection, account.reservations(), &tasks.spent()).await?
    {
        next = follow::out_of_quota(&refusal);
    }
    let (ended, adjustments) = match next {
        Next::Goes(new) => {
            let job = go_on(connection, &account, Some(*progress), now).await?.into_job()?;
            insert::more(connection, &job, &new, now).await?;
            let arrived = new.iter().map(|task| task.queued(&job, now)).collect();
            (Ended { job, arrived }, Vec::new())
        }
        Next::Passes(new) => {
            sqlx::query(END_REST).bind(now.0).bind(&account.job.id).execute(&mut *connection).await?;
            let job = go_on(connection, &account, Some(Progress::default()), now).await?.into_job()?;
            insert::more(connection, &job, &new, now).await?;
            let arrived = new.iter().map(|task| task.queued(&job, now)).collect();
            (Ended { job, arrived }, Vec::new())
        }
        Next::EndsSo => end_job(connection, &account, &tasks, &row, Some(*progress), now).await?,
        Next::Ends(outcome) => end_job(connection, &account, &tasks, &EndRow::of(&outcome)?, Some(*progress), now).await?,
    };
    quotas::adjust(connection, &adjustments).await?;
    if account.has_several_tasks() {
        database.notify(connection).await?;
    }
    Ok(ended)
}

/// The job, if this very ending has been written already and only its answer was lost.
async fn ended_already(connection: &mut PgConnection, fence: &Fence, end: &EndRow) -> Result<Ended, StoreError> {
    let row: Option<EndedRow> = sqlx::query_as(concat!(
        "SELECT COALESCE(tasks.result, jobs.result) AS task_result, ",
        job_columns!(),
        " FROM jobs JOIN tasks ON tasks.job_id = jobs.id
         WHERE jobs.id = $1 AND tasks.id = $2 AND tasks.attempt = $3 AND tasks.lease_owner = $4 AND tasks.state = $5"
    ))
    .bind(fence.job.to_string())
    .bind(fence.task.to_string())
    .bind(fence.attempt)
    .bind(&fence.owner)
    .bind(end.state)
    .fetch_optional(&mut *connection)
    .await?;
    let job = row.filter(|row| row.is_of(end)).ok_or(StoreError::LeaseLost)?.job.into_job()?;
    let arrived = reads::queued_of(connection, job.id).await?;
    Ok(Ended { job, arrived })
}

/// Notes that a job that this transaction has locked is changed and goes on.
async fn go_on(
    connection: &mut PgConnection,
    job: &AccountRow,
    progress: Option<Progress>,
    now: UnixMs,
) -> Result<JobRow, StoreError> {
    let row = sqlx::query_as(concat!(
        "UPDATE jobs SET updated_ms = $1, progress_step = COALESCE($2, progress_step), progress_steps = COALESCE($3, progress_steps)
         WHERE id = $4 RETURNING ",
        job_columns!()
    ))
    .bind(now.0)
    .bind(progress.map(|progress| i64::from(progress.step)))
    .bind(progress.map(|progress| i64::from(progress.steps)))
    .bind(&job.job.id)
    .fetch_one(connection)
    .await?;
    Ok(row)
}

/// Ends a job that this transaction has locked and whose tasks are these. Gives what its counters are to be changed by.
async fn end_job(
    connection: &mut PgConnection,
    job: &AccountRow,
    tasks: &Tasks,
    end: &EndRow,
    progress: Option<Progress>,
    now: UnixMs,
) -> Result<(Ended, Vec<Adjustment>), StoreError> {
    let (row, adjustments) = end_job_row(connection, job, tasks, end, progress, now).await?;
    Ok((Ended { job: row.into_job()?, arrived: Vec::new() }, adjustments))
}

/// [`end_job`] of a job that need not be readable.
async fn end_job_row(
    connection: &mut PgConnection,
    job: &AccountRow,
    tasks: &Tasks,
    end: &EndRow,
    progress: Option<Progress>,
    now: UnixMs,
) -> Result<(JobRow, Vec<Adjustment>), StoreError> {
    let charged = tasks.charged(parse_state(end.state)?);
    for (task, spent) in tasks.unwritten() {
        sqlx::query("UPDATE tasks SET spent = $2 WHERE id = $1")
            .bind(task)
            .bind(to_json(&spent)?)
            .execute(&mut *connection)
            .await?;
    }
    if tasks.any_goes_on() {
        sqlx::query(END_REST).bind(now.0).bind(&job.job.id).execute(&mut *connection).await?;
    }
    let row = sqlx::query_as(END_JOB)
        .bind(end.state)
        .bind(&end.result)
        .bind(&end.error)
        .bind(to_json(&charged)?)
        .bind(now.0)
        .bind(progress.map(|progress| i64::from(progress.step)))
        .bind(progress.map(|progress| i64::from(progress.steps)))
        .bind(&job.job.id)
        .fetch_one(connection)
        .await?;
    Ok((row, quota::settle(&job.reservations(), &charged)))
}

/// Takes a task of a job that this transaction has locked out of `running`: back to the queue, or, if the job was asked to stop, to its
/// end.
async fn give_back(
    connection: &mut PgConnection,
    job: &AccountRow,
    task: &str,
    release: &Release,
    alone: Option<bool>,
    now: UnixMs,
) -> Result<(JobRow, Vec<Adjustment>), StoreError> {
    let tasks = reads::tasks(&mut *connection, job).await?;
    let others_run = tasks.others_run(task);
    let state = if job.cancel_requested() { JobState::Cancelled } else { JobState::Queued };
    sqlx::query(
        "UPDATE tasks SET state = $1, queued_ms = $2, updated_ms = $2, lease_owner = NULL, lease_until_ms = NULL,
             failures = failures + $3, alone = COALESCE($4, alone), run_after_ms = $5
         WHERE id = $6",
    )
    .bind(state.as_str())
    .bind(now.0)
    .bind(i64::from(release.charged))
    .bind(alone)
    .bind(release.run_after.map(|time| time.0))
    .bind(task)
    .execute(&mut *connection)
    .await?;
    if !job.cancel_requested() {
        let row = sqlx::query_as(GIVE_BACK).bind(now.0).bind(others_run).bind(&job.job.id).fetch_one(connection).await?;
        return Ok((row, Vec::new()));
    }
    if others_run {
        return Ok((go_on(connection, job, None, now).await?, Vec::new()));
    }
    let progress = if job.has_several_tasks() { None } else { Some(Progress::default()) };
    end_job_row(connection, job, &tasks, &EndRow::of(&Outcome::Cancelled)?, progress, now).await
}

pub(super) async fn release(
    database: &PostgresDatabase,
    fence: &Fence,
    release: &Release,
    now: UnixMs,
) -> Result<Job, StoreError> {
    let mut transaction = database.pool().begin().await?;
    let released = release_within(&mut transaction, database, fence, release, now).await;
    concluded(transaction, released).await
}

async fn release_within(
    connection: &mut PgConnection,
    database: &PostgresDatabase,
    fence: &Fence,
    release: &Release,
    now: UnixMs,
) -> Result<Job, StoreError> {
    let account = lock_running(connection, fence.job).await?.ok_or(StoreError::LeaseLost)?;
    let position: Option<i64> = sqlx::query_scalar(
        "SELECT position FROM tasks
         WHERE id = $1 AND job_id = $2 AND state = 'running' AND attempt = $3 AND lease_owner = $4 FOR UPDATE",
    )
    .bind(fence.task.to_string())
    .bind(fence.job.to_string())
    .bind(fence.attempt)
    .bind(&fence.owner)
    .fetch_optional(&mut *connection)
    .await?;
    let position = position.ok_or(StoreError::LeaseLost)?;
    let alone = release.alone || follow::is_planned_alone(&account.job.clone().into_job()?, position);
    let (row, adjustments) = give_back(connection, &account, &fence.task.to_string(), release, Some(alone), now).await?;
    quotas::adjust(connection, &adjustments).await?;
    let job = row.into_job()?;
    if !job.state.is_terminal() {
        database.notify(connection).await?;
    }
    Ok(job)
}

pub(super) async fn give_back_expired(
    database: &PostgresDatabase,
    owner: &str,
    all: bool,
    now: UnixMs,
) -> Result<Vec<Claim>, StoreError> {
    let mut transaction = database.pool().begin().await?;
    // Whoever has a row locked is alive, or its session ends soon.
    let expired: Vec<ClaimRow> = sqlx::query_as(concat!(
        "SELECT ",
        claim_columns!(),
        " FROM tasks JOIN jobs ON jobs.id = tasks.job_id
         WHERE tasks.state = 'running' AND jobs.state = 'running' AND lease_owner IS DISTINCT FROM $1
             AND ($2 OR lease_until_ms IS NULL OR lease_until_ms < $3 OR lease_until_ms > $4)
         ORDER BY job_id FOR UPDATE SKIP LOCKED"
    ))
    .bind(owner)
    .bind(all)
    .bind(now.0)
    .bind(now.0.saturating_add(FARTHEST_LEASE_END_MS))
    .fetch_all(&mut *transaction)
    .await?;
    if expired.is_empty() {
        return Ok(Vec::new());
    }
    let mut adjustments = Vec::new();
    for row in &expired {
        let job = account(&mut transaction, &row.job_id).await?;
        let (_, settled) = give_back(&mut transaction, &job, &row.task_id, &Release::default(), None, now).await?;
        adjustments.extend(settled);
    }
    let mut jobs: Vec<AccountRow> = Vec::new();
    for row in &expired {
        if !jobs.iter().any(|known| known.job.id == row.job_id) {
            jobs.push(account(&mut transaction, &row.job_id).await?);
        }
    }
    let finished = reads::finished(&mut transaction, &claimed::films(&jobs)).await?;
    // Who cannot be read has gone back all the same; the next claim deals with it.
    let (claims, unreadable) = claimed::read(jobs, expired, finished)?;
    for (job, reason) in unreadable {
        let id = &job.job.id;
        tracing::error!(job.id = id, reason, "Job {id}, which goes back, cannot be read: {reason}");
    }
    quotas::adjust(&mut transaction, &ledger::merged(adjustments)).await?;
    database.notify(&mut transaction).await?;
    transaction.commit().await?;
    Ok(claims)
}

/// The row of a job that this transaction has locked.
async fn account(connection: &mut PgConnection, job: &str) -> Result<AccountRow, StoreError> {
    let row = sqlx::query_as(concat!("SELECT ", account_columns!(), job_columns!(), " FROM jobs WHERE id = $1"))
        .bind(job)
        .fetch_one(connection)
        .await?;
    Ok(row)
}

pub(super) async fn request_cancel(database: &PostgresDatabase, id: JobId, now: UnixMs) -> Result<(JobState, Job), StoreError> {
    let mut transaction = database.pool().begin().await?;
    let account = reads::locked(&mut transaction, id).await?;
    let before = account.job.clone().into_job()?;
    if before.state.is_terminal() {
        return Ok((before.state, before));
    }
    let tasks = reads::tasks(&mut transaction, &account).await?;
    sqlx::query("UPDATE jobs SET cancel_requested_ms = COALESCE(cancel_requested_ms, $1), updated_ms = $1 WHERE id = $2")
        .bind(now.0)
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE tasks SET state = 'cancelled', updated_ms = $1 WHERE job_id = $2 AND state = 'queued'")
        .bind(now.0)
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
    let after = if tasks.any_runs() {
        Job { updated: now, ..before.clone() }
    } else {
        let end = EndRow::of(&Outcome::Cancelled)?;
        let (ended, adjustments) = end_job(&mut transaction, &account, &tasks, &end, None, now).await?;
        quotas::adjust(&mut transaction, &adjustments).await?;
        ended.job
    };
    database.notify(&mut transaction).await?;
    transaction.commit().await?;
    Ok((before.state, after))
}
