//! A database file: one connection that writes, several that read.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};

use super::error::DatabaseError;
use super::writer::{WriteError, Writer};

/// How long a writer waits for another process (the `keys` command beside a running server) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that only read. WAL lets them run beside the writer.
const READ_CONNECTIONS: u32 = 8;
/// The file holds prompts and the hashes of keys: nobody's but its owner's.
const FILE_MODE: u32 = 0o600;

/// One SQLite file in WAL mode. Cheap to clone.
///
/// All writes go through one connection, so writers queue in the program instead of failing with `SQLITE_BUSY`. Commits are synced to
/// disk (`synchronous=FULL`): what was acknowledged survives a power loss.
#[derive(Clone)]
pub struct SqliteDatabase {
    writer: Arc<Writer>,
    read: SqlitePool,
}

impl std::fmt::Debug for SqliteDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteDatabase").finish_non_exhaustive()
    }
}

impl SqliteDatabase {
    /// Opens the file, creating it and its directory if absent, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, DatabaseError> {
        create(path)?;
        let name = || path.display().to_string();
        let open_error = |source| DatabaseError::Open { name: name(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(open_error)?;
        sqlx::migrate!("migrations/sqlite")
            .run(&mut connection)
            .await
            .map_err(|source| DatabaseError::Migrate { name: name(), source })?;
        let read = SqlitePoolOptions::new()
            .max_connections(READ_CONNECTIONS)
            .max_lifetime(None)
            .idle_timeout(None)
            // A file does not hang up; asking would double the round trips of a look-up.
            .test_before_acquire(false)
            .connect_with(options.clone().read_only(true))
            .await
            .map_err(open_error)?;
        let writer =
            Writer::start(connection, options).map_err(|source| DatabaseError::Create { path: path.to_owned(), source })?;
        Ok(Self { writer: Arc::new(writer), read })
    }

    /// Connections that only read; they see what was committed when their statement began.
    pub fn read(&self) -> &SqlitePool {
        &self.read
    }

    /// Does `work` in a transaction that other writers may share, and returns when it is on the disk. An error undoes what the work has
    /// written, and nothing else. The work is done even if the caller stops waiting for it.
    pub async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: AsyncFnOnce(&mut SqliteConnection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<WriteError> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// How many transactions were lost so far (a full disk). What was counted from the results of work before then may be wrong.
    pub fn undone(&self) -> u64 {
        self.writer.undone()
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.writer.close().await;
    }
}

fn create(path: &Path) -> Result<(), DatabaseError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| DatabaseError::Create { path, source }
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
    }
    OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path).map(drop).map_err(failed(path))
}
