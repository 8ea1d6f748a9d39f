//! What follows from the end of a task. Pure; the adapters write what is decided here, in the transaction of the task's end.

use super::StoreError;
use super::new_tasks::NewTaskRow;
use super::rows::{from_json, parse_state};
use crate::domain::plan::{Place, plan, ready};
use crate::domain::{ErrorCode, Job, JobError, JobState, QuotaRefusal, Spent};
use crate::jobs::store::Outcome;
use crate::quota;

/// The columns of a [`TaskRow`], for a statement's text.
macro_rules! task_columns {
    () => {
        concat!(
            "id, position, state, spent, CASE WHEN lane = 'remote' AND spent IS NULL THEN (",
            crate::jobs::store::follow::settled_of_task!("tasks.id"),
            ") ELSE 0 END AS settled_micros"
        )
    };
}
pub(super) use task_columns;

/// What the calls to providers cost that have ended and were made for a task.
macro_rules! settled_of_task {
    ($task:literal) => {
        concat!(
            "SELECT CAST(COALESCE(SUM(provider_calls.settled_micros), 0) AS BIGINT) FROM provider_calls \
             WHERE provider_calls.task_id = ",
            $task,
            " AND provider_calls.ended_ms IS NOT NULL"
        )
    };
}
pub(super) use settled_of_task;

/// The same, of the task `$1`.
pub(super) const SETTLED_OF_TASK: &str = settled_of_task!("$1");

/// A task of a job, as far as the others depend on it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct TaskRow {
    pub(super) id: String,
    pub(super) position: i64,
    pub(super) state: String,
    pub(super) spent: Option<String>,
    pub(super) settled_micros: i64,
}

#[derive(Clone, Debug)]
struct Task {
    id: String,
    position: i64,
    state: JobState,
    spent: Spent,
    /// What it spent is known from its calls alone: nobody has written it down for the task.
    is_unwritten: bool,
}

/// The tasks of a job that exist.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    /// The job may come to have others.
    are_several: bool,
    tasks: Vec<Task>,
}

impl Tasks {
    pub(super) fn read(are_several: bool, rows: Vec<TaskRow>) -> Result<Self, StoreError> {
        let read = |TaskRow { id, position, state, spent, settled_micros }: TaskRow| {
            let (spent, is_unwritten) = match spent {
                // What cannot be read is charged to nobody.
                Some(text) => (from_json(&text).unwrap_or_default(), false),
                // Whoever had the task may have died between the end of a call and its own.
                None => (Spent { cost_micros: settled_micros, ..Spent::default() }, settled_micros != 0),
            };
            Ok(Task { id, position, state: parse_state(&state)?, spent, is_unwritten })
        };
        Ok(Self { are_several, tasks: rows.into_iter().map(read).collect::<Result<_, StoreError>>()? })
    }

    /// The only task of a job of one.
    pub(super) fn one(id: String, state: JobState, spent: Spent) -> Self {
        Self { are_several: false, tasks: vec![Task { id, position: 0, state, spent, is_unwritten: false }] }
    }

    /// How many of them wait.
    pub(super) fn waiting(&self) -> i64 {
        self.tasks.iter().map(|task| i64::from(task.state == JobState::Queued)).sum()
    }

    /// Whether any but this one runs.
    pub(super) fn others_run(&self, but: &str) -> bool {
        self.tasks.iter().any(|task| task.state == JobState::Running && task.id != but)
    }

    /// Whether any runs.
    pub(super) fn any_runs(&self) -> bool {
        self.tasks.iter().any(|task| task.state == JobState::Running)
    }

    /// Whether any waits or runs.
    pub(super) fn any_goes_on(&self) -> bool {
        self.waiting() > 0 || self.any_runs()
    }

    /// Those of which nobody has written down what they spent, with that.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = (&str, Spent)> {
        self.tasks.iter().filter(|task| task.is_unwritten).map(|task| (task.id.as_str(), task.spent))
    }

    /// What they have taken so far.
    pub(super) fn spent(&self) -> Spent {
        self.tasks.iter().fold(Spent::default(), |sum, task| sum.and(task.spent))
    }

    /// What the quotas are charged with when the job ends in this state. A film that was not completed delivers nothing, but its devices
    /// and providers have worked, and what its completed tasks left stays for another try.
    pub(super) fn charged(&self, state: JobState) -> Spent {
        if !self.are_several || state == JobState::Completed {
            return self.spent();
        }
        let kept = self.tasks.iter().filter(|task| task.state == JobState::Completed);
        let storage_bytes = kept.fold(0_i64, |sum, task| sum.saturating_add(task.spent.storage_bytes));
        let Spent { gpu_ms, cost_micros, .. } = self.spent();
        Spent { gpu_ms, cost_micros, storage_bytes, ..Spent::default() }
    }

    /// Whether the files of a task of the plan are there; `None` where the task does not exist.
    fn is_there(&self, position: u32) -> Option<bool> {
        let task = self.tasks.iter().find(|task| task.position == i64::from(position))?;
        Some(task.state == JobState::Completed)
    }
}

/// What becomes of a job of which a task has ended.
#[derive(Debug)]
pub(super) enum Next {
    /// It goes on; these tasks wait from now on.
    Goes(Vec<NewTaskRow>),
    /// It goes on with its next target; whatever else of it waits or runs ends, and these tasks wait from now on.
    Passes(Vec<NewTaskRow>),
    /// It ends as the task did.
    EndsSo,
    /// It ends otherwise.
    Ends(Outcome),
}

/// What follows when the task at `position` has ended so; `tasks` are as they stand after that.
pub(super) fn next(job: &Job, cancel_requested: bool, position: i64, outcome: &Outcome, tasks: &Tasks) -> Next {
    let plan = plan(&job.request);
    let ended = usize::try_from(position).ok().and_then(|position| plan.get(position));
    let rows = |ready: Vec<u32>| {
        let row = |position: u32| NewTaskRow::waiting(position, &plan[position as usize], job);
        ready.into_iter().map(row).collect()
    };
    match outcome {
        Outcome::Failed(_) | Outcome::Cancelled => return Next::EndsSo,
        Outcome::PassedOn(_) if cancel_requested => return Next::Ends(Outcome::Cancelled),
        Outcome::PassedOn(_) => {
            let next = ended.map_or_else(Vec::new, |ended| ready(&plan, ended.stage + 1, |position| tasks.is_there(position)));
            return if next.is_empty() { Next::EndsSo } else { Next::Passes(rows(next)) };
        }
        Outcome::Completed(_) => {}
    }
    if ended.is_some_and(|ended| ended.is_last) {
        return Next::EndsSo;
    }
    if cancel_requested {
        return Next::Ends(Outcome::Cancelled);
    }
    let ready = ready(&plan, ended.map_or(0, |ended| ended.stage), |position| tasks.is_there(position));
    if ready.is_empty() && !tasks.any_goes_on() {
        let message = "none of the tasks that are left can run: this version of the server divides the job otherwise".to_owned();
        return Next::Ends(Outcome::Failed(JobError { code: ErrorCode::Internal, message }));
    }
    Next::Goes(rows(ready))
}

/// The end of a job that has used up a quota on its way.
pub(super) fn out_of_quota(refusal: &QuotaRefusal) -> Next {
    let message = format!("{}; what is made so far is kept for a retry", quota::explain(refusal, &jiff::tz::TimeZone::UTC));
    Next::Ends(Outcome::Failed(JobError { code: ErrorCode::QuotaExceeded, message }))
}

/// Whether a task that goes back to the queue shall have its device to itself, whatever is asked for.
pub(super) fn is_planned_alone(job: &Job, position: i64) -> bool {
    let task = usize::try_from(position).ok().and_then(|position| plan(&job.request).into_iter().nth(position));
    task.is_some_and(|task| matches!(task.place, Place::Device { alone: true, .. }))
}
