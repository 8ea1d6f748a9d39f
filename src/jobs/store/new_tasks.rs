//! Tasks to insert, in the types of the databases.

use serde::Serialize;

use super::rows::to_json;
use super::{NewTask, QueuedTask, StoreError};
use crate::domain::plan::{Lane, PlannedTask};
use crate::domain::{BatchKey, Job, JobResult, JobState, ModelId, Sha256Digest, Spent, TaskId, UnixMs};

/// A task to insert. What it shares with its job is written from the job's row.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NewTaskRow {
    pub(super) id: TaskId,
    pub(super) position: u32,
    pub(super) key: Sha256Digest,
    pub(super) model: ModelId,
    pub(super) lane: Lane,
    pub(super) rows: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) alone: bool,
    pub(super) has_next_target: bool,
    pub(super) work: f64,
    pub(super) state: &'static str,
    pub(super) result: Option<String>,
    pub(super) spent: Option<String>,
}

impl NewTaskRow {
    /// The row of a task that comes with its job.
    pub(super) fn of(task: &NewTask, job: &Job) -> Result<Self, StoreError> {
        let waiting = Self { id: task.id, ..Self::waiting(task.position, &task.planned, job) };
        let Some(result) = &task.result else { return Ok(waiting) };
        let spent = Spent { storage_bytes: kept_bytes(result), ..Spent::default() };
        let (result, spent) = (Some(to_json(result)?), Some(to_json(&spent)?));
        Ok(Self { state: JobState::Completed.as_str(), result, spent, ..waiting })
    }

    /// The row of a task that waits.
    pub(super) fn waiting(position: u32, planned: &PlannedTask, job: &Job) -> Self {
        let (lane, batch, rows, alone) = planned.waits(&job.request);
        Self {
            id: TaskId::generate(),
            position,
            key: planned.key,
            model: batch.model,
            lane,
            rows,
            width: batch.width,
            height: batch.height,
            alone,
            has_next_target: planned.has_next_target(&job.request),
            work: planned.work,
            state: JobState::Queued.as_str(),
            result: None,
            spent: None,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.result.is_none()
    }

    /// How it waits.
    pub(super) fn queued(&self, job: &Job, now: UnixMs) -> QueuedTask {
        QueuedTask {
            task: self.id,
            job: job.id,
            user: job.user.clone(),
            project: job.project.clone(),
            position: self.position,
            lane: self.lane,
            batch: BatchKey { model: self.model.clone(), width: self.width, height: self.height },
            rows: self.rows,
            work: self.work,
            priority: job.priority,
            created: job.created,
            queued: now,
            run_after: None,
            alone: self.alone,
            has_next_target: self.has_next_target,
            has_open_call: false,
        }
    }
}

/// The bytes of the files that a job took over: copies, which are kept as long as the job.
fn kept_bytes(result: &JobResult) -> i64 {
    let sum = result.artifacts.iter().fold(0_u64, |sum, artifact| sum.saturating_add(artifact.bytes));
    i64::try_from(sum).unwrap_or(i64::MAX)
}
