//! What calls to providers are to the jobs that they were made for.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::{quotas, reads};
use crate::database::PostgresDatabase;
use crate::domain::{JobId, Spent, TaskId, UnixMs};
use crate::jobs::store::follow::SETTLED_OF_TASK;
use crate::jobs::store::rows::{from_json, parse, parse_state, to_json};
use crate::jobs::store::{StoreError, ledger};
use crate::ledger::{CallEnding, NewCall, end_in_postgres};

/// Tasks of these jobs whose calls have not ended.
pub(super) async fn open(connection: &mut PgConnection, jobs: &[JobId]) -> Result<HashSet<TaskId>, StoreError> {
    let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    let tasks: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT task_id FROM provider_calls WHERE job_id = ANY($1) AND ended_ms IS NULL")
            .bind(jobs)
            .fetch_all(connection)
            .await?;
    tasks.iter().map(|task| parse(task)).collect()
}

/// Corrects what a task that has ended cost.
pub(super) async fn charge_late(database: &PostgresDatabase, job: JobId, task: TaskId) -> Result<(), StoreError> {
    let mut transaction = database.pool().begin().await?;
    correct(&mut transaction, job, task).await?;
    transaction.commit().await?;
    Ok(())
}

/// Ends a call, and corrects what its task cost.
pub(super) async fn settle_late(
    database: &PostgresDatabase,
    call: &NewCall,
    ending: &CallEnding,
    now: UnixMs,
) -> Result<bool, StoreError> {
    let mut transaction = database.pool().begin().await?;
    let is_first = end_in_postgres(&mut transaction, call.id, ending, now).await?;
    correct(&mut transaction, call.job, call.task).await?;
    transaction.commit().await?;
    Ok(is_first)
}

/// The sum is read once the job is locked: whoever ends another call of the task comes before, and is counted, or after, and counts this.
async fn correct(connection: &mut PgConnection, job: JobId, task: TaskId) -> Result<(), StoreError> {
    let account = match reads::locked(connection, job).await {
        Err(StoreError::NotFound(_)) => return Ok(()),
        account => account?,
    };
    let ended: Option<Option<String>> = sqlx::query_scalar(
        "SELECT spent FROM tasks
         WHERE id = $1 AND job_id = $2 AND state IN ('completed', 'failed', 'cancelled') FOR UPDATE",
    )
    .bind(task.to_string())
    .bind(job.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(spent) = ended else { return Ok(()) };
    let spent: Spent = spent.as_deref().map(from_json).transpose()?.unwrap_or_default();
    let cost_micros: i64 = sqlx::query_scalar(SETTLED_OF_TASK).bind(task.to_string()).fetch_one(&mut *connection).await?;
    let delta = cost_micros.saturating_sub(spent.cost_micros);
    if delta == 0 {
        return Ok(());
    }
    sqlx::query("UPDATE tasks SET spent = $2 WHERE id = $1")
        .bind(task.to_string())
        .bind(to_json(&ledger::corrected(spent, delta))?)
        .execute(&mut *connection)
        .await?;
    // What goes on is charged when it ends, with what its tasks spent.
    if parse_state(account.job.state())?.is_terminal() {
        let (before, after) = (account.spent(), ledger::corrected(account.spent(), delta));
        sqlx::query("UPDATE jobs SET spent = $2 WHERE id = $1")
            .bind(job.to_string())
            .bind(to_json(&after)?)
            .execute(&mut *connection)
            .await?;
        quotas::adjust(connection, &ledger::correction(&account.reservations(), &before, &after)).await?;
    }
    Ok(())
}
