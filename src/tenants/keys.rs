//! The life of a key: made, presented, expired or revoked.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::key;
use super::store::{KeyRecord, KeyScope, KeyStore};
use crate::domain::{Clock, KeyId, Principal, ProjectId, UnixMs, UserId};

/// Longest life of a key that ends by itself, days: ten years.
pub const MOST_KEY_DAYS: u32 = 3650;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Why a key was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// No key in the request.
    #[error("an API key is needed: send 'Authorization: Bearer <key>'")]
    Missing,
    /// Not a key of this server, revoked, or expired.
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

/// A scope and a project that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NewKeyError {
    /// A project's key needs its project.
    #[error("project: a key of scope 'project' needs one")]
    ProjectMissing,
    /// Only a project's key has one.
    #[error("project: a key of scope '{}' has none; leave it out, or make the scope 'project'", .0.as_str())]
    ProjectUnwanted(KeyScope),
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    user: UserId,
    scope: KeyScope,
    project: Option<ProjectId>,
    expires: Option<UnixMs>,
}

impl NewKey {
    /// A key of a scope, which names a project if, and only if, it is a project's.
    pub fn of(user: UserId, scope: KeyScope, project: Option<ProjectId>) -> Result<Self, NewKeyError> {
        match (scope, &project) {
            (KeyScope::Project, None) => Err(NewKeyError::ProjectMissing),
            (KeyScope::User | KeyScope::Admin, Some(_)) => Err(NewKeyError::ProjectUnwanted(scope)),
            _ => Ok(Self { user, scope, project, expires: None }),
        }
    }

    /// A key for all that its user may do.
    pub const fn for_user(user: UserId) -> Self {
        Self { user, scope: KeyScope::User, project: None, expires: None }
    }

    /// A key for what its user may do within one project.
    pub const fn for_project(user: UserId, project: ProjectId) -> Self {
        Self { user, scope: KeyScope::Project, project: Some(project), expires: None }
    }

    /// A key for everything.
    pub const fn for_administrator(user: UserId) -> Self {
        Self { user, scope: KeyScope::Admin, project: None, expires: None }
    }

    /// The same key, refused from a time on; `None`: valid until it is revoked.
    #[must_use]
    pub fn until(self, expires: Option<UnixMs>) -> Self {
        Self { expires, ..self }
    }
}

/// Keys in a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyService {
    store: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
}

impl KeyService {
    /// Keys in `store`.
    pub fn new(store: Arc<dyn KeyStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// The time that is `days` times 24 hours from now: for [`NewKey::until`].
    pub fn after_days(&self, days: u32) -> UnixMs {
        UnixMs(self.clock.now().0.saturating_add(i64::from(days) * DAY_MS))
    }

    /// Makes a key; the text is returned once and only its SHA-256 is kept.
    pub async fn create(&self, new: NewKey) -> Result<(KeyRecord, SecretString), AuthenticationError> {
        let key = key::generate().map_err(AuthenticationError::store)?;
        let record = KeyRecord {
            id: KeyId::generate(),
            prefix: key::prefix(key.expose_secret()),
            user: new.user,
            scope: new.scope,
            project: new.project,
            created: self.clock.now(),
            expires: new.expires,
            revoked: None,
        };
        self.store.insert(&record, &key::sha256(key.expose_secret())).await.map_err(AuthenticationError::store)?;
        Ok((record, key))
    }

    /// Every key, oldest first; only a user's, if given.
    pub async fn list(&self, user: Option<&UserId>) -> Result<Vec<KeyRecord>, AuthenticationError> {
        self.store.list(user).await.map_err(AuthenticationError::store)
    }

    /// Whether any key was ever made, revoked ones included.
    pub async fn any(&self) -> Result<bool, AuthenticationError> {
        self.store.any().await.map_err(AuthenticationError::store)
    }

    /// Revokes a key at once and gives it; `None` when there is no such key. Revoking twice keeps the first time.
    pub async fn revoke(&self, id: KeyId) -> Result<Option<KeyRecord>, AuthenticationError> {
        self.store.revoke(id, self.clock.now()).await.map_err(AuthenticationError::store)
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
        let found = self.store.find(&presented).await.map_err(AuthenticationError::store)?;
        let (record, stored) = found.ok_or(AuthenticationError::Invalid)?;
        let is_the_key = bool::from(stored.ct_eq(&presented));
        let is_over = record.revoked.is_some() || record.expires.is_some_and(|expires| expires <= self.clock.now());
        if !is_the_key || is_over {
            return Err(AuthenticationError::Invalid);
        }
        let admin = record.scope == KeyScope::Admin;
        Ok(Principal { user: record.user, project: record.project, admin, key: Some(record.id) })
    }
}
