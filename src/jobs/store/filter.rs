//! Lists: which rows are asked for, and which of those found can be shown.

use sqlx::{Database, Encode, QueryBuilder, Type};

use super::rows::{AccountRow, JobRow, QueuedRow};
use super::{JobFilter, JobOrder, JobWindow, QueuedTask, ledger};
use crate::domain::{Adjustment, Job, JobId};

/// Adds a list's conditions, order and length to `SELECT … FROM jobs WHERE true`.
pub(super) fn push<'q, D>(query: &mut QueryBuilder<D>, filter: &JobFilter, before: Option<JobId>, limit: u32)
where
    D: Database,
    String: Encode<'q, D> + Type<D>,
    &'static str: Encode<'q, D> + Type<D>,
    i64: Encode<'q, D> + Type<D>,
{
    push_owners(query, filter);
    push_conditions(query, filter);
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before.to_string());
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
}

/// Adds the part of a list that is read by places to `SELECT … FROM jobs WHERE `.
pub(super) fn push_window<'q, D>(query: &mut QueryBuilder<D>, filter: &JobFilter, window: &JobWindow)
where
    D: Database,
    String: Encode<'q, D> + Type<D>,
    &'static str: Encode<'q, D> + Type<D>,
    i64: Encode<'q, D> + Type<D>,
{
    // What is skipped is skipped in an index: only the rows of the part itself are read.
    let order = order(window.order);
    query.push("id IN (SELECT id FROM ");
    push_looked_through(query, filter, window);
    query.push(order).push(" LIMIT ").push_bind(i64::from(window.limit));
    query.push(" OFFSET ").push_bind(i64::from(window.skip)).push(")").push(order);
}

/// Adds the jobs of a list that is read by places to `SELECT COUNT(*) FROM `.
pub(super) fn push_looked_through<'q, D>(query: &mut QueryBuilder<D>, filter: &JobFilter, window: &JobWindow)
where
    D: Database,
    String: Encode<'q, D> + Type<D>,
    &'static str: Encode<'q, D> + Type<D>,
    i64: Encode<'q, D> + Type<D>,
{
    query.push("(SELECT id, (true");
    push_conditions(query, filter);
    query.push(") AS is_listed FROM jobs WHERE true");
    push_owners(query, filter);
    query.push(order(window.order)).push(" LIMIT ").push_bind(i64::from(window.look_through));
    query.push(") AS looked_through WHERE is_listed");
}

/// Identifiers sort by the time they were made.
const fn order(order: JobOrder) -> &'static str {
    match order {
        JobOrder::NewestFirst => " ORDER BY id DESC",
        JobOrder::OldestFirst => " ORDER BY id",
    }
}

/// Adds whose jobs a filter lets through to a condition.
fn push_owners<'q, D>(query: &mut QueryBuilder<D>, filter: &JobFilter)
where
    D: Database,
    String: Encode<'q, D> + Type<D>,
{
    if let Some(user) = &filter.user {
        query.push(" AND user_id = ").push_bind(user.to_string());
    }
    if let Some(project) = &filter.project {
        query.push(" AND project_id = ").push_bind(project.to_string());
    }
}

/// Adds what else a filter asks of a job to a condition.
fn push_conditions<'q, D>(query: &mut QueryBuilder<D>, filter: &JobFilter)
where
    D: Database,
    String: Encode<'q, D> + Type<D>,
    &'static str: Encode<'q, D> + Type<D>,
{
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if !filter.states.is_empty() {
        query.push(" AND state IN (");
        let mut states = query.separated(", ");
        for state in &filter.states {
            states.push_bind(state.as_str());
        }
        query.push(")");
    }
    if !filter.models.is_empty() {
        query.push(" AND model_id IN (");
        let mut models = query.separated(", ");
        for model in &filter.models {
            models.push_bind(model.to_string());
        }
        query.push(")");
    }
    if filter.is_waiting_again {
        // The tasks are looked for once, not once for each job that a list goes through: SQLite evaluates all parts of a condition that is
        // a column, and PostgreSQL takes so many subqueries for worth compiling.
        query.push(" AND id IN (SELECT job_id FROM tasks WHERE state = 'queued' AND attempt > 0)");
    }
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
