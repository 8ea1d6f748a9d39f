//! How tasks and jobs end, and how those that do not end go back to the queue.

use sqlx::SqliteConnection;

use super::waiting::Waiting;
use super::{insert, quotas, reads};
use crate::domain::{Adjustment, Job, JobId, JobState, Progress, UnixMs};
use crate::jobs::store::claimed::{self, ClaimRow, claim_columns};
use crate::jobs::store::follow::{self, Next, Tasks};
use crate::jobs::store::rows::{AccountRow, EndRow, EndedRow, JobRow, account_columns, job_columns, parse_state, to_json};
use crate::jobs::store::{Claim, Ended, Ending, FARTHEST_LEASE_END_MS, Fence, Outcome, Release, StoreError, ledger};
use crate::quota;

/// The job of `?1`, if the claim `?2`, `?3`, `?4` (task, attempt, owner) still runs it.
macro_rules! held_job {
    () => {
        " jobs.id = ?1 AND jobs.state = 'running' AND EXISTS (SELECT 1 FROM tasks
              WHERE tasks.id = ?2 AND tasks.job_id = ?1 AND tasks.state = 'running' AND tasks.attempt = ?3 AND tasks.lease_owner = ?4)"
    };
}

/// Ends the task, and looks up its job if that has been done just now. The owner stays: it tells who may ask again what became of this.
const END_TASK: &str = concat!(
    "UPDATE tasks SET state = ?5, failures = failures + ?6, spent = ?7, lease_until_ms = NULL, updated_ms = ?9,
         result = CASE (SELECT kind FROM jobs WHERE id = ?1) WHEN 'film' THEN ?8 END
     WHERE id = ?2 AND EXISTS (SELECT 1 FROM jobs WHERE",
    held_job!(),
    ");
     SELECT tasks.position, ",
    account_columns!(),
    job_columns!(),
    " FROM jobs JOIN tasks ON tasks.job_id = jobs.id WHERE tasks.id = ?2 AND changes() = 1"
);

/// Ends whatever of the job `?1` still waits or runs, at `?2`; whoever runs a part of it has lost it.
macro_rules! end_rest {
    () => {
        "UPDATE tasks SET state = 'cancelled', lease_owner = NULL, lease_until_ms = NULL, updated_ms = ?2
         WHERE job_id = ?1 AND state IN ('queued', 'running');"
    };
}
const END_REST: &str = end_rest!();

/// What providers answered to calls for a task that has ended is fetched, or never will be.
const FORGET_ANSWERS: &str =
    "UPDATE provider_calls SET answer = NULL WHERE task_id = ?1 AND answer IS NOT NULL AND ended_ms IS NOT NULL";

/// Ends the job `?1`, and whatever of it still waits or runs. What providers answered is not needed any more.
const END_JOB: &str = concat!(
    end_rest!(),
    "UPDATE provider_calls SET answer = NULL WHERE job_id = ?1 AND answer IS NOT NULL AND ended_ms IS NOT NULL;",
    "UPDATE jobs SET state = ?3, result = ?4, error = ?5, spent = ?6, finished_ms = ?2, updated_ms = ?2,
         progress_step = COALESCE(?7, progress_step), progress_steps = COALESCE(?8, progress_steps)
     WHERE id = ?1 AND state IN ('queued', 'running') RETURNING ",
    job_columns!()
);

/// Puts the task `?2` of the job `?1` back into the queue. `?3` is the time, `?7` whether other tasks of the job run. A film keeps its
/// progress.
const GIVE_BACK: &str = concat!(
    "UPDATE tasks SET state = 'queued', queued_ms = ?3, updated_ms = ?3, lease_owner = NULL, lease_until_ms = NULL,
         failures = failures + ?4, alone = COALESCE(?5, alone), run_after_ms = ?6
     WHERE id = ?2;
     UPDATE jobs SET updated_ms = ?3, state = CASE WHEN ?7 THEN 'running' ELSE 'queued' END,
         started_ms = CASE WHEN ?7 THEN started_ms END,
         progress_step = CASE kind WHEN 'film' THEN progress_step ELSE 0 END,
         progress_steps = CASE kind WHEN 'film' THEN progress_steps ELSE 0 END
     WHERE id = ?1 RETURNING ",
    job_columns!()
);

#[derive(sqlx::FromRow)]
struct EndedTask {
    position: i64,
    #[sqlx(flatten)]
    job: AccountRow,
}

pub(super) async fn finish(
    connection: &mut SqliteConnection,
    ending: &Ending,
    row: &EndRow,
    now: UnixMs,
    waiting: &Waiting,
) -> Result<Ended, StoreError> {
    let Ending { fence, outcome, progress, spent } = ending;
    let ended: Option<EndedTask> = sqlx::query_as(END_TASK)
        .bind(fence.job.to_string())
        .bind(fence.task.to_string())
        .bind(fence.attempt)
        .bind(&fence.owner)
        .bind(row.state)
        .bind(row.failures)
        .bind(to_json(spent)?)
        .bind(&row.result)
        .bind(now.0)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(EndedTask { position, job: account }) = ended else { return ended_already(connection, fence, row).await };
    let job = account.job.clone().into_job()?;
    let tasks = if account.has_several_tasks() {
        sqlx::query(FORGET_ANSWERS).bind(fence.task.to_string()).execute(&mut *connection).await?;
        reads::tasks(&mut *connection, &account).await?
    } else {
        Tasks::one(fence.task.to_string(), outcome.state(), *spent)
    };
    let mut next = follow::next(&job, account.cancel_requested(), position, outcome, &tasks);
    if let Next::Goes(_) | Next::Passes(_) = next
        && let Some(refusal) = quotas::used_up(&mut *connection, account.reservations(), &tasks.spent()).await?
    {
        next = follow::out_of_quota(&refusal);
    }
    let progress = Some(*progress);
    let (job, adjustments) = match next {
        Next::Goes(new) => {
            let job = go_on(&mut *connection, &account, progress, now).await?.into_job()?;
            insert::more(connection, &job, &new, now).await?;
            waiting.changed_by(i64::try_from(new.len()).unwrap_or(i64::MAX));
            let arrived = new.iter().map(|task| task.queued(&job, now)).collect();
            return Ok(Ended { job, arrived });
        }
        Next::Passes(new) => {
            sqlx::query(END_REST).bind(fence.job.to_string()).bind(now.0).execute(&mut *connection).await?;
            let job = go_on(&mut *connection, &account, Some(Progress::default()), now).await?.into_job()?;
            insert::more(connection, &job, &new, now).await?;
            waiting.changed_by(i64::try_from(new.len()).unwrap_or(i64::MAX) - tasks.waiting());
            let arrived = new.iter().map(|task| task.queued(&job, now)).collect();
            return Ok(Ended { job, arrived });
        }
        Next::EndsSo => end_job(&mut *connection, &account, &tasks, row, progress, now).await?,
        Next::Ends(outcome) => end_job(&mut *connection, &account, &tasks, &EndRow::of(&outcome)?, progress, now).await?,
    };
    quotas::adjust(connection, &adjustments).await?;
    let job = job.into_job()?;
    waiting.changed_by(-tasks.waiting());
    Ok(Ended { job, arrived: Vec::new() })
}

/// The job, if this very ending has been written already and only its answer was lost.
async fn ended_already(connection: &mut SqliteConnection, fence: &Fence, end: &EndRow) -> Result<Ended, StoreError> {
    let row: Option<EndedRow> = sqlx::query_as(concat!(
        "SELECT COALESCE(tasks.result, jobs.result) AS task_result, ",
        job_columns!(),
        " FROM jobs JOIN tasks ON tasks.job_id = jobs.id
         WHERE jobs.id = ?1 AND tasks.id = ?2 AND tasks.attempt = ?3 AND tasks.lease_owner = ?4 AND tasks.state = ?5"
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

/// Notes that a job is changed and goes on.
async fn go_on(
    connection: &mut SqliteConnection,
    job: &AccountRow,
    progress: Option<Progress>,
    now: UnixMs,
) -> Result<JobRow, StoreError> {
    let row = sqlx::query_as(concat!(
        "UPDATE jobs SET updated_ms = ?2, progress_step = COALESCE(?3, progress_step),
             progress_steps = COALESCE(?4, progress_steps) WHERE id = ?1 RETURNING ",
        job_columns!()
    ))
    .bind(&job.job.id)
    .bind(now.0)
    .bind(progress.map(|progress| progress.step))
    .bind(progress.map(|progress| progress.steps))
    .fetch_one(connection)
    .await?;
    Ok(row)
}

/// Ends a job whose tasks are these. Gives what its counters are to be changed by; the tasks that waited have left the queue.
async fn end_job(
    connection: &mut SqliteConnection,
    job: &AccountRow,
    tasks: &Tasks,
    end: &EndRow,
    progress: Option<Progress>,
    now: UnixMs,
) -> Result<(JobRow, Vec<Adjustment>), StoreError> {
    let charged = tasks.charged(parse_state(end.state)?);
    for (task, spent) in tasks.unwritten() {
        sqlx::query("UPDATE tasks SET spent = ?2 WHERE id = ?1")
            .bind(task)
            .bind(to_json(&spent)?)
            .execute(&mut *connection)
            .await?;
    }
    let row = sqlx::query_as(END_JOB)
        .bind(&job.job.id)
        .bind(now.0)
        .bind(end.state)
        .bind(&end.result)
        .bind(&end.error)
        .bind(to_json(&charged)?)
        .bind(progress.map(|progress| progress.step))
        .bind(progress.map(|progress| progress.steps))
        .fetch_one(connection)
        .await?;
    Ok((row, quota::settle(&job.reservations(), &charged)))
}

/// What became of a job of which a task was given back.
struct GivenBack {
    job: JobRow,
    adjustments: Vec<Adjustment>,
    /// Change of the number of waiting tasks.
    joined: i64,
}

/// Takes a task out of `running`: back to the queue, or, if its job was asked to stop, to its end.
async fn give_back(
    connection: &mut SqliteConnection,
    job: &AccountRow,
    task: &str,
    release: &Release,
    alone: Option<bool>,
    now: UnixMs,
) -> Result<GivenBack, StoreError> {
    let tasks = reads::tasks(&mut *connection, job).await?;
    let others_run = tasks.others_run(task);
    if !job.cancel_requested() {
        let job = sqlx::query_as(GIVE_BACK)
            .bind(&job.job.id)
            .bind(task)
            .bind(now.0)
            .bind(i64::from(release.charged))
            .bind(alone)
            .bind(release.run_after.map(|time| time.0))
            .bind(others_run)
            .fetch_one(connection)
            .await?;
        return Ok(GivenBack { job, adjustments: Vec::new(), joined: 1 });
    }
    if others_run {
        sqlx::query(
            "UPDATE tasks SET state = 'cancelled', lease_owner = NULL, lease_until_ms = NULL, failures = failures + ?2, updated_ms = ?3
             WHERE id = ?1",
        )
        .bind(task)
        .bind(i64::from(release.charged))
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
        let job = go_on(connection, job, None, now).await?;
        return Ok(GivenBack { job, adjustments: Vec::new(), joined: 0 });
    }
    let progress = if job.has_several_tasks() { None } else { Some(Progress::default()) };
    let end = EndRow::of(&Outcome::Cancelled)?;
    let (row, adjustments) = end_job(connection, job, &tasks, &end, progress, now).await?;
    Ok(GivenBack { job: row, adjustments, joined: -tasks.waiting() })
}

pub(super) async fn release(
    connection: &mut SqliteConnection,
    fence: &Fence,
    release: &Release,
    now: UnixMs,
    waiting: &Waiting,
) -> Result<Job, StoreError> {
    let held: Option<EndedTask> = sqlx::query_as(concat!(
        "SELECT (SELECT position FROM tasks WHERE id = ?2) AS position, ",
        account_columns!(),
        job_columns!(),
        " FROM jobs WHERE",
        held_job!()
    ))
    .bind(fence.job.to_string())
    .bind(fence.task.to_string())
    .bind(fence.attempt)
    .bind(&fence.owner)
    .fetch_optional(&mut *connection)
    .await?;
    let EndedTask { position, job: account } = held.ok_or(StoreError::LeaseLost)?;
    let alone = release.alone || follow::is_planned_alone(&account.job.clone().into_job()?, position);
    let back = give_back(&mut *connection, &account, &fence.task.to_string(), release, Some(alone), now).await?;
    quotas::adjust(connection, &back.adjustments).await?;
    let job = back.job.into_job()?;
    waiting.changed_by(back.joined);
    Ok(job)
}

pub(super) async fn give_back_expired(
    connection: &mut SqliteConnection,
    owner: &str,
    all: bool,
    now: UnixMs,
    waiting: &Waiting,
) -> Result<Vec<Claim>, StoreError> {
    let expired: Vec<ClaimRow> = sqlx::query_as(concat!(
        "SELECT ",
        claim_columns!(),
        " FROM tasks JOIN jobs ON jobs.id = tasks.job_id
         WHERE tasks.state = 'running' AND jobs.state = 'running' AND lease_owner IS NOT ?1
             AND (?2 OR lease_until_ms IS NULL OR lease_until_ms < ?3 OR lease_until_ms > ?4)
         ORDER BY tasks.id"
    ))
    .bind(owner)
    .bind(all)
    .bind(now.0)
    .bind(now.0.saturating_add(FARTHEST_LEASE_END_MS))
    .fetch_all(&mut *connection)
    .await?;
    if expired.is_empty() {
        return Ok(Vec::new());
    }
    let (mut joined, mut adjustments) = (0, Vec::new());
    for row in &expired {
        let job = account(&mut *connection, &row.job_id).await?;
        let back = give_back(&mut *connection, &job, &row.task_id, &Release::default(), None, now).await?;
        joined += back.joined;
        adjustments.extend(back.adjustments);
    }
    quotas::adjust(&mut *connection, &ledger::merged(adjustments)).await?;
    let mut jobs: Vec<AccountRow> = Vec::new();
    for row in &expired {
        if !jobs.iter().any(|known| known.job.id == row.job_id) {
            jobs.push(account(&mut *connection, &row.job_id).await?);
        }
    }
    let finished = reads::finished(connection, &claimed::films(&jobs)).await?;
    // Who cannot be read has gone back all the same; the next claim deals with it.
    let (claims, unreadable) = claimed::read(jobs, expired, finished)?;
    for (job, reason) in unreadable {
        let id = &job.job.id;
        tracing::error!(job.id = id, reason, "Job {id}, which goes back, cannot be read: {reason}");
    }
    waiting.changed_by(joined);
    Ok(claims)
}

async fn account(connection: &mut SqliteConnection, job: &str) -> Result<AccountRow, StoreError> {
    let row = sqlx::query_as(concat!("SELECT ", account_columns!(), job_columns!(), " FROM jobs WHERE id = ?1"))
        .bind(job)
        .fetch_one(connection)
        .await?;
    Ok(row)
}

pub(super) async fn request_cancel(
    connection: &mut SqliteConnection,
    id: JobId,
    now: UnixMs,
    waiting: &Waiting,
) -> Result<(JobState, Job), StoreError> {
    let account = reads::account(&mut *connection, id).await?;
    let before = account.job.clone().into_job()?;
    if before.state.is_terminal() {
        return Ok((before.state, before));
    }
    let tasks = reads::tasks(&mut *connection, &account).await?;
    sqlx::query(
        "UPDATE jobs SET cancel_requested_ms = COALESCE(cancel_requested_ms, ?1), updated_ms = ?1 WHERE id = ?2;
         UPDATE tasks SET state = 'cancelled', updated_ms = ?1 WHERE job_id = ?2 AND state = 'queued'",
    )
    .bind(now.0)
    .bind(id.to_string())
    .execute(&mut *connection)
    .await?;
    let after = if tasks.any_runs() {
        Job { updated: now, ..before.clone() }
    } else {
        let end = EndRow::of(&Outcome::Cancelled)?;
        let (row, adjustments) = end_job(&mut *connection, &account, &tasks, &end, None, now).await?;
        quotas::adjust(connection, &adjustments).await?;
        row.into_job()?
    };
    waiting.changed_by(-tasks.waiting());
    Ok((before.state, after))
}
