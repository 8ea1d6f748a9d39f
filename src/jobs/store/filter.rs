//! Lists: which rows are asked for, and which of those found can be shown.

use sqlx::{Database, Encode, QueryBuilder, Type};

use super::rows::{AccountRow, JobRow, QueuedRow};
use super::{JobFilter, QueuedTask, ledger};
use crate::domain::{Adjustment, Job, JobId};

/// Adds a list's conditions, order and length to `SELECT … FROM jobs WHERE true`.
pub(super) fn push<'q, D>(query: &mut QueryBuilder<D>, filter: &JobFilter, before: Option<JobId>, limit: u32)
where
    D: Database,
    String: Encode<'q, D> + Type<D>,
    &'static str: Encode<'q, D> + Type<D>,
    i64: Encode<'q, D> + Type<D>,
{
    if let Some(user) = &filter.user {
        query.push(" AND user_id = ").push_bind(user.to_string());
    }
    if let Some(project) = &filter.project {
        query.push(" AND project_id = ").push_bind(project.to_string());
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before.to_string());
    }
    if !filter.states.is_empty() {
        query.push(" AND state IN (");
        let mut states = query.separated(", ");
        for state in &filter.states {
            states.push_bind(state.as_str());
        }
        query.push(")");
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
}

/// The jobs of those rows that can be read; the others are logged.
pub(super) fn readable(rows: Vec<JobRow>) -> Vec<Job> {
    split(rows).0
}

/// The jobs of those rows that can be read, and the identifiers of the others, which are logged.
pub(super) fn split(rows: Vec<JobRow>) -> (Vec<Job>, Vec<String>) {
    let (mut jobs, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let id = row.id.clone();
        match row.into_job() {
            Ok(job) => jobs.push(job),
            Err(error) => {
                tracing::error!(job.id = id, error = %error, "Job {id} is left out: {error}");
                unreadable.push(id);
            }
        }
    }
    (jobs, unreadable)
}

/// The tasks that can be read, and the identifiers of those that cannot.
pub(super) fn readable_tasks(rows: &[QueuedRow]) -> (Vec<QueuedTask>, Vec<String>) {
    let (mut tasks, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match row.read() {
            Ok(task) => tasks.push(task),
            Err(error) => {
                tracing::error!(task.id = row.id, error = %error, "The waiting task {} cannot be read: {error}", row.id);
                unreadable.push(row.id.clone());
            }
        }
    }
    (tasks, unreadable)
}

/// What the counters of kept bytes give up for removed jobs.
pub(super) fn given_up(rows: &[AccountRow]) -> Vec<Adjustment> {
    let mut removed = Vec::new();
    for row in rows {
        removed.extend(ledger::removal(&row.reservations(), &row.spent()));
    }
    ledger::merged(removed)
}
