//! The ledger in SQLite.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::super::call::{AbandonedFilter, CallEnding, CallFilter, KeptAnswer, NewCall, ProviderCall, TaskHold};
use super::super::sums::CostSum;
use super::rows::{CallRow, SumRow, parameters};
use super::statements::{self, begin, call_columns, take_abandoned};
use super::{Ledger, LedgerError};
use crate::database::SqliteDatabase;
use crate::domain::{CallId, ProviderId, TaskId, UnixMs};

/// Nobody else writes within the transaction.
const BEGIN: &str = begin!("");
const TAKE_ABANDONED: &str = take_abandoned!("provider_id IN (SELECT value FROM json_each($1))");

/// [`Ledger`] over a [`SqliteDatabase`].
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    database: SqliteDatabase,
}

impl SqliteLedger {
    /// The ledger of this database.
    pub fn new(database: SqliteDatabase) -> Self {
        Self { database }
    }
}

/// [`Ledger::end`], within a transaction.
pub(crate) async fn end(
    connection: &mut SqliteConnection,
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
impl Ledger for SqliteLedger {
    async fn begin(&self, call: &NewCall, hold: Option<&TaskHold>) -> Result<bool, LedgerError> {
        let (call, hold) = (call.clone(), hold.cloned());
        self.database
            .write(async move |connection| {
                let id = call.id.to_string();
                let begun = sqlx::query(BEGIN)
                    .bind(&id)
                    .bind(call.task.to_string())
                    .bind(call.job.to_string())
                    .bind(call.user.to_string())
                    .bind(call.project.map(|project| project.to_string()))
                    .bind(call.provider.to_string())
                    .bind(call.model)
                    .bind(call.key.to_string())
                    .bind(call.our_id)
                    .bind(call.estimated.get())
                    .bind(call.created.0)
                    .bind(hold.as_ref().map(|hold| hold.attempt))
                    .bind(hold.map(|hold| hold.owner))
                    .execute(&mut *connection)
                    .await?;
                if begun.rows_affected() == 1 {
                    return Ok(true);
                }
                Ok(sqlx::query_scalar(statements::IS_THERE).bind(id).fetch_one(connection).await?)
            })
            .await
    }

    async fn taken(&self, id: CallId, remote_id: &str, now: UnixMs) -> Result<bool, LedgerError> {
        let remote_id = remote_id.to_owned();
        self.database
            .write(async move |connection| {
                let taken = sqlx::query(statements::TAKEN).bind(id.to_string()).bind(remote_id).bind(now.0).execute(connection);
                Ok(taken.await?.rows_affected() == 1)
            })
            .await
    }

    async fn answered(&self, id: CallId, answer: &KeptAnswer, now: UnixMs) -> Result<bool, LedgerError> {
        let answer = answer.clone();
        self.database
            .write(async move |connection| {
                let answered = sqlx::query(statements::ANSWERED).bind(id.to_string()).bind(answer.expose()).bind(now.0);
                Ok(answered.execute(connection).await?.rows_affected() == 1)
            })
            .await
    }

    async fn end(&self, id: CallId, ending: &CallEnding, now: UnixMs) -> Result<bool, LedgerError> {
        let ending = ending.clone();
        self.database.write(async move |connection| Ok(end(connection, id, &ending, now).await?)).await
    }

    async fn take_abandoned(&self, wanted: &AbandonedFilter, until: UnixMs, most: u32) -> Result<Vec<ProviderCall>, LedgerError> {
        let wanted = wanted.clone();
        let providers = serde_json::to_string(&wanted.providers).map_err(|error| LedgerError(Box::new(error)))?;
        let rows: Vec<CallRow> = self
            .database
            .write::<_, LedgerError, _>(async move |connection| {
                let taken = sqlx::query_as(TAKE_ABANDONED)
                    .bind(providers)
                    .bind(wanted.or_begun_before.0)
                    .bind(wanted.unanswered_before.0)
                    .bind(wanted.now.0)
                    .bind(until.0)
                    .bind(most)
                    .fetch_all(connection);
                Ok(taken.await?)
            })
            .await?;
        rows.into_iter().map(CallRow::read).collect()
    }

    async fn last_of_task(&self, task: TaskId, provider: &ProviderId) -> Result<Option<ProviderCall>, LedgerError> {
        let row: Option<CallRow> = sqlx::query_as(statements::LAST_OF_TASK)
            .bind(task.to_string())
            .bind(provider.as_str())
            .fetch_optional(self.database.read())
            .await?;
        row.map(CallRow::read).transpose()
    }

    async fn page(&self, filter: &CallFilter, before: Option<CallId>, most: u32) -> Result<Vec<ProviderCall>, LedgerError> {
        let [user, project, provider, job, state] = parameters(filter);
        let rows: Vec<CallRow> = sqlx::query_as(statements::PAGE)
            .bind(user)
            .bind(project)
            .bind(provider)
            .bind(job)
            .bind(state)
            .bind(before.map(|id| id.to_string()))
            .bind(i64::from(most))
            .fetch_all(self.database.read())
            .await?;
        rows.into_iter().map(CallRow::read).collect()
    }

    async fn sums(&self, filter: &CallFilter, from: UnixMs, until: UnixMs) -> Result<Vec<CostSum>, LedgerError> {
        let [user, project, provider, job, state] = parameters(filter);
        let rows: Vec<SumRow> = sqlx::query_as(statements::SUMS)
            .bind(user)
            .bind(project)
            .bind(provider)
            .bind(job)
            .bind(state)
            .bind(from.0)
            .bind(until.0)
            .fetch_all(self.database.read())
            .await?;
        rows.into_iter().map(SumRow::read).collect()
    }
}
