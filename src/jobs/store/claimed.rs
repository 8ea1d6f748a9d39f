//! Claims, from the rows of what was won.

use std::collections::{BTreeMap, HashMap};

use super::rows::{AccountRow, from_json, integer, parse};
use super::{Claim, Fence, StoreError};
use crate::domain::{Job, JobResult};

/// The columns of a [`ClaimRow`], for a statement's text.
macro_rules! claim_columns {
    () => {
        "tasks.id AS task_id, tasks.job_id, tasks.position, tasks.attempt, tasks.lease_owner, tasks.failures, tasks.alone"
    };
}
pub(super) use claim_columns;

/// The row of a task that is, or was just now, claimed.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct ClaimRow {
    pub(super) task_id: String,
    pub(super) job_id: String,
    position: i64,
    pub(super) attempt: i64,
    pub(super) lease_owner: Option<String>,
    failures: i64,
    alone: bool,
}

impl ClaimRow {
    fn read(&self, job: &Job, finished: &BTreeMap<u32, JobResult>) -> Result<Claim, StoreError> {
        let owner = self.lease_owner.clone().unwrap_or_default();
        Ok(Claim {
            fence: Fence { task: parse(&self.task_id)?, job: job.id, attempt: self.attempt, owner },
            job: job.clone(),
            failures: integer(self.failures)?,
            alone: self.alone,
            position: integer(self.position)?,
            finished: finished.clone(),
        })
    }
}

/// The row of a completed task of a film.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct FinishedRow {
    job_id: String,
    position: i64,
    result: String,
}

/// The jobs among these whose finished tasks their other tasks need.
pub(super) fn films(jobs: &[AccountRow]) -> Vec<String> {
    jobs.iter().filter(|account| account.has_several_tasks()).map(|account| account.job.id.clone()).collect()
}

/// A job that cannot be read, and why.
pub(super) type Unreadable = (AccountRow, String);

/// The claims of these jobs, and the jobs that cannot be read.
pub(super) fn read(
    jobs: Vec<AccountRow>,
    rows: Vec<ClaimRow>,
    finished: Vec<FinishedRow>,
) -> Result<(Vec<Claim>, Vec<Unreadable>), StoreError> {
    let mut rows_of: HashMap<String, Vec<ClaimRow>> = HashMap::new();
    for row in rows {
        rows_of.entry(row.job_id.clone()).or_default().push(row);
    }
    let mut finished_of: HashMap<String, Vec<FinishedRow>> = HashMap::new();
    for row in finished {
        finished_of.entry(row.job_id.clone()).or_default().push(row);
    }
    let (mut claims, mut unreadable) = (Vec::new(), Vec::new());
    for account in jobs {
        let rows = rows_of.remove(&account.job.id).unwrap_or_default();
        let finished = finished_of.remove(&account.job.id).unwrap_or_default();
        match of_job(&account, &rows, &finished) {
            Ok(read) => claims.extend(read),
            Err(StoreError::Corrupt(reason)) => unreadable.push((account, reason)),
            Err(error) => return Err(error),
        }
    }
    Ok((claims, unreadable))
}

fn of_job(account: &AccountRow, rows: &[ClaimRow], finished: &[FinishedRow]) -> Result<Vec<Claim>, StoreError> {
    let job = account.job.clone().into_job()?;
    let result = |row: &FinishedRow| Ok((integer(row.position)?, from_json(&row.result)?));
    let finished = finished.iter().map(result).collect::<Result<BTreeMap<u32, JobResult>, StoreError>>()?;
    rows.iter().map(|row| row.read(&job, &finished)).collect()
}
