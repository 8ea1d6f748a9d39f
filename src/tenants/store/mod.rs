//! API keys that survive the process: one trait, one file per database.

mod postgres;
mod rows;
mod sqlite;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

use async_trait::async_trait;

use crate::database::Database;
use crate::domain::{KeyId, ProjectId, UnixMs, UserId};

pub use postgres::PostgresKeyStore;
pub use sqlite::SqliteKeyStore;

/// The keys of a database.
pub fn open(database: &Database) -> Arc<dyn KeyStore> {
    match database {
        Database::Sqlite(database) => Arc::new(SqliteKeyStore::new(database.clone())),
        Database::Postgres(database) => Arc::new(PostgresKeyStore::new(database.clone())),
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyScope {
    /// Everything of its user.
    User,
    /// What its user may do within one project.
    Project,
    /// Everything.
    Admin,
}

impl KeyScope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::User, Self::Project, Self::Admin];

    /// The word that the APIs and the database use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
            Self::Admin => "admin",
        }
    }
}

/// A stored key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its identifier.
    pub id: KeyId,
    /// The first characters, to recognise it by.
    pub prefix: String,
    /// Whose it is.
    pub user: UserId,
    /// What it may do.
    pub scope: KeyScope,
    /// The project of a project's key.
    pub project: Option<ProjectId>,
    /// When it was made.
    pub created: UnixMs,
    /// When it ends by itself.
    pub expires: Option<UnixMs>,
    /// When it was revoked.
    pub revoked: Option<UnixMs>,
}

/// Why the key store failed; the same call may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("the key store failed")]
pub struct KeyStoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Keys by their SHA-256.
#[async_trait]
pub trait KeyStore: Send + Sync + std::fmt::Debug {
    /// Stores a key.
    async fn insert(&self, record: &KeyRecord, key_sha256: &[u8; 32]) -> Result<(), KeyStoreError>;
    /// The key with this hash, and the stored hash (to be compared in constant time).
    async fn find(&self, key_sha256: &[u8; 32]) -> Result<Option<(KeyRecord, [u8; 32])>, KeyStoreError>;
    /// Every key, oldest first; only a user's, if given.
    async fn list(&self, user: Option<&UserId>) -> Result<Vec<KeyRecord>, KeyStoreError>;
    /// Whether any key was ever made, revoked ones included.
    async fn any(&self) -> Result<bool, KeyStoreError>;
    /// Revokes a key; gives it, or `None` when there is no such key. Revoking twice keeps the first time.
    async fn revoke(&self, id: KeyId, now: UnixMs) -> Result<Option<KeyRecord>, KeyStoreError>;
}
