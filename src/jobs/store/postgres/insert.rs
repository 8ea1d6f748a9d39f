//! What joins the queue, and where in it.

use parking_lot::Mutex;
use sqlx::PgConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::{PostgresJobStore, quotas, reads};
use crate::database::PostgresDatabase;
use crate::domain::{Job, JobId, UnixMs};
use crate::jobs::store::new_tasks::NewTaskRow;
use crate::jobs::store::rows::{NewRow, insert_callback, parse};
use crate::jobs::store::{Inserted, NewRecord, StoreError};

/// Tasks, each `$7` to `$20`, of the job `$1` of the user `$2` and the project `$3`, with the priority `$4`, which joins the queue at `$5`
/// and was created at `$6`. What follows says where the job is.
macro_rules! insert_tasks {
    () => {
        "INSERT INTO tasks (id, key_sha256, job_id, position, user_id, project_id, model_id, lane, rows, width, height, state, priority,
             work, alone, has_next_target, result, spent, queued_ms, created_ms, updated_ms)
         SELECT task.id, task.key, job.id, task.position, $2, $3, task.model, task.lane, task.rows, task.width, task.height, task.state,
             $4, task.work, task.alone, task.has_next_target, task.result, task.spent, $5, $6, $5
         FROM unnest($7::text[], $8::bytea[], $9::bigint[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[],
             $15::text[], $16::float8[], $17::boolean[], $18::boolean[], $19::text[], $20::text[])
             AS task (id, key, position, model, lane, rows, width, height, state, work, alone, has_next_target,
                result, spent), "
    };
}

/// The job and its tasks; nothing, when the user's idempotency key is taken.
const INSERT: &str = concat!(
    "WITH job AS (
        INSERT INTO jobs (id, user_id, project_id, retry_of, kind, model_id, state, request, priority, reservations, idempotency_key,
            request_sha256, created_ms, updated_ms, progress_step, progress_steps)
        VALUES ($1, $2, $3, $21, $22, $23, 'queued', $24, $4, $25, $26, $27, $6, $5, $28, $29)
        ON CONFLICT (user_id, idempotency_key) DO NOTHING RETURNING id
    ) ",
    insert_tasks!(),
    "job"
);

const INSERT_MORE: &str = concat!(insert_tasks!(), "(SELECT id FROM jobs WHERE id = $1) AS job");

type Statement = Query<'static, sqlx::Postgres, PgArguments>;

fn bind_tasks(statement: Statement, tasks: &[NewTaskRow]) -> Statement {
    statement
        .bind(tasks.iter().map(|task| task.id.to_string()).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.key.0.to_vec()).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| i64::from(task.position)).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.model.to_string()).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.lane.as_str()).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| i64::from(task.rows)).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| i64::from(task.width)).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| i64::from(task.height)).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.state).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.work).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.alone).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.has_next_target).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.result.clone()).collect::<Vec<_>>())
        .bind(tasks.iter().map(|task| task.spent.clone()).collect::<Vec<_>>())
}

/// How many tasks may be inserted before the queue is counted again, as long as its limit is the same.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    queue_limit: u64,
    left: u64,
}

impl Uncounted {
    fn take(&mut self, tasks: u64, queue_limit: u64) -> bool {
        let may = self.queue_limit == queue_limit && self.left >= tasks;
        self.left -= if may { tasks } else { 0 };
        may
    }
}

pub(super) async fn insert(
    database: &PostgresDatabase,
    record: &NewRecord,
    queue_limit: u64,
    uncounted: &Mutex<Uncounted>,
) -> Result<Inserted, StoreError> {
    let row = NewRow::of(record)?;
    let mut transaction = database.pool().begin().await?;
    let statement = sqlx::query(INSERT)
        .bind(row.job.clone())
        .bind(row.user.clone())
        .bind(row.project.clone())
        .bind(row.priority)
        .bind(row.created_ms)
        .bind(row.created_ms);
    let inserted = bind_tasks(statement, &row.tasks)
        .bind(row.retry_of.clone())
        .bind(row.kind)
        .bind(row.model.clone())
        .bind(row.request.clone())
        .bind(row.reservations.clone())
        .bind(row.idempotency_key.clone())
        .bind(row.request_sha256.clone())
        .bind(i64::from(row.progress.step))
        .bind(i64::from(row.progress.steps))
        .execute(&mut *transaction)
        .await?;
    if inserted.rows_affected() == 0 {
        return earlier(&mut transaction, &row).await;
    }
    if !has_room(&mut transaction, row.waiting(), queue_limit, uncounted).await? {
        return Err(StoreError::QueueFull(queue_limit));
    }
    if let Some(row_of) = &row.callback {
        sqlx::query(insert_callback!())
            .bind(&row.job)
            .bind(&row_of.callback.url)
            .bind(&row_of.callback.host)
            .bind(row_of.callback.format.as_str())
            .bind(&row_of.events)
            .bind(&row_of.callback.base_url)
            .execute(&mut *transaction)
            .await?;
    }
    quotas::take(&mut transaction, &record.reservations).await?;
    database.notify(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Inserted::New)
}

/// Tasks that join a job that is there, and that this transaction has locked.
pub(super) async fn more(connection: &mut PgConnection, job: &Job, tasks: &[NewTaskRow], now: UnixMs) -> Result<(), StoreError> {
    if tasks.is_empty() {
        return Ok(());
    }
    let statement = sqlx::query(INSERT_MORE)
        .bind(job.id.to_string())
        .bind(job.user.to_string())
        .bind(job.project.as_ref().map(ToString::to_string))
        .bind(i64::from(job.priority))
        .bind(now.0)
        .bind(job.created.0);
    bind_tasks(statement, tasks).execute(connection).await?;
    Ok(())
}

/// The job that has the user's idempotency key.
async fn earlier(connection: &mut PgConnection, row: &NewRow) -> Result<Inserted, StoreError> {
    let (id, request_sha256): (String, Vec<u8>) =
        sqlx::query_as("SELECT id, request_sha256 FROM jobs WHERE user_id = $1 AND idempotency_key = $2")
            .bind(&row.user)
            .bind(&row.idempotency_key)
            .fetch_one(&mut *connection)
            .await?;
    if request_sha256 != row.request_sha256 {
        return Err(StoreError::Duplicate);
    }
    Ok(Inserted::Existing(Box::new(reads::job(connection, parse(&id)?).await?)))
}

/// Whether the queue, which has the `new` tasks already, had room for one more before. Far from its end it is not counted every time.
async fn has_room(
    connection: &mut PgConnection,
    new: u64,
    queue_limit: u64,
    uncounted: &Mutex<Uncounted>,
) -> Result<bool, StoreError> {
    if uncounted.lock().take(new, queue_limit) {
        return Ok(true);
    }
    let bound = i64::try_from(queue_limit.saturating_add(new)).unwrap_or(i64::MAX);
    let waiting: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM (SELECT 1 FROM tasks WHERE state = 'queued' LIMIT $1) AS waiting")
            .bind(bound)
            .fetch_one(connection)
            .await?;
    let waiting = waiting.unsigned_abs();
    if waiting.saturating_sub(new) >= queue_limit {
        return Ok(false);
    }
    let room = queue_limit.saturating_sub(waiting);
    *uncounted.lock() = Uncounted { queue_limit, left: (room / 16).min(PostgresJobStore::MOST_UNCOUNTED) };
    Ok(true)
}

pub(super) async fn set_priority(database: &PostgresDatabase, id: JobId, priority: i32, now: UnixMs) -> Result<Job, StoreError> {
    let mut transaction = database.pool().begin().await?;
    let before = reads::locked(&mut transaction, id).await?;
    let job = before.job.clone().into_job()?;
    if !before.may_wait_again() {
        return Ok(job);
    }
    sqlx::query("UPDATE jobs SET priority = $1, updated_ms = $2 WHERE id = $3")
        .bind(i64::from(priority))
        .bind(now.0)
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE tasks SET priority = $1, queued_ms = $2, updated_ms = $2 WHERE job_id = $3 AND state = 'queued'")
        .bind(i64::from(priority))
        .bind(now.0)
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
    database.notify(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Job { priority, updated: now, ..job })
}
