//! What joins the queue, and where in it.

use sqlx::SqliteConnection;

use super::waiting::Waiting;
use super::{quotas, reads};
use crate::domain::{Job, JobId, JobState, Reservation, UnixMs};
use crate::jobs::store::rows::{NewRow, parse};
use crate::jobs::store::{Inserted, StoreError};

const INSERT: &str = "
    INSERT INTO jobs (id, user_id, project_id, retry_of, kind, model_id, state, request, priority, reservations, idempotency_key,
            request_sha256, created_ms, updated_ms)
        VALUES (?1, ?2, ?3, ?4, 'image', ?5, 'queued', ?6, ?7, ?8, ?9, ?10, ?11, ?11);
    INSERT INTO tasks (id, key_sha256, job_id, user_id, project_id, model_id, rows, width, height, state, priority, work, queued_ms,
            created_ms, updated_ms)
        VALUES (?12, ?13, ?1, ?2, ?3, ?5, ?14, ?15, ?16, 'queued', ?7, ?17, ?11, ?11, ?11)";

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    row: &NewRow,
    reservations: &[Reservation],
    queue_limit: u64,
    waiting: &Waiting,
) -> Result<Inserted, StoreError> {
    if let Some(key) = &row.idempotency_key {
        let earlier: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT id, request_sha256 FROM jobs WHERE user_id = ?1 AND idempotency_key = ?2")
                .bind(&row.user)
                .bind(key)
                .fetch_optional(&mut *connection)
                .await?;
        if let Some((id, request_sha256)) = earlier {
            if request_sha256 != row.request_sha256 {
                return Err(StoreError::Duplicate);
            }
            return Ok(Inserted::Existing(Box::new(reads::job(connection, parse(&id)?).await?)));
        }
    }
    if waiting.tasks(&mut *connection).await? >= queue_limit {
        return Err(StoreError::QueueFull(queue_limit));
    }
    quotas::take(&mut *connection, reservations).await?;
    sqlx::query(INSERT)
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
        .execute(connection)
        .await?;
    waiting.changed_by(1);
    Ok(Inserted::New)
}

pub(super) async fn set_priority(
    connection: &mut SqliteConnection,
    id: JobId,
    priority: i32,
    now: UnixMs,
) -> Result<Job, StoreError> {
    let before = reads::job(connection, id).await?;
    if before.state != JobState::Queued {
        return Ok(before);
    }
    sqlx::query(
        "UPDATE jobs SET priority = ?1, updated_ms = ?2 WHERE id = ?3 AND state = 'queued';
         UPDATE tasks SET priority = ?1, queued_ms = ?2, updated_ms = ?2 WHERE job_id = ?3 AND state = 'queued'",
    )
    .bind(priority)
    .bind(now.0)
    .bind(id.to_string())
    .execute(&mut *connection)
    .await?;
    Ok(Job { priority, updated: now, ..before })
}
