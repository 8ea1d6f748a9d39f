//! What joins the queue, and where in it.

use sqlx::SqliteConnection;

use super::waiting::Waiting;
use super::{quotas, reads};
use crate::domain::{Job, JobId, Reservation, UnixMs};
use crate::jobs::store::new_tasks::NewTaskRow;
use crate::jobs::store::rows::{NewRow, insert_callback, parse, to_json};
use crate::jobs::store::{Inserted, StoreError};

/// The tasks `?7`, a JSON array, of the job `?1` of the user `?2` and the project `?3`, with the priority `?4`, which joins the queue at
/// `?5` and was created at `?6`.
macro_rules! insert_tasks {
    () => {
        "INSERT INTO tasks (id, key_sha256, job_id, position, user_id, project_id, model_id, lane, rows, width, height, state, priority,
             work, alone, has_next_target, result, spent, queued_ms, created_ms, updated_ms)
         SELECT value ->> 'id', unhex(value ->> 'key'), ?1, value ->> 'position', ?2, ?3, value ->> 'model', value ->> 'lane',
             value ->> 'rows', value ->> 'width', value ->> 'height', value ->> 'state', ?4, value ->> 'work', value ->> 'alone',
             value ->> 'has_next_target', value ->> 'result', value ->> 'spent', ?5, ?6, ?5
         FROM json_each(?7)"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO jobs (id, user_id, project_id, retry_of, kind, model_id, state, request, priority, reservations, idempotency_key,
         request_sha256, created_ms, updated_ms, progress_step, progress_steps)
     VALUES (?1, ?2, ?3, ?8, ?9, ?10, 'queued', ?11, ?4, ?12, ?13, ?14, ?6, ?5, ?15, ?16);
     ",
    insert_tasks!()
);

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
        .bind(row.priority)
        .bind(row.created_ms)
        .bind(row.created_ms)
        .bind(to_json(&row.tasks)?)
        .bind(&row.retry_of)
        .bind(row.kind)
        .bind(&row.model)
        .bind(&row.request)
        .bind(&row.reservations)
        .bind(&row.idempotency_key)
        .bind(&row.request_sha256)
        .bind(row.progress.step)
        .bind(row.progress.steps)
        .execute(&mut *connection)
        .await?;
    if let Some(row_of) = &row.callback {
        sqlx::query(insert_callback!())
            .bind(&row.job)
            .bind(&row_of.callback.url)
            .bind(&row_of.callback.host)
            .bind(row_of.callback.format.as_str())
            .bind(&row_of.events)
            .bind(&row_of.callback.base_url)
            .execute(connection)
            .await?;
    }
    waiting.changed_by(i64::try_from(row.waiting()).unwrap_or(i64::MAX));
    Ok(Inserted::New)
}

/// Tasks that join a job that is there.
pub(super) async fn more(
    connection: &mut SqliteConnection,
    job: &Job,
    tasks: &[NewTaskRow],
    now: UnixMs,
) -> Result<(), StoreError> {
    if tasks.is_empty() {
        return Ok(());
    }
    sqlx::query(insert_tasks!())
        .bind(job.id.to_string())
        .bind(job.user.to_string())
        .bind(job.project.as_ref().map(ToString::to_string))
        .bind(job.priority)
        .bind(now.0)
        .bind(job.created.0)
        .bind(to_json(&tasks)?)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn set_priority(
    connection: &mut SqliteConnection,
    id: JobId,
    priority: i32,
    now: UnixMs,
) -> Result<Job, StoreError> {
    let before = reads::account(&mut *connection, id).await?;
    let job = before.job.clone().into_job()?;
    if !before.may_wait_again() {
        return Ok(job);
    }
    sqlx::query(
        "UPDATE jobs SET priority = ?1, updated_ms = ?2 WHERE id = ?3;
         UPDATE tasks SET priority = ?1, queued_ms = ?2, updated_ms = ?2 WHERE job_id = ?3 AND state = 'queued'",
    )
    .bind(priority)
    .bind(now.0)
    .bind(id.to_string())
    .execute(&mut *connection)
    .await?;
    Ok(Job { priority, updated: now, ..job })
}
