//! Rows as both databases give them.

use super::{KeyRecord, KeyScope, KeyStoreError};
use crate::database::WriteError;
use crate::domain::UnixMs;

impl From<sqlx::Error> for KeyStoreError {
    fn from(error: sqlx::Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<WriteError> for KeyStoreError {
    fn from(error: WriteError) -> Self {
        Self(Box::new(error))
    }
}

/// The columns of a [`KeyRow`], for a statement's text.
macro_rules! key_columns {
    () => {
        "id, prefix, key_sha256, user_id, scope, project_id, created_ms, expires_ms, revoked_ms"
    };
}
pub(super) use key_columns;

/// A row of `api_keys`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct KeyRow {
    id: String,
    prefix: String,
    key_sha256: Vec<u8>,
    user_id: String,
    scope: String,
    project_id: Option<String>,
    created_ms: i64,
    expires_ms: Option<i64>,
    revoked_ms: Option<i64>,
}

impl KeyRow {
    /// The record and the key's hash.
    pub(super) fn read(self) -> Result<(KeyRecord, [u8; 32]), KeyStoreError> {
        let unreadable = |what: &str| KeyStoreError(format!("key {}: {what} cannot be read", self.id).into());
        let scope = KeyScope::ALL.into_iter().find(|scope| scope.as_str() == self.scope).ok_or_else(|| unreadable("scope"))?;
        let project = self.project_id.as_deref().map(str::parse).transpose().map_err(|_| unreadable("project_id"))?;
        let record = KeyRecord {
            id: self.id.parse().map_err(|_| unreadable("id"))?,
            user: self.user_id.parse().map_err(|_| unreadable("user_id"))?,
            scope,
            project,
            created: UnixMs(self.created_ms),
            expires: self.expires_ms.map(UnixMs),
            revoked: self.revoked_ms.map(UnixMs),
            prefix: self.prefix.clone(),
        };
        let hash = self.key_sha256.as_slice().try_into().map_err(|_| unreadable("key_sha256"))?;
        Ok((record, hash))
    }
}

/// The records of those rows that can be read; the others are logged.
pub(super) fn readable(rows: Vec<KeyRow>) -> Vec<KeyRecord> {
    let read = |row: KeyRow| match row.read() {
        Ok((record, _)) => Some(record),
        Err(KeyStoreError(error)) => {
            tracing::error!(error = %error, "A key is left out: {error}");
            None
        }
    };
    rows.into_iter().filter_map(read).collect()
}
