//! The database of a server: a SQLite file of its own, or a PostgreSQL database that several servers share.
//!
//! What is kept there is the business of the stores of `jobs` and `tenants`; this module opens the database, brings its tables up to
//! date, and has what only one of the two can do: [`SqliteDatabase::write`] commits many writers' work at once,
//! [`PostgresDatabase`] speaks of other servers.

mod error;
mod listener;
mod postgres;
mod sqlite;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use secrecy::SecretString;

pub use error::DatabaseError;
pub use postgres::{PostgresDatabase, in_time};
pub use sqlite::SqliteDatabase;
pub use writer::WriteError;

/// Where a database is.
#[derive(Clone, Debug)]
pub enum DatabaseAddress {
    /// A SQLite file.
    File(PathBuf),
    /// A URL, `postgres://user:password@host/database`. It may carry a password, so it is never shown.
    Postgres(SecretString),
}

impl From<&Path> for DatabaseAddress {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for DatabaseAddress {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&Self> for DatabaseAddress {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

/// An open database. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file.
    Sqlite(SqliteDatabase),
    /// A server.
    Postgres(PostgresDatabase),
}

impl Database {
    /// Opens the database and brings its tables up to date; a file that is absent is made.
    pub async fn open(address: impl Into<DatabaseAddress>) -> Result<Self, DatabaseError> {
        match address.into() {
            DatabaseAddress::File(path) => Ok(Self::Sqlite(SqliteDatabase::open(&path).await?)),
            DatabaseAddress::Postgres(url) => Ok(Self::Postgres(PostgresDatabase::open(&url).await?)),
        }
    }

    /// Waits for running statements and lets the database go.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}
