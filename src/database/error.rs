//! Why a database cannot be opened.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file or its directory cannot be made.
    #[error("cannot create {path}: {source}")]
    Create {
        /// The file or the directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The URL is none that PostgreSQL understands. The cause is left out, because it might repeat a password.
    #[error("the database's URL cannot be read: it must look like postgres://user:password@host:5432/database")]
    Url,
    /// The file cannot be opened, or the server cannot be reached.
    #[error("cannot open the database {name}: {source}")]
    Open {
        /// The file, or the server's address without user and password.
        name: String,
        /// Why.
        source: sqlx::Error,
    },
    /// Its tables cannot be brought up to date: a newer version of the program has used it, or the disk is full.
    #[error("cannot migrate the database {name}: {source}")]
    Migrate {
        /// The file, or the server's address without user and password.
        name: String,
        /// Why.
        source: MigrateError,
    },
}
