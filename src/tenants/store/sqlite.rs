//! Keys in SQLite.

use async_trait::async_trait;

use super::rows::{KeyRow, key_columns, readable};
use super::{KeyRecord, KeyStore, KeyStoreError};
use crate::database::SqliteDatabase;
use crate::domain::{KeyId, UnixMs, UserId};

/// [`KeyStore`] over a [`SqliteDatabase`].
#[derive(Clone, Debug)]
pub struct SqliteKeyStore {
    database: SqliteDatabase,
}

impl SqliteKeyStore {
    /// The keys of this database.
    pub fn new(database: SqliteDatabase) -> Self {
        Self { database }
    }
}

#[async_trait]
impl KeyStore for SqliteKeyStore {
    async fn insert(&self, record: &KeyRecord, key_sha256: &[u8; 32]) -> Result<(), KeyStoreError> {
        let (record, key_sha256) = (record.clone(), key_sha256.to_vec());
        self.database
            .write(async move |connection| {
                sqlx::query(concat!("INSERT INTO api_keys (", key_columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"))
                    .bind(record.id.to_string())
                    .bind(record.prefix)
                    .bind(key_sha256)
                    .bind(record.user.to_string())
                    .bind(record.scope.as_str())
                    .bind(record.project.map(|project| project.to_string()))
                    .bind(record.created.0)
                    .bind(record.expires.map(|time| time.0))
                    .bind(record.revoked.map(|time| time.0))
                    .execute(connection)
                    .await?;
                Ok(())
            })
            .await
    }

    async fn find(&self, key_sha256: &[u8; 32]) -> Result<Option<(KeyRecord, [u8; 32])>, KeyStoreError> {
        let row: Option<KeyRow> = sqlx::query_as(concat!("SELECT ", key_columns!(), " FROM api_keys WHERE key_sha256 = ?1"))
            .bind(key_sha256.as_slice())
            .fetch_optional(self.database.read())
            .await?;
        row.map(KeyRow::read).transpose()
    }

    async fn list(&self, user: Option<&UserId>) -> Result<Vec<KeyRecord>, KeyStoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(concat!(
            "SELECT ",
            key_columns!(),
            " FROM api_keys WHERE ?1 IS NULL OR user_id = ?1 ORDER BY created_ms, id"
        ))
        .bind(user.map(UserId::as_str))
        .fetch_all(self.database.read())
        .await?;
        Ok(readable(rows))
    }

    async fn any(&self) -> Result<bool, KeyStoreError> {
        let row = sqlx::query("SELECT 1 FROM api_keys LIMIT 1").fetch_optional(self.database.read()).await?;
        Ok(row.is_some())
    }

    async fn revoke(&self, id: KeyId, now: UnixMs) -> Result<Option<KeyRecord>, KeyStoreError> {
        self.database
            .write(async move |connection| {
                let row: Option<KeyRow> = sqlx::query_as(concat!(
                    "UPDATE api_keys SET revoked_ms = COALESCE(revoked_ms, ?1) WHERE id = ?2 RETURNING ",
                    key_columns!()
                ))
                .bind(now.0)
                .bind(id.to_string())
                .fetch_optional(connection)
                .await?;
                Ok(row.map(KeyRow::read).transpose()?.map(|(record, _)| record))
            })
            .await
    }
}
