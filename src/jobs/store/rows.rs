//! Rows as both databases give them, and what they mean.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;

use super::new_tasks::NewTaskRow;
use super::{Fence, NewRecord, Outcome, QueuedTask, Renewal, StoreError, TaskRecord};
use crate::database::WriteError;
use crate::domain::plan::Lane;
use crate::domain::{
    BatchKey, Callback, CounterKey, ErrorCode, Job, JobError, JobId, JobRequest, JobState, ModelId, Progress, Reservation, Spent,
    TaskId, UnixMs,
};

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// The columns of a [`JobRow`], for a statement's text. Named one by one: a column that a later version adds changes no answer.
macro_rules! job_columns {
    () => {
        "jobs.id, jobs.user_id, jobs.project_id, jobs.retry_of, jobs.kind, jobs.state, jobs.request, jobs.priority, \
         jobs.progress_step, jobs.progress_steps, jobs.result, jobs.error, jobs.created_ms, jobs.started_ms, \
         jobs.finished_ms, jobs.updated_ms"
    };
}
/// The columns of an [`AccountRow`] besides those of its [`JobRow`], for a statement's text.
macro_rules! account_columns {
    () => {
        "jobs.reservations, jobs.spent, jobs.cancel_requested_ms, "
    };
}
/// The columns of a [`QueuedRow`], for a statement's text.
macro_rules! queued_columns {
    () => {
        "id, job_id, user_id, project_id, position, lane, model_id, width, height, rows, work, priority, created_ms, queued_ms, \
         run_after_ms, alone, has_next_target, (lane = 'remote' AND attempt > 0 AND EXISTS (SELECT 1 FROM provider_calls \
         WHERE provider_calls.task_id = tasks.id AND provider_calls.ended_ms IS NULL)) AS has_open_call"
    };
}
pub(super) use {account_columns, job_columns, queued_columns};

/// A row of `jobs`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct JobRow {
    pub(super) id: String,
    user_id: String,
    project_id: Option<String>,
    retry_of: Option<String>,
    kind: String,
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
    /// When it was last changed.
    pub(super) fn updated(&self) -> UnixMs {
        UnixMs(self.updated_ms)
    }

    /// The word of its state.
    pub(super) fn state(&self) -> &str {
        &self.state
    }

    pub(super) fn into_job(self) -> Result<Job, StoreError> {
        Ok(Job {
            id: parse(&self.id)?,
            user: parse(&self.user_id)?,
            project: self.project_id.as_deref().map(parse).transpose()?,
            retry_of: self.retry_of.as_deref().map(parse).transpose()?,
            state: parse_state(&self.state)?,
            request: JobRequest::from_json(&self.kind, &self.request).map_err(corrupt)?,
            priority: integer(self.priority)?,
            progress: Progress { step: integer(self.progress_step)?, steps: integer(self.progress_steps)? },
            created: UnixMs(self.created_ms),
            started: self.started_ms.map(UnixMs),
            finished: self.finished_ms.map(UnixMs),
            updated: UnixMs(self.updated_ms),
            result: self.result.as_deref().map(from_json).transpose()?,
            error: self.error.as_deref().map(from_json).transpose()?,
        })
    }
}

/// A row of `jobs` with its quotas, and whether it shall stop.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct AccountRow {
    #[sqlx(flatten)]
    pub(super) job: JobRow,
    pub(super) reservations: String,
    pub(super) spent: Option<String>,
    cancel_requested_ms: Option<i64>,
}

impl AccountRow {
    /// What the job has taken from the quotas. A text that cannot be read is logged: nothing can be given back for it.
    pub(super) fn reservations(&self) -> Vec<Reservation> {
        from_json(&self.reservations).unwrap_or_else(|error| {
            let job = &self.job.id;
            tracing::error!(job.id = job, error = %error, "The reservations of job {job} cannot be read and are not given back: {error}");
            Vec::new()
        })
    }

    /// Whether somebody has asked the job to stop.
    pub(super) fn cancel_requested(&self) -> bool {
        self.cancel_requested_ms.is_some()
    }

    /// Whether the job may come to have more than one task.
    pub(super) fn has_several_tasks(&self) -> bool {
        JobRequest::may_have_several_tasks(&self.job.kind, &self.job.request)
    }

    /// Whether tasks of the job wait, or others may follow those that run.
    pub(super) fn may_wait_again(&self) -> bool {
        match self.job.state.as_str() {
            "queued" => true,
            "running" => self.has_several_tasks() && !self.cancel_requested(),
            _ => false,
        }
    }

    /// What the job was charged with.
    pub(super) fn spent(&self) -> Spent {
        self.spent.as_deref().and_then(|text| from_json(text).ok()).unwrap_or_default()
    }
}

/// A waiting row of `tasks`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct QueuedRow {
    pub(super) id: String,
    job_id: String,
    user_id: String,
    project_id: Option<String>,
    position: i64,
    lane: String,
    model_id: String,
    width: i64,
    height: i64,
    rows: i64,
    work: f64,
    priority: i64,
    created_ms: i64,
    queued_ms: i64,
    run_after_ms: Option<i64>,
    alone: bool,
    has_next_target: bool,
    has_open_call: bool,
}

impl QueuedRow {
    pub(super) fn read(&self) -> Result<QueuedTask, StoreError> {
        let model: ModelId = parse(&self.model_id)?;
        Ok(QueuedTask {
            task: parse(&self.id)?,
            job: parse(&self.job_id)?,
            user: parse(&self.user_id)?,
            project: self.project_id.as_deref().map(parse).transpose()?,
            position: integer(self.position)?,
            lane: Lane::ALL
                .into_iter()
                .find(|lane| lane.as_str() == self.lane)
                .ok_or_else(|| corrupt(format!("lane '{}'", self.lane)))?,
            batch: BatchKey { model, width: integer(self.width)?, height: integer(self.height)? },
            rows: integer(self.rows)?,
            work: self.work,
            priority: integer(self.priority)?,
            created: UnixMs(self.created_ms),
            queued: UnixMs(self.queued_ms),
            run_after: self.run_after_ms.map(UnixMs),
            alone: self.alone,
            has_next_target: self.has_next_target,
            has_open_call: self.has_open_call,
        })
    }
}

/// A row of `tasks` with what the task has left.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct RecordRow {
    id: String,
    position: i64,
    state: String,
    attempt: i64,
    result: Option<String>,
}

impl RecordRow {
    pub(super) fn read(&self) -> Result<TaskRecord, StoreError> {
        let state = parse_state(&self.state)?;
        Ok(TaskRecord {
            id: parse(&self.id)?,
            position: integer(self.position)?,
            state,
            attempt: self.attempt,
            result: self.result.as_deref().filter(|_| state == JobState::Completed).map(from_json).transpose()?,
        })
    }
}

/// The claims whose leases a statement has extended.
#[derive(Debug, Default)]
pub(super) struct HeldTasks(HashMap<TaskId, (i64, String)>);

impl HeldTasks {
    /// From identifiers, attempts and owners.
    pub(super) fn read(rows: Vec<(String, i64, String)>) -> Result<Self, StoreError> {
        let read = |(task, attempt, owner): (String, i64, String)| Ok((parse(&task)?, (attempt, owner)));
        rows.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn has(&self, fence: &Fence) -> bool {
        self.0.get(&fence.task).is_some_and(|(attempt, owner)| *attempt == fence.attempt && *owner == fence.owner)
    }
}

/// How far each job is: as far as the farthest of its tasks' reports says, each of which is of the whole job.
pub(super) fn farthest<'a>(renewals: impl IntoIterator<Item = &'a Renewal>) -> Vec<(JobId, u32, u32)> {
    let mut jobs: BTreeMap<JobId, Progress> = BTreeMap::new();
    for Renewal { fence, progress } in renewals {
        let known = jobs.entry(fence.job).or_insert(*progress);
        if known.step < progress.step {
            *known = *progress;
        }
    }
    jobs.into_iter().map(|(job, progress)| (job, progress.step, progress.steps)).collect()
}

/// A job and its first tasks, in the types of the databases.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) job: String,
    pub(super) user: String,
    pub(super) project: Option<String>,
    pub(super) retry_of: Option<String>,
    pub(super) kind: &'static str,
    pub(super) model: String,
    pub(super) request: String,
    pub(super) priority: i64,
    pub(super) reservations: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) request_sha256: Vec<u8>,
    pub(super) created_ms: i64,
    pub(super) progress: Progress,
    pub(super) tasks: Vec<NewTaskRow>,
    pub(super) callback: Option<CallbackRow>,
}

/// A row of `webhook_callbacks` to insert.
#[derive(Clone, Debug)]
pub(super) struct CallbackRow {
    pub(super) callback: Callback,
    /// Each event between commas.
    pub(super) events: String,
}

impl CallbackRow {
    fn of(callback: &Callback) -> Self {
        let words = callback.events.iter().map(|event| format!("{},", event.as_str()));
        Self { events: std::iter::once(",".to_owned()).chain(words).collect(), callback: callback.clone() }
    }
}

/// Inserts a [`CallbackRow`] of the job `$1`.
macro_rules! insert_callback {
    () => {
        "INSERT INTO webhook_callbacks (job_id, url, host, format, events, base_url) VALUES ($1, $2, $3, $4, $5, $6)"
    };
}
pub(super) use insert_callback;

impl NewRow {
    pub(super) fn of(record: &NewRecord) -> Result<Self, StoreError> {
        let job = &record.job;
        Ok(Self {
            job: job.id.to_string(),
            user: job.user.to_string(),
            project: job.project.as_ref().map(ToString::to_string),
            retry_of: job.retry_of.as_ref().map(ToString::to_string),
            kind: job.request.kind().as_str(),
            model: job.request.model().to_string(),
            request: to_json(&job.request)?,
            priority: job.priority.into(),
            reservations: to_json(&record.reservations)?,
            idempotency_key: record.idempotency_key.clone(),
            request_sha256: record.request_sha256.0.to_vec(),
            created_ms: job.created.0,
            progress: job.progress,
            tasks: record.tasks.iter().map(|task| NewTaskRow::of(task, job)).collect::<Result<_, _>>()?,
            callback: record.callback.as_ref().map(CallbackRow::of),
        })
    }

    /// How many of its tasks wait.
    pub(super) fn waiting(&self) -> u64 {
        self.tasks.iter().map(|task| u64::from(task.is_waiting())).sum()
    }
}

/// How a task or a job ended, in the types of the databases.
#[derive(Debug)]
pub(super) struct EndRow {
    pub(super) state: &'static str,
    pub(super) result: Option<String>,
    pub(super) error: Option<String>,
    pub(super) failures: i64,
    /// The job may have gone on.
    passes_on: bool,
}

impl EndRow {
    pub(super) fn of(outcome: &Outcome) -> Result<Self, StoreError> {
        let (result, error) = match outcome {
            Outcome::Completed(result) => (Some(to_json(result)?), None),
            Outcome::Failed(error) | Outcome::PassedOn(error) => (None, Some(to_json(error)?)),
            Outcome::Cancelled => (None, None),
        };
        let passes_on = matches!(outcome, Outcome::PassedOn(_));
        let failures = i64::from(passes_on || matches!(outcome, Outcome::Failed(_)));
        Ok(Self { state: outcome.state().as_str(), result, error, failures, passes_on })
    }
}

/// A job and the result of one of its tasks that has ended.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct EndedRow {
    #[sqlx(flatten)]
    pub(super) job: JobRow,
    task_result: Option<String>,
}

impl EndedRow {
    /// Whether the task, which ended in the same state, has this ending: the write that is made again after a lost answer has happened
    /// already. Compares texts: a number that is read back from a text need not be the number that was written.
    pub(super) fn is_of(&self, end: &EndRow) -> bool {
        let went_on = end.passes_on && self.job.error.is_none();
        (went_on || self.task_result == end.result) && (went_on || end.error.is_none() || self.job.error == end.error)
    }
}

/// The error, as JSON, of a job whose row cannot be read.
pub(super) fn unreadable_error() -> Result<String, StoreError> {
    let message = "the stored request cannot be read by this version of the server".to_owned();
    to_json(&JobError { code: ErrorCode::Internal, message })
}

/// A counter's columns.
pub(super) fn counter_columns(key: &CounterKey) -> (String, &'static str, i64) {
    (key.holder.to_string(), key.meter.as_str(), key.window_start.0)
}

pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(corrupt)
}

pub(super) fn parse_state(text: &str) -> Result<JobState, StoreError> {
    JobState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| corrupt(format!("state '{text}'")))
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(corrupt)
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(corrupt)
}

pub(super) fn integer<T: TryFrom<i64, Error: std::fmt::Display>>(value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|error| corrupt(format!("{value}: {error}")))
}
