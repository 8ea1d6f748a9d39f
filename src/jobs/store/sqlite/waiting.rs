//! How many tasks wait, without counting them for every job that arrives.

use std::sync::Arc;

use parking_lot::Mutex;
use sqlx::SqliteConnection;

use crate::database::SqliteDatabase;

/// The number of waiting tasks. Read and changed by work within the writer's transaction alone, so it is exact there. It is counted
/// when it is first needed, and again after a transaction was lost, together with what was counted for it.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    database: SqliteDatabase,
    known: Arc<Mutex<Option<Known>>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// [`SqliteDatabase::undone`] when it was counted.
    undone: u64,
    tasks: u64,
}

impl Waiting {
    pub(super) fn new(database: SqliteDatabase) -> Self {
        Self { database, known: Arc::default() }
    }

    /// The number, as the transaction sees it.
    pub(super) async fn tasks(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let undone = self.database.undone();
        let known = *self.known.lock();
        match known {
            Some(known) if known.undone == undone => Ok(known.tasks),
            _ => {
                let tasks: i64 =
                    sqlx::query_scalar("SELECT COUNT(*) FROM tasks WHERE state = 'queued'").fetch_one(connection).await?;
                let tasks = tasks.unsigned_abs();
                *self.known.lock() = Some(Known { undone, tasks });
                Ok(tasks)
            }
        }
    }

    /// Notes a change; to be called when nothing more of the piece of work can be refused.
    pub(super) fn changed_by(&self, difference: i64) {
        if let Some(known) = &mut *self.known.lock() {
            known.tasks = known.tasks.saturating_add_signed(difference);
        }
    }
}
