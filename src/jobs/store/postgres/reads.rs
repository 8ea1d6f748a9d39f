//! What is looked up and changes nothing.

use std::collections::HashSet;

use sqlx::{PgConnection, QueryBuilder};

use crate::domain::{Job, JobId, JobState};
use crate::jobs::store::claimed::FinishedRow;
use crate::jobs::store::filter;
use crate::jobs::store::follow::{TaskRow, Tasks, task_columns};
use crate::jobs::store::rows::{
    AccountRow, JobRow, QueuedRow, RecordRow, account_columns, job_columns, parse, parse_state, queued_columns,
};
use crate::jobs::store::{JobFilter, JobPage, JobWindow, QueuePosition, QueuedTask, StoreError, TaskRecord};

pub(super) async fn job(connection: &mut PgConnection, id: JobId) -> Result<Job, StoreError> {
    sqlx::query_as::<_, JobRow>(concat!("SELECT ", job_columns!(), " FROM jobs WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or(StoreError::NotFound(id))?
        .into_job()
}

/// The job with its quotas, whose row nobody else changes until the transaction ends.
pub(super) async fn locked(connection: &mut PgConnection, id: JobId) -> Result<AccountRow, StoreError> {
    sqlx::query_as(concat!("SELECT ", account_columns!(), job_columns!(), " FROM jobs WHERE id = $1 FOR UPDATE"))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or(StoreError::NotFound(id))
}

/// The tasks of a job that is locked, as far as they depend on each other.
pub(super) async fn tasks(connection: &mut PgConnection, job: &AccountRow) -> Result<Tasks, StoreError> {
    let rows: Vec<TaskRow> = sqlx::query_as(concat!("SELECT ", task_columns!(), " FROM tasks WHERE job_id = $1"))
        .bind(&job.job.id)
        .fetch_all(connection)
        .await?;
    Tasks::read(job.has_several_tasks(), rows)
}

pub(super) async fn tasks_of(connection: &mut PgConnection, id: JobId) -> Result<Vec<TaskRecord>, StoreError> {
    let rows: Vec<RecordRow> = sqlx::query_as(
        "SELECT tasks.id, position, tasks.state, attempt, COALESCE(tasks.result, jobs.result) AS result
         FROM tasks JOIN jobs ON jobs.id = tasks.job_id WHERE job_id = $1 ORDER BY position",
    )
    .bind(id.to_string())
    .fetch_all(connection)
    .await?;
    // Every job has one.
    if rows.is_empty() {
        return Err(StoreError::NotFound(id));
    }
    rows.iter().map(RecordRow::read).collect()
}

/// What the completed tasks of these films have left.
pub(super) async fn finished(connection: &mut PgConnection, films: &[String]) -> Result<Vec<FinishedRow>, StoreError> {
    if films.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as(
        "SELECT job_id, position, result FROM tasks WHERE job_id = ANY($1) AND state = 'completed' AND result IS NOT NULL",
    )
    .bind(films)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

pub(super) async fn jobs_of(connection: &mut PgConnection, ids: &[JobId]) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> = sqlx::query_as(concat!("SELECT ", job_columns!(), " FROM jobs WHERE id = ANY($1)"))
        .bind(texts(ids))
        .fetch_all(connection)
        .await?;
    Ok(filter::readable(rows))
}

pub(super) async fn stored(connection: &mut PgConnection, ids: &[JobId]) -> Result<HashSet<JobId>, StoreError> {
    let found: Vec<String> =
        sqlx::query_scalar("SELECT id FROM jobs WHERE id = ANY($1)").bind(texts(ids)).fetch_all(connection).await?;
    found.iter().map(|id| parse(id)).collect()
}

fn texts(ids: &[JobId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

pub(super) async fn jobs(
    connection: &mut PgConnection,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: u32,
) -> Result<Vec<Job>, StoreError> {
    let mut query = QueryBuilder::new(concat!("SELECT ", job_columns!(), " FROM jobs WHERE true"));
    filter::push(&mut query, filter, before, limit);
    let rows: Vec<JobRow> = query.build_query_as().fetch_all(connection).await?;
    Ok(filter::readable(rows))
}

pub(super) async fn page(connection: &mut PgConnection, filter: &JobFilter, window: &JobWindow) -> Result<JobPage, StoreError> {
    let mut count = QueryBuilder::new("SELECT COUNT(*) FROM ");
    filter::push_looked_through(&mut count, filter, window);
    let total: i64 = count.build_query_scalar().fetch_one(&mut *connection).await?;
    let mut part = QueryBuilder::new(concat!("SELECT ", job_columns!(), " FROM jobs WHERE "));
    filter::push_window(&mut part, filter, window);
    let rows: Vec<JobRow> = part.build_query_as().fetch_all(connection).await?;
    Ok(JobPage { jobs: filter::readable(rows), total: total.unsigned_abs() })
}

pub(super) async fn counts(connection: &mut PgConnection) -> Result<Vec<(JobState, u64)>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT state, COUNT(*) FROM jobs WHERE state IN ('queued', 'running') GROUP BY state ORDER BY state COLLATE \"C\"",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|(state, count)| Ok((parse_state(&state)?, count.unsigned_abs()))).collect()
}

/// A page of waiting tasks, and the identifiers of those in it that cannot be read.
pub(super) async fn queued(
    connection: &mut PgConnection,
    after: QueuePosition,
    limit: u32,
) -> Result<(Vec<QueuedTask>, Vec<String>), StoreError> {
    let rows: Vec<QueuedRow> = sqlx::query_as(concat!(
        "SELECT ",
        queued_columns!(),
        " FROM tasks WHERE state = 'queued' AND (queued_ms, id) > ($1, $2) ORDER BY queued_ms, id LIMIT $3"
    ))
    .bind(after.queued.0)
    // Every identifier is greater than the empty text.
    .bind(after.task.map_or_else(String::new, |task| task.to_string()))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(filter::readable_tasks(&rows))
}

/// The waiting tasks of a job.
pub(super) async fn queued_of(connection: &mut PgConnection, id: JobId) -> Result<Vec<QueuedTask>, StoreError> {
    let rows: Vec<QueuedRow> = sqlx::query_as(concat!(
        "SELECT ",
        queued_columns!(),
        " FROM tasks WHERE job_id = $1 AND state = 'queued' ORDER BY position"
    ))
    .bind(id.to_string())
    .fetch_all(connection)
    .await?;
    Ok(filter::readable_tasks(&rows).0)
}
