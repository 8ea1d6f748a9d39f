//! Jobs in SQLite.

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::{Claim, Database, Fence, Inserted, JobStore, NewRecord, Outcome, ReadyTask, StoreError};
use crate::domain::{ErrorCode, Job, JobError, JobId, JobState, ModelId, Progress, TaskId, UnixMs, UserId};

/// [`JobStore`] over a [`Database`].
#[derive(Clone, Debug)]
pub struct SqliteJobStore {
    database: Database,
}

impl SqliteJobStore {
    /// The jobs of this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// A transaction that holds the write lock from its first statement: one that reads before it writes would otherwise fail at the
    /// upgrade when another process wrote in between, and `busy_timeout` does not cover that.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.database.write.begin_with("BEGIN IMMEDIATE").await?)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// A row of `jobs`; `FromRow` finds columns by name, so that added columns do not matter.
#[derive(sqlx::FromRow)]
struct JobRow {
    id: String,
    user_id: String,
    state: String,
    request: String,
    priority: i64,
    progress_step: i64,
    progress_steps: i64,
    result: Option<String>,
    error: Option<String>,
    created_ms: i64,
    started_ms: Option<i64>,
    finished_ms: Option<i64>,
    updated_ms: i64,
}

impl JobRow {
    fn into_job(self) -> Result<Job, StoreError> {
        Ok(Job {
            id: parse(&self.id)?,
            user: parse(&self.user_id)?,
            state: parse_state(&self.state)?,
            request: from_json(&self.request)?,
            priority: i32::try_from(self.priority).map_err(corrupt)?,
            progress: Progress {
                step: u32::try_from(self.progress_step).map_err(corrupt)?,
                steps: u32::try_from(self.progress_steps).map_err(corrupt)?,
            },
            created: UnixMs(self.created_ms),
            started: self.started_ms.map(UnixMs),
            finished: self.finished_ms.map(UnixMs),
            updated: UnixMs(self.updated_ms),
            result: self.result.as_deref().map(from_json).transpose()?,
            error: self.error.as_deref().map(from_json).transpose()?,
        })
    }
}

fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(corrupt)
}

fn parse_state(text: &str) -> Result<JobState, StoreError> {
    JobState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| corrupt(format!("state '{text}'")))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(corrupt)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(corrupt)
}

async fn job_in(connection: &mut SqliteConnection, id: JobId) -> Result<Job, StoreError> {
    sqlx::query_as::<_, JobRow>("SELECT * FROM jobs WHERE id = ?1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or(StoreError::NotFound(id))?
        .into_job()
}

/// Moves a task that `fence` holds out of `running`; fails with [`StoreError::LeaseLost`] when it does not hold it.
async fn leave_running(
    connection: &mut SqliteConnection,
    fence: &Fence,
    state: JobState,
    failures: i64,
    now: UnixMs,
) -> Result<(), StoreError> {
    let changed = sqlx::query(
        "UPDATE tasks SET state = ?1, failures = failures + ?2, lease_owner = NULL, lease_until_ms = NULL, updated_ms = ?3
         WHERE id = ?4 AND state = 'running' AND attempt = ?5 AND lease_owner = ?6",
    )
    .bind(state.as_str())
    .bind(failures)
    .bind(now.0)
    .bind(fence.task.to_string())
    .bind(fence.attempt)
    .bind(&fence.owner)
    .execute(connection)
    .await?
    .rows_affected();
    if changed == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
}

/// Fails a job that has just been claimed and its task.
async fn fail_unreadable(connection: &mut SqliteConnection, job: &str, now: UnixMs) -> Result<(), StoreError> {
    let message = "the stored request cannot be read by this version of the server".to_owned();
    sqlx::query(
        "UPDATE jobs SET state = 'failed', error = ?1, finished_ms = ?2, updated_ms = ?2 WHERE id = ?3 AND state = 'running'",
    )
    .bind(to_json(&JobError { code: ErrorCode::Internal, message })?)
    .bind(now.0)
    .bind(job)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE tasks SET state = 'failed', lease_owner = NULL, lease_until_ms = NULL, updated_ms = ?1
         WHERE job_id = ?2 AND state = 'running'",
    )
    .bind(now.0)
    .bind(job)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

#[async_trait]
impl JobStore for SqliteJobStore {
    async fn insert(&self, record: &NewRecord, queue_limit: u64) -> Result<Inserted, StoreError> {
        let job = &record.job;
        let request = to_json(&job.request)?;
        let mut transaction = self.begin().await?;
        if let Some(key) = &record.idempotency_key {
            let earlier: Option<(String, Vec<u8>)> =
                sqlx::query_as("SELECT id, request_sha256 FROM jobs WHERE user_id = ?1 AND idempotency_key = ?2")
                    .bind(job.user.as_str())
                    .bind(key)
                    .fetch_optional(&mut *transaction)
                    .await?;
            if let Some((id, request_sha256)) = earlier {
                if request_sha256 != record.request_sha256.0 {
                    return Err(StoreError::Duplicate);
                }
                return Ok(Inserted::Existing(Box::new(job_in(&mut transaction, parse(&id)?).await?)));
            }
        }
        let waiting: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM tasks WHERE state = 'queued'").fetch_one(&mut *transaction).await?;
        if waiting.unsigned_abs() >= queue_limit {
            return Err(StoreError::QueueFull(queue_limit));
        }
        sqlx::query(
            "INSERT INTO jobs (id, user_id, kind, model_id, state, request, priority, idempotency_key, request_sha256, created_ms, updated_ms)
             VALUES (?1, ?2, 'image', ?3, 'queued', ?4, ?5, ?6, ?7, ?8, ?8)",
        )
        .bind(job.id.to_string())
        .bind(job.user.as_str())
        .bind(job.request.model.as_str())
        .bind(request)
        .bind(job.priority)
        .bind(&record.idempotency_key)
        .bind(record.request_sha256.0.as_slice())
        .bind(job.created.0)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO tasks (id, key_sha256, job_id, model_id, state, priority, work, created_ms, updated_ms)
             VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, ?7)",
        )
        .bind(record.task.to_string())
        .bind(record.task_key.0.as_slice())
        .bind(job.id.to_string())
        .bind(job.request.model.as_str())
        .bind(job.priority)
        .bind(record.work)
        .bind(job.created.0)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Inserted::New)
    }

    async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        let mut connection = self.database.read.acquire().await?;
        job_in(&mut connection, id).await
    }

    async fn jobs(&self, user: Option<&UserId>, before: Option<JobId>, limit: u32) -> Result<Vec<Job>, StoreError> {
        // '~' sorts after every identifier.
        let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
        let rows: Vec<JobRow> = match user {
            Some(user) => {
                sqlx::query_as("SELECT * FROM jobs WHERE user_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3")
                    .bind(user.as_str())
                    .bind(before)
                    .bind(limit)
                    .fetch_all(&self.database.read)
                    .await?
            }
            None => {
                sqlx::query_as("SELECT * FROM jobs WHERE id < ?1 ORDER BY id DESC LIMIT ?2")
                    .bind(before)
                    .bind(limit)
                    .fetch_all(&self.database.read)
                    .await?
            }
        };
        rows.into_iter().map(JobRow::into_job).collect()
    }

    async fn request_cancel(&self, id: JobId, now: UnixMs) -> Result<(JobState, Job), StoreError> {
        let mut transaction = self.begin().await?;
        let before = job_in(&mut transaction, id).await?;
        match before.state {
            JobState::Queued => {
                sqlx::query(
                    "UPDATE jobs SET state = 'cancelled', cancel_requested_ms = ?1, finished_ms = ?1, updated_ms = ?1
                     WHERE id = ?2 AND state = 'queued'",
                )
                .bind(now.0)
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await?;
                sqlx::query("UPDATE tasks SET state = 'cancelled', updated_ms = ?1 WHERE job_id = ?2 AND state = 'queued'")
                    .bind(now.0)
                    .bind(id.to_string())
                    .execute(&mut *transaction)
                    .await?;
            }
            JobState::Running => {
                sqlx::query(
                    "UPDATE jobs SET cancel_requested_ms = COALESCE(cancel_requested_ms, ?1), updated_ms = ?1
                     WHERE id = ?2 AND state = 'running'",
                )
                .bind(now.0)
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await?;
            }
            JobState::Completed | JobState::Failed | JobState::Cancelled => return Ok((before.state, before)),
        }
        let after = job_in(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok((before.state, after))
    }

    async fn counts(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetch_all(&self.database.read).await?;
        rows.into_iter().map(|(state, count)| Ok((parse_state(&state)?, count.unsigned_abs()))).collect()
    }

    async fn unfinished_work(&self) -> Result<Vec<(ModelId, f64)>, StoreError> {
        let rows: Vec<(String, f64)> =
            sqlx::query_as("SELECT model_id, SUM(work) FROM tasks WHERE state IN ('queued', 'running') GROUP BY model_id")
                .fetch_all(&self.database.read)
                .await?;
        rows.into_iter().map(|(model, work)| Ok((parse(&model)?, work))).collect()
    }

    async fn ready(&self, limit: u32) -> Result<Vec<ReadyTask>, StoreError> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT id, job_id, model_id FROM tasks WHERE state = 'queued' ORDER BY priority DESC, created_ms, id LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(&self.database.read)
        .await?;
        rows.into_iter()
            .map(|(task, job, model)| Ok(ReadyTask { task: parse(&task)?, job: parse(&job)?, model: parse(&model)? }))
            .collect()
    }

    async fn claim(&self, task: TaskId, owner: &str, now: UnixMs, lease_until: UnixMs) -> Result<Option<Claim>, StoreError> {
        let mut transaction = self.begin().await?;
        let claimed: Option<(String, i64)> = sqlx::query_as(
            "UPDATE tasks SET state = 'running', attempt = attempt + 1, lease_owner = ?1, lease_until_ms = ?2, updated_ms = ?3
             WHERE id = ?4 AND state = 'queued' RETURNING job_id, attempt",
        )
        .bind(owner)
        .bind(lease_until.0)
        .bind(now.0)
        .bind(task.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((job_id, attempt)) = claimed else { return Ok(None) };
        let row: Option<JobRow> = sqlx::query_as(
            "UPDATE jobs SET state = 'running', started_ms = ?1, updated_ms = ?1, progress_step = 0, progress_steps = 0
             WHERE id = ?2 AND state = 'queued' RETURNING *",
        )
        .bind(now.0)
        .bind(&job_id)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let job = match row.into_job() {
            Ok(job) => job,
            // Left in the queue it would be the next to be claimed for ever, and nothing behind it would run.
            Err(StoreError::Corrupt(reason)) => {
                fail_unreadable(&mut transaction, &job_id, now).await?;
                transaction.commit().await?;
                tracing::error!(job.id = job_id, reason, "Job {job_id} has failed: its row cannot be read: {reason}");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        transaction.commit().await?;
        let fence = Fence { task, job: job.id, attempt, owner: owner.to_owned() };
        Ok(Some(Claim { fence, job }))
    }

    async fn record_progress(&self, fence: &Fence, progress: Progress, now: UnixMs) -> Result<bool, StoreError> {
        let cancel_requested: Option<bool> = sqlx::query_scalar(
            "UPDATE jobs SET progress_step = ?1, progress_steps = ?2, updated_ms = ?3 WHERE id = ?4 AND EXISTS (
                 SELECT 1 FROM tasks WHERE id = ?5 AND state = 'running' AND attempt = ?6 AND lease_owner = ?7)
             RETURNING cancel_requested_ms IS NOT NULL",
        )
        .bind(progress.step)
        .bind(progress.steps)
        .bind(now.0)
        .bind(fence.job.to_string())
        .bind(fence.task.to_string())
        .bind(fence.attempt)
        .bind(&fence.owner)
        .fetch_optional(&self.database.write)
        .await?;
        cancel_requested.ok_or(StoreError::LeaseLost)
    }

    async fn finish(&self, fence: &Fence, outcome: &Outcome, progress: Progress, now: UnixMs) -> Result<Job, StoreError> {
        let (result, error) = match outcome {
            Outcome::Completed(result) => (Some(to_json(result)?), None),
            Outcome::Failed(error) => (None, Some(to_json(error)?)),
            Outcome::Cancelled => (None, None),
        };
        let failures = i64::from(matches!(outcome, Outcome::Failed(_)));
        let mut transaction = self.begin().await?;
        leave_running(&mut transaction, fence, outcome.state(), failures, now).await?;
        let row: Option<JobRow> = sqlx::query_as(
            "UPDATE jobs SET state = ?1, result = ?2, error = ?3, finished_ms = ?4, updated_ms = ?4,
                 progress_step = ?5, progress_steps = ?6
             WHERE id = ?7 AND state = 'running' RETURNING *",
        )
        .bind(outcome.state().as_str())
        .bind(result)
        .bind(error)
        .bind(now.0)
        .bind(progress.step)
        .bind(progress.steps)
        .bind(fence.job.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let job = row.ok_or(StoreError::LeaseLost)?.into_job()?;
        transaction.commit().await?;
        Ok(job)
    }

    async fn release(&self, fence: &Fence, now: UnixMs) -> Result<Job, StoreError> {
        let mut transaction = self.begin().await?;
        // The task follows its job: cancelled when that was asked for, queued otherwise.
        let row: Option<JobRow> = sqlx::query_as(
            "UPDATE jobs SET
                 state = CASE WHEN cancel_requested_ms IS NULL THEN 'queued' ELSE 'cancelled' END,
                 finished_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE ?1 END,
                 started_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE started_ms END,
                 progress_step = 0, progress_steps = 0, updated_ms = ?1
             WHERE id = ?2 AND state = 'running' RETURNING *",
        )
        .bind(now.0)
        .bind(fence.job.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let job = row.ok_or(StoreError::LeaseLost)?.into_job()?;
        leave_running(&mut transaction, fence, job.state, 0, now).await?;
        transaction.commit().await?;
        Ok(job)
    }

    async fn running(&self) -> Result<Vec<Claim>, StoreError> {
        let mut connection = self.database.read.acquire().await?;
        let tasks: Vec<(String, String, i64, String)> = sqlx::query_as(
            "SELECT id, job_id, attempt, COALESCE(lease_owner, '') FROM tasks WHERE state = 'running' ORDER BY id",
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut claims = Vec::with_capacity(tasks.len());
        for (task, job, attempt, owner) in tasks {
            let job = match job_in(&mut connection, parse(&job)?).await {
                // The next claim deals with it.
                Err(StoreError::Corrupt(_)) => continue,
                read => read?,
            };
            claims.push(Claim { fence: Fence { task: parse(&task)?, job: job.id, attempt, owner }, job });
        }
        Ok(claims)
    }

    async fn release_all(&self, now: UnixMs) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let released = sqlx::query(
            "UPDATE tasks SET lease_owner = NULL, lease_until_ms = NULL, updated_ms = ?1,
                 state = (SELECT CASE WHEN jobs.cancel_requested_ms IS NULL THEN 'queued' ELSE 'cancelled' END
                          FROM jobs WHERE jobs.id = tasks.job_id)
             WHERE state = 'running'",
        )
        .bind(now.0)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        sqlx::query(
            "UPDATE jobs SET
                 state = CASE WHEN cancel_requested_ms IS NULL THEN 'queued' ELSE 'cancelled' END,
                 finished_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE ?1 END,
                 started_ms = CASE WHEN cancel_requested_ms IS NULL THEN NULL ELSE started_ms END,
                 progress_step = 0, progress_steps = 0, updated_ms = ?1
             WHERE state = 'running'",
        )
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(released)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::store::conformance;

    #[tokio::test]
    async fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        let count = std::sync::atomic::AtomicU32::new(0);
        conformance::run_all(|| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path = directory.path().join(format!("{number}/jobs.db"));
            async move { SqliteJobStore::new(Database::open(&path).await.unwrap()) }
        })
        .await;
    }

    #[tokio::test]
    async fn an_unreadable_job_fails_and_holds_up_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("jobs.db")).await.unwrap();
        let store = SqliteJobStore::new(database.clone());
        let (broken, running) = (conformance::record("ann"), conformance::record("ann"));
        store.insert(&broken, 9).await.unwrap();
        store.insert(&running, 9).await.unwrap();
        store.claim(running.task, "owner", UnixMs(2), UnixMs(9)).await.unwrap().unwrap();
        sqlx::query("UPDATE jobs SET request = '{}'").execute(&database.write).await.unwrap();
        assert!(store.claim(broken.task, "owner", UnixMs(2), UnixMs(9)).await.unwrap().is_none());
        assert!(store.ready(9).await.unwrap().is_empty());
        assert_eq!(store.counts().await.unwrap(), [(JobState::Failed, 1), (JobState::Running, 1)]);
        assert_eq!(store.running().await.unwrap(), [], "the server starts all the same");
    }

    #[tokio::test]
    async fn the_file_is_durable_and_guards_terminal_states() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.db");
        let record = conformance::record("ann");
        let database = Database::open(&path).await.unwrap();
        let setting = async |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.write).await.unwrap();
        assert_eq!(setting("PRAGMA synchronous").await, 2, "FULL");
        assert_eq!(setting("PRAGMA foreign_keys").await, 1);
        let store = SqliteJobStore::new(database.clone());
        store.insert(&record, 1).await.unwrap();
        store.request_cancel(record.job.id, UnixMs(2)).await.unwrap();
        let revived = sqlx::query("UPDATE jobs SET state = 'queued'").execute(&database.write).await;
        assert!(revived.unwrap_err().to_string().contains("terminal"));
        database.close().await;
        let again = SqliteJobStore::new(Database::open(&path).await.unwrap());
        assert_eq!(again.job(record.job.id).await.unwrap().state, JobState::Cancelled);
    }
}
