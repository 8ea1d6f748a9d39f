//! What joins the queue, and where in it.

use parking_lot::Mutex;
use sqlx::PgConnection;

use super::{PostgresJobStore, quotas, reads};
use crate::database::PostgresDatabase;
use crate::domain::{Job, JobId, JobState, UnixMs};
use crate::jobs::store::rows::{NewRow, parse};
use crate::jobs::store::{Inserted, NewRecord, StoreError};

/// The job and its task; neither, when the user's idempotency key is taken.
const INSERT: &str = "
    WITH job AS (
        INSERT INTO jobs (id, user_id, project_id, retry_of, kind, model_id, state, request, priority, reservations, idempotency_key,
            request_sha256, created_ms, updated_ms)
        VALUES ($1, $2, $3, $4, 'image', $5, 'queued', $6, $7, $8, $9, $10, $11, $11)
        ON CONFLICT (user_id, idempotency_key) DO NOTHING RETURNING id
    )
    INSERT INTO tasks (id, key_sha256, job_id, user_id, project_id, model_id, rows, width, height, state, priority, work, queued_ms,
        created_ms, updated_ms)
    SELECT $12, $13, job.id, $2, $3, $5, $14, $15, $16, 'queued', $7, $17, $11, $11, $11 FROM job";

/// How many jobs may be inserted before the queue is counted again, as long as its limit is the same.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    queue_limit: u64,
    left: u64,
}

impl Uncounted {
    fn take(&mut self, queue_limit: u64) -> bool {
        let may = self.queue_limit == queue_limit && self.left > 0;
        self.left -= u64::from(may);
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
    let inserted = sqlx::query(INSERT)
        .bind(&row.job)
        .bind(&row.user)
        .bind(&row.project)
        .bind(&row.retry_of)
        .bind(&row.model)
        .bind(&row.request)
        .bind(row.priority)
        .bind(&row.reservations)
        .bind(&row.idempotency_key)
        .bind(&row.request_sha256)
        .bind(row.created_ms)
        .bind(&row.task)
        .bind(&row.task_key)
        .bind(row.rows)
        .bind(row.width)
        .bind(row.height)
        .bind(row.work)
        .execute(&mut *transaction)
        .await?;
    if inserted.rows_affected() == 0 {
        return earlier(&mut transaction, &row).await;
    }
    if !has_room(&mut transaction, queue_limit, uncounted).await? {
        return Err(StoreError::QueueFull(queue_limit));
    }
    quotas::take(&mut transaction, &record.reservations).await?;
    database.notify(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Inserted::New)
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

/// Whether the queue, which has the new task already, is not longer than it may be. Far from its end it is not counted every time.
async fn has_room(connection: &mut PgConnection, queue_limit: u64, uncounted: &Mutex<Uncounted>) -> Result<bool, StoreError> {
    if uncounted.lock().take(queue_limit) {
        return Ok(true);
    }
    let bound = i64::try_from(queue_limit).unwrap_or(i64::MAX).saturating_add(1);
    let waiting: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM (SELECT 1 FROM tasks WHERE state = 'queued' LIMIT $1) AS waiting")
            .bind(bound)
            .fetch_one(connection)
            .await?;
    let Some(room) = queue_limit.checked_sub(waiting.unsigned_abs()) else { return Ok(false) };
    *uncounted.lock() = Uncounted { queue_limit, left: (room / 16).min(PostgresJobStore::MOST_UNCOUNTED) };
    Ok(true)
}

pub(super) async fn set_priority(database: &PostgresDatabase, id: JobId, priority: i32, now: UnixMs) -> Result<Job, StoreError> {
    let mut transaction = database.pool().begin().await?;
    let before = reads::locked(&mut transaction, id).await?;
    if before.state != JobState::Queued {
        return Ok(before);
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
    Ok(Job { priority, updated: now, ..before })
}
