//! The ledger in PostgreSQL. Every call is given up after a while: a database that vanished says nothing.

use async_trait::async_trait;
use sqlx::PgConnection;

use super::super::call::{AbandonedFilter, CallEnding, CallFilter, KeptAnswer, NewCall, ProviderCall, TaskHold};
use super::super::sums::CostSum;
use super::rows::{CallRow, SumRow, parameters};
use super::statements::{self, begin, call_columns, take_abandoned};
use super::{Ledger, LedgerError};
use crate::database::{PostgresDatabase, in_time};
use crate::domain::{CallId, ProviderId, TaskId, UnixMs};

/// Whoever gives the task to another server waits for this, or this for them: then the claim is another.
const BEGIN: &str = begin!(" FOR SHARE");
const TAKE_ABANDONED: &str = take_abandoned!("provider_id = ANY($1)");

/// [`Ledger`] over a [`PostgresDatabase`].
#[derive(Clone, Debug)]
pub struct PostgresLedger {
    database: PostgresDatabase,
}

impl PostgresLedger {
    /// The ledger of this database.
    pub fn new(database: PostgresDatabase) -> Self {
        Self { database }
    }
}

/// [`Ledger::end`], within a transaction.
pub(crate) async fn end(
    connection: &mut PgConnection,
    id: CallId,
    ending: &CallEnding,
    now: UnixMs,
) -> Result<bool, sqlx::Error> {
    let (class, message) = ending.failure.clone().unzip();
    let ended = sqlx::query(statements::END)
        .bind(id.to_string())
        .bind(ending.state.as_str())
        .bind(ending.settled.get())
        .bind(class)
        .bind(message)
        .bind(now.0)
        .execute(connection);
    Ok(ended.await?.rows_affected() == 1)
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn begin(&self, call: &NewCall, hold: Option<&TaskHold>) -> Result<bool, LedgerError> {
        let begin = sqlx::query(BEGIN)
            .bind(call.id.to_string())
            .bind(call.task.to_string())
            .bind(call.job.to_string())
            .bind(call.user.as_str())
            .bind(call.project.as_ref().map(ToString::to_string))
            .bind(call.provider.as_str())
            .bind(&call.model)
            .bind(call.key.as_str())
            .bind(&call.our_id)
            .bind(call.estimated.get())
            .bind(call.created.0)
            .bind(hold.map(|hold| hold.attempt))
            .bind(hold.map(|hold| hold.owner.as_str()))
            .execute(self.database.pool());
        if in_time(begin).await?.rows_affected() == 1 {
            return Ok(true);
        }
        let is_there = sqlx::query_scalar(statements::IS_THERE).bind(call.id.to_string()).fetch_one(self.database.pool());
        Ok(in_time(is_there).await?)
    }

    async fn taken(&self, id: CallId, remote_id: &str, now: UnixMs) -> Result<bool, LedgerError> {
        let taken = sqlx::query(statements::TAKEN).bind(id.to_string()).bind(remote_id).bind(now.0).execute(self.database.pool());
        Ok(in_time(taken).await?.rows_affected() == 1)
    }

    async fn answered(&self, id: CallId, answer: &KeptAnswer, now: UnixMs) -> Result<bool, LedgerError> {
        let answered = sqlx::query(statements::ANSWERED).bind(id.to_string()).bind(answer.expose()).bind(now.0);
        Ok(in_time(answered.execute(self.database.pool())).await?.rows_affected() == 1)
    }

    async fn end(&self, id: CallId, ending: &CallEnding, now: UnixMs) -> Result<bool, LedgerError> {
        let ended = async { end(&mut *self.database.pool().acquire().await?, id, ending, now).await };
        Ok(in_time(ended).await?)
    }

    async fn take_abandoned(&self, wanted: &AbandonedFilter, until: UnixMs, most: u32) -> Result<Vec<ProviderCall>, LedgerError> {
        let providers: Vec<&str> = wanted.providers.iter().map(ProviderId::as_str).collect();
        let taken = sqlx::query_as(TAKE_ABANDONED)
            .bind(providers)
            .bind(wanted.or_begun_before.0)
            .bind(wanted.unanswered_before.0)
            .bind(wanted.now.0)
            .bind(until.0)
            .bind(i64::from(most))
            .fetch_all(self.database.pool());
        let rows: Vec<CallRow> = in_time(taken).await?;
        rows.into_iter().map(CallRow::read).collect()
    }

    async fn last_of_task(&self, task: TaskId, provider: &ProviderId) -> Result<Option<ProviderCall>, LedgerError> {
        let last = sqlx::query_as(statements::LAST_OF_TASK)
            .bind(task.to_string())
            .bind(provider.as_str())
            .fetch_optional(self.database.pool());
        let row: Option<CallRow> = in_time(last).await?;
        row.map(CallRow::read).transpose()
    }

    async fn page(&self, filter: &CallFilter, before: Option<CallId>, most: u32) -> Result<Vec<ProviderCall>, LedgerError> {
        let [user, project, provider, job, state] = parameters(filter);
        let page = sqlx::query_as(statements::PAGE)
            .bind(user)
            .bind(project)
            .bind(provider)
            .bind(job)
            .bind(state)
            .bind(before.map(|id| id.to_string()))
            .bind(i64::from(most))
            .fetch_all(self.database.pool());
        let rows: Vec<CallRow> = in_time(page).await?;
        rows.into_iter().map(CallRow::read).collect()
    }

    async fn sums(&self, filter: &CallFilter, from: UnixMs, until: UnixMs) -> Result<Vec<CostSum>, LedgerError> {
        let [user, project, provider, job, state] = parameters(filter);
        let sums = sqlx::query_as(statements::SUMS)
            .bind(user)
            .bind(project)
            .bind(provider)
            .bind(job)
            .bind(state)
            .bind(from.0)
            .bind(until.0)
            .fetch_all(self.database.pool());
        let rows: Vec<SumRow> = in_time(sums).await?;
        rows.into_iter().map(SumRow::read).collect()
    }
}
