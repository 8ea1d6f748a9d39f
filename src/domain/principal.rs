//! Who is asking.

use super::ids::{KeyId, UserId};

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user the key belongs to.
    pub user: UserId,
    /// Administrators see everybody's jobs.
    pub admin: bool,
    /// The key, when it is a stored one.
    pub key: Option<KeyId>,
}
