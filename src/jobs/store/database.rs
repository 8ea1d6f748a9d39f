//! The database file and its two pools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// How long a writer waits for another process (the `keys` command beside a running server) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that only read. WAL lets them run beside the writer.
const READ_CONNECTIONS: u32 = 8;

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Its directory cannot be made.
    #[error("cannot create {directory}: {source}")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be opened.
    #[error("cannot open the database {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// Its tables cannot be brought up to date: a newer version of the program has used it, or the disk is full.
    #[error("cannot migrate the database {path}: {source}")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: MigrateError,
    },
}

/// One SQLite file in WAL mode. Cheap to clone.
///
/// All writes go through one connection, so writers queue in the program instead of failing with `SQLITE_BUSY`. Commits are synced to
/// disk (`synchronous=FULL`): what was acknowledged survives a power loss.
#[derive(Clone, Debug)]
pub struct Database {
    pub(crate) write: SqlitePool,
    pub(crate) read: SqlitePool,
}

impl Database {
    /// Opens the file, creating it and its directory if absent, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, DatabaseError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|source| DatabaseError::Directory { directory: directory.to_owned(), source })?;
        }
        let open_error = |source| DatabaseError::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_with(options.clone())
            .await
            .map_err(open_error)?;
        sqlx::migrate!("migrations/sqlite")
            .run(&write)
            .await
            .map_err(|source| DatabaseError::Migrate { path: path.to_owned(), source })?;
        let read = SqlitePoolOptions::new()
            .max_connections(READ_CONNECTIONS)
            .connect_with(options.read_only(true))
            .await
            .map_err(open_error)?;
        Ok(Self { write, read })
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}
