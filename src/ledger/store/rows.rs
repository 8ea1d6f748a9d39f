//! Rows as both databases give them.

use super::super::call::{CallFilter, CallState, KeptAnswer, NewCall, ProviderCall};
use super::super::sums::CostSum;
use super::LedgerError;
use crate::database::WriteError;
use crate::domain::{Micros, UnixMs};

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<WriteError> for LedgerError {
    fn from(error: WriteError) -> Self {
        Self(Box::new(error))
    }
}

/// A row of `provider_calls`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct CallRow {
    id: String,
    task_id: String,
    job_id: String,
    user_id: String,
    project_id: Option<String>,
    provider_id: String,
    model: String,
    key_id: String,
    our_id: String,
    remote_id: Option<String>,
    answer: Option<String>,
    state: String,
    estimated_micros: i64,
    settled_micros: Option<i64>,
    failure_class: Option<String>,
    failure_message: Option<String>,
    created_ms: i64,
    updated_ms: i64,
    ended_ms: Option<i64>,
}

impl CallRow {
    /// The call.
    pub(super) fn read(self) -> Result<ProviderCall, LedgerError> {
        let unreadable = |what: &str| LedgerError(format!("call {}: {what} cannot be read", self.id).into());
        let state = CallState::ALL.into_iter().find(|state| state.as_str() == self.state).ok_or_else(|| unreadable("state"))?;
        let project = self.project_id.as_deref().map(str::parse).transpose().map_err(|_| unreadable("project_id"))?;
        let call = NewCall {
            id: self.id.parse().map_err(|_| unreadable("id"))?,
            task: self.task_id.parse().map_err(|_| unreadable("task_id"))?,
            job: self.job_id.parse().map_err(|_| unreadable("job_id"))?,
            user: self.user_id.parse().map_err(|_| unreadable("user_id"))?,
            project,
            provider: self.provider_id.parse().map_err(|_| unreadable("provider_id"))?,
            key: self.key_id.parse().map_err(|_| unreadable("key_id"))?,
            model: self.model,
            our_id: self.our_id,
            estimated: Micros::new(self.estimated_micros),
            created: UnixMs(self.created_ms),
        };
        let failure = self.failure_class.map(|class| (class, self.failure_message.unwrap_or_default()));
        Ok(ProviderCall {
            call,
            state,
            remote_id: self.remote_id,
            answer: self.answer.map(KeptAnswer::new),
            settled: self.settled_micros.map(Micros::new),
            failure,
            updated: UnixMs(self.updated_ms),
            ended: self.ended_ms.map(UnixMs),
        })
    }
}

/// A row of sums.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct SumRow {
    user_id: String,
    project_id: Option<String>,
    provider_id: String,
    model: String,
    calls: i64,
    failed: i64,
    micros: i64,
}

impl SumRow {
    /// The sum.
    pub(super) fn read(self) -> Result<CostSum, LedgerError> {
        let unreadable = |what: &str| LedgerError(format!("a sum of calls: {what} cannot be read").into());
        Ok(CostSum {
            user: self.user_id.parse().map_err(|_| unreadable("user_id"))?,
            project: self.project_id.as_deref().map(str::parse).transpose().map_err(|_| unreadable("project_id"))?,
            provider: self.provider_id.parse().map_err(|_| unreadable("provider_id"))?,
            model: self.model,
            calls: self.calls,
            failed: self.failed,
            micros: self.micros,
        })
    }
}

/// A filter's parameters, 1 to 5.
pub(super) fn parameters(filter: &CallFilter) -> [Option<String>; 5] {
    [
        filter.user.as_ref().map(ToString::to_string),
        filter.project.as_ref().map(ToString::to_string),
        filter.provider.as_ref().map(ToString::to_string),
        filter.job.map(|job| job.to_string()),
        filter.state.map(|state| state.as_str().to_owned()),
    ]
}
