//! Users' API keys: made, hashed, looked up, revoked.
//!
//! Invariants: only a key's SHA-256 is stored, and a key is shown once, when it is made. A revoked key is refused by the next
//! request, whichever process revoked it, because every look-up asks the database. A fast hash is enough: keys are 256 random bits,
//! which no dictionary holds.

mod key;

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use subtle::ConstantTimeEq;

use crate::domain::{Clock, KeyId, Principal, UnixMs, UserId};
use crate::jobs::store::database::Database;

/// A stored key, without the key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Its identifier.
    pub id: KeyId,
    /// The first characters, to recognise it by.
    pub prefix: String,
    /// Whose it is.
    pub user: UserId,
    /// Whether it is an administrator's.
    pub admin: bool,
    /// When it was made.
    pub created: UnixMs,
    /// When it was revoked.
    pub revoked: Option<UnixMs>,
}

/// Why a key was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// No key in the request.
    #[error("an API key is needed: send 'Authorization: Bearer <key>'")]
    Missing,
    /// Not a key of this server, or revoked.
    #[error("the API key is not valid")]
    Invalid,
    /// The database failed.
    #[error("the key store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AuthenticationError {
    fn store(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Store(Box::new(error))
    }
}

/// Keys in the database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyService {
    database: Database,
    clock: Arc<dyn Clock>,
}

impl KeyService {
    /// Keys in the table `api_keys` of `database`.
    pub fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock }
    }

    /// Makes a key; the text is returned once and only its SHA-256 is kept.
    pub async fn create(&self, user: &UserId, admin: bool) -> Result<(KeyRecord, SecretString), AuthenticationError> {
        let key = key::generate().map_err(AuthenticationError::store)?;
        let record = KeyRecord {
            id: KeyId::generate(),
            prefix: key::prefix(key.expose_secret()),
            user: user.clone(),
            admin,
            created: self.clock.now(),
            revoked: None,
        };
        sqlx::query("INSERT INTO api_keys (id, prefix, key_sha256, user_id, admin, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
            .bind(record.id.to_string())
            .bind(&record.prefix)
            .bind(key::sha256(key.expose_secret()).as_slice())
            .bind(user.as_str())
            .bind(admin)
            .bind(record.created.0)
            .execute(&self.database.write)
            .await
            .map_err(AuthenticationError::store)?;
        Ok((record, key))
    }

    /// Every key, oldest first.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, AuthenticationError> {
        sqlx::query("SELECT id, prefix, key_sha256, user_id, admin, created_ms, revoked_ms FROM api_keys ORDER BY created_ms, id")
            .fetch_all(&self.database.read)
            .await
            .map_err(AuthenticationError::store)?
            .iter()
            .map(|row| record(row).map_err(AuthenticationError::store))
            .collect()
    }

    /// Whether any key was ever made, revoked ones included.
    pub async fn any(&self) -> Result<bool, AuthenticationError> {
        sqlx::query("SELECT 1 FROM api_keys LIMIT 1")
            .fetch_optional(&self.database.read)
            .await
            .map(|row| row.is_some())
            .map_err(AuthenticationError::store)
    }

    /// Revokes a key at once; `false` when there is no such key. Revoking twice keeps the first time.
    pub async fn revoke(&self, id: KeyId) -> Result<bool, AuthenticationError> {
        sqlx::query("UPDATE api_keys SET revoked_ms = COALESCE(revoked_ms, ?1) WHERE id = ?2")
            .bind(self.clock.now().0)
            .bind(id.to_string())
            .execute(&self.database.write)
            .await
            .map(|done| done.rows_affected() == 1)
            .map_err(AuthenticationError::store)
    }

    /// Who a presented key belongs to.
    pub async fn authenticate(&self, key: &str) -> Result<Principal, AuthenticationError> {
        if key.is_empty() {
            return Err(AuthenticationError::Missing);
        }
        // Nothing that is not of a key's form reaches the database; neither do megabytes.
        if !key::is_well_formed(key) {
            return Err(AuthenticationError::Invalid);
        }
        let presented = key::sha256(key);
        let row = sqlx::query(
            "SELECT id, prefix, key_sha256, user_id, admin, created_ms, revoked_ms FROM api_keys WHERE key_sha256 = ?1",
        )
        .bind(presented.as_slice())
        .fetch_optional(&self.database.read)
        .await
        .map_err(AuthenticationError::store)?
        .ok_or(AuthenticationError::Invalid)?;
        let stored: Vec<u8> = row.try_get("key_sha256").map_err(AuthenticationError::store)?;
        let record = record(&row).map_err(AuthenticationError::store)?;
        if !bool::from(stored.ct_eq(&presented)) || record.revoked.is_some() {
            return Err(AuthenticationError::Invalid);
        }
        Ok(Principal { user: record.user, admin: record.admin, key: Some(record.id) })
    }
}

fn record(row: &SqliteRow) -> Result<KeyRecord, sqlx::Error> {
    let decode = |error: crate::domain::IdError| sqlx::Error::Decode(Box::new(error));
    Ok(KeyRecord {
        id: row.try_get::<String, _>("id")?.parse().map_err(decode)?,
        prefix: row.try_get("prefix")?,
        user: row.try_get::<String, _>("user_id")?.parse().map_err(decode)?,
        admin: row.try_get("admin")?,
        created: UnixMs(row.try_get("created_ms")?),
        revoked: row.try_get::<Option<i64>, _>("revoked_ms")?.map(UnixMs),
    })
}

#[cfg(test)]
mod tests;
