//! Keys in PostgreSQL. Every call is given up after a while: a database that vanished says nothing.

use async_trait::async_trait;

use super::rows::{KeyRow, key_columns, readable};
use super::{KeyRecord, KeyStore, KeyStoreError};
use crate::database::{PostgresDatabase, in_time};
use crate::domain::{KeyId, UnixMs, UserId};

/// [`KeyStore`] over a [`PostgresDatabase`].
#[derive(Clone, Debug)]
pub struct PostgresKeyStore {
    database: PostgresDatabase,
}

impl PostgresKeyStore {
    /// The keys of this database.
    pub fn new(database: PostgresDatabase) -> Self {
        Self { database }
    }
}

#[async_trait]
impl KeyStore for PostgresKeyStore {
    async fn insert(&self, record: &KeyRecord, key_sha256: &[u8; 32]) -> Result<(), KeyStoreError> {
        let insert =
            sqlx::query(concat!("INSERT INTO api_keys (", key_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"))
                .bind(record.id.to_string())
                .bind(&record.prefix)
                .bind(key_sha256.as_slice())
                .bind(record.user.as_str())
                .bind(record.scope.as_str())
                .bind(record.project.as_ref().map(ToString::to_string))
                .bind(record.created.0)
                .bind(record.expires.map(|time| time.0))
                .bind(record.revoked.map(|time| time.0))
                .execute(self.database.pool());
        in_time(insert).await?;
        Ok(())
    }

    async fn find(&self, key_sha256: &[u8; 32]) -> Result<Option<(KeyRecord, [u8; 32])>, KeyStoreError> {
        let find = sqlx::query_as(concat!("SELECT ", key_columns!(), " FROM api_keys WHERE key_sha256 = $1"))
            .bind(key_sha256.as_slice())
            .fetch_optional(self.database.pool());
        let row: Option<KeyRow> = in_time(find).await?;
        row.map(KeyRow::read).transpose()
    }

    async fn list(&self, user: Option<&UserId>) -> Result<Vec<KeyRecord>, KeyStoreError> {
        let list = sqlx::query_as(concat!(
            "SELECT ",
            key_columns!(),
            " FROM api_keys WHERE $1::text IS NULL OR user_id = $1 ORDER BY created_ms, id"
        ))
        .bind(user.map(UserId::as_str))
        .fetch_all(self.database.pool());
        Ok(readable(in_time(list).await?))
    }

    async fn any(&self) -> Result<bool, KeyStoreError> {
        let row = in_time(sqlx::query("SELECT 1 FROM api_keys LIMIT 1").fetch_optional(self.database.pool())).await?;
        Ok(row.is_some())
    }

    async fn revoke(&self, id: KeyId, now: UnixMs) -> Result<Option<KeyRecord>, KeyStoreError> {
        let revoke = sqlx::query_as(concat!(
            "UPDATE api_keys SET revoked_ms = COALESCE(revoked_ms, $1) WHERE id = $2 RETURNING ",
            key_columns!()
        ))
        .bind(now.0)
        .bind(id.to_string())
        .fetch_optional(self.database.pool());
        let row: Option<KeyRow> = in_time(revoke).await?;
        Ok(row.map(KeyRow::read).transpose()?.map(|(record, _)| record))
    }
}
