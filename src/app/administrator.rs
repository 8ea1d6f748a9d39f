//! The first key.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::{IdError, UserId};
use crate::tenants::{AuthenticationError, KeyService, NewKey};

/// The user that the administrator's key belongs to.
pub const ADMINISTRATOR: &str = "admin";

/// Makes an administrator's key if no key was ever made; it is returned once and stored only as a hash.
///
/// Nothing is made where the environment brings a key, or where none is needed.
pub async fn ensure_key(keys: &KeyService, is_needed: bool) -> Result<Option<SecretString>, AuthenticationError> {
    if !is_needed || keys.any().await? {
        return Ok(None);
    }
    let user: UserId = ADMINISTRATOR.parse().map_err(|error: IdError| AuthenticationError::Store(Box::new(error)))?;
    let (_, key) = keys.create(NewKey::for_administrator(user)).await?;
    Ok(Some(key))
}

/// What the person at the terminal is told, once.
pub fn announcement(key: &SecretString, data_dir: &Path) -> String {
    format!(
        "\nadministrator key (shown once, stored only as a hash):\n\n    {}\n\nmore keys: framewright keys create --user NAME --data-dir {}\n\n",
        key.expose_secret(),
        data_dir.display()
    )
}
