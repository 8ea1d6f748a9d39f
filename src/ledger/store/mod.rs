//! The ledger on the disk: one trait, one file per database.

mod postgres;
mod rows;
mod sqlite;
mod statements;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

use async_trait::async_trait;

use super::call::{AbandonedFilter, CallEnding, CallFilter, KeptAnswer, NewCall, ProviderCall, TaskHold};
use super::sums::CostSum;
use crate::database::Database;
use crate::domain::{CallId, ProviderId, TaskId, UnixMs};

pub use postgres::PostgresLedger;
pub use sqlite::SqliteLedger;
pub(crate) use {postgres::end as end_in_postgres, sqlite::end as end_in_sqlite};

/// The ledger of a database.
pub fn open(database: &Database) -> Arc<dyn Ledger> {
    match database {
        Database::Sqlite(database) => Arc::new(SqliteLedger::new(database.clone())),
        Database::Postgres(database) => Arc::new(PostgresLedger::new(database.clone())),
    }
}

/// Why the ledger failed; the same call may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("the ledger of calls to providers failed")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The calls to providers.
#[async_trait]
pub trait Ledger: Send + Sync + std::fmt::Debug {
    /// Writes down a call that is about to be sent. It is on the disk when this returns; the same once more changes nothing. `false`, and
    /// nothing is written, where the task is not held so any more: somebody else has it, or it has ended. Without a hold there is nobody
    /// else who could.
    async fn begin(&self, call: &NewCall, hold: Option<&TaskHold>) -> Result<bool, LedgerError>;
    /// The provider has taken the call, and calls its task so. `false` where the call has ended meanwhile, or is not there.
    async fn taken(&self, id: CallId, remote_id: &str, now: UnixMs) -> Result<bool, LedgerError>;
    /// The provider has fulfilled the call at once, and so it answered. `false` where the call has ended meanwhile, or is not there.
    async fn answered(&self, id: CallId, answer: &KeptAnswer, now: UnixMs) -> Result<bool, LedgerError>;
    /// The call has ended. `false` where it had already: the first ending stays.
    async fn end(&self, id: CallId, ending: &CallEnding, now: UnixMs) -> Result<bool, LedgerError>;
    /// Takes calls that have not ended though their tasks have, at most `most`, the oldest of them: nobody else gets them before `until`.
    async fn take_abandoned(&self, wanted: &AbandonedFilter, until: UnixMs, most: u32) -> Result<Vec<ProviderCall>, LedgerError>;
    /// The last call to a provider that was made for a task.
    async fn last_of_task(&self, task: TaskId, provider: &ProviderId) -> Result<Option<ProviderCall>, LedgerError>;
    /// The calls of a filter, the newest first; those before `before`, and at most `most`.
    async fn page(&self, filter: &CallFilter, before: Option<CallId>, most: u32) -> Result<Vec<ProviderCall>, LedgerError>;
    /// What the calls of a filter cost that were sent from `from` on and before `until`, told apart by user, project, provider and model.
    async fn sums(&self, filter: &CallFilter, from: UnixMs, until: UnixMs) -> Result<Vec<CostSum>, LedgerError>;
}
